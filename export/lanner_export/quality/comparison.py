"""The content of an artifact's `quality.json`: each variant compared with the checkpoint."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.manifest import Variant
from lanner.artifact.quality_budget import NEIGHBOURS_KEPT, RANK_CORRELATION, SIMILARITY_RANKS
from lanner.engines import find_engine
from lanner.errors import ParityError
from lanner.files.texts import shipped_sentences
from lanner.machine.machine import this_machine
from lanner.models.base import Model
from lanner.text.tokenization import Pair
from lanner_export.quality.bootstrap import CONFIDENCE, RESAMPLES, interval, resampled
from lanner_export.quality.measures import (
    Measure,
    Measured,
    RememberedReference,
    agreement_inputs,
    agreement_measures,
    model_answers,
    task_measure,
)
from lanner_export.quality.parity import ADVERSARIAL_TEXTS, measure_parity, require_parity
from lanner_export.texts.calibration import CalibrationTexts
from lanner_export.texts.quality_data import QualityData

_SHIPPED = "sentences shipped with Lanner"
#: Enough for all kinds of the shipped sentences; each variant encodes each text twice.
_SHIPPED_TEXTS = 48


def parity_texts() -> list[str]:
    """Return real and adversarial texts of unequal lengths, in a mixed order."""
    shipped = shipped_sentences()
    step = max(1, len(shipped) // _SHIPPED_TEXTS)
    return [*shipped[::step][:_SHIPPED_TEXTS], *ADVERSARIAL_TEXTS]


def parity_inputs(head: str, *, takes_pairs: bool = True) -> list[str | Pair]:
    """Return the inputs for comparing a head: texts; pairs for `score`; both for `classify`."""
    return CalibrationTexts(parity_texts(), "").inputs(head, takes_pairs=takes_pairs)


def measure_quality(
    reference: RememberedReference,
    models: Mapping[str, Model],
    data: QualityData | None,
    directory: Path,
    progress: Callable[[str], object],
    *,
    source: RememberedReference | None = None,
) -> dict[str, Any]:
    """Measure every variant against the checkpoint.

    Args:
        reference: The checkpoint in its own framework.
        models: The variants by name.
        data: Labelled data that fit the variants, or None.
        directory: The directory of the variants' files.
        progress: Called when a step begins.
        source: The checkpoint before trimming, or None if it was not trimmed.

    Returns:
        The content of `quality.json`.

    Raises:
        ParityError: A variant differs by more than its tolerance.
    """
    first = next(iter(models.values()))
    inputs = parity_inputs(first.manifest.head, takes_pairs=first.manifest.takes_pairs)
    progress(f"parity: {len(inputs)} texts in the checkpoint's framework")
    expected = reference(inputs)
    measured = {}
    for name, model in models.items():
        progress(f"parity of {name}")
        parity = measure_parity(expected, model, inputs)
        require_parity(parity, model.variant.precision, name)
        size = _bytes(model.variant, directory)
        measured[name] = {"bytes": size, **_engine(model), **parity.to_json()}
    content: dict[str, Any] = {
        "texts": len(inputs),
        "data": f"{_SHIPPED}, and adversarial texts",
        "machine": this_machine().to_json(),
        "versions": first.manifest.versions,
        "variants": measured,
        "agreement": _agreement(reference, models, data, source, progress),
    }
    if data is not None:
        content["task"] = _task(reference, models, data, source, progress)
    return content


def _bytes(variant: Variant, directory: Path) -> int:
    return sum((directory / name).stat().st_size for name in variant.files)


def _engine(model: Model) -> dict[str, str]:
    """Return the engine of the figures and, for int8, where it has the scales from."""
    name = model.runner.engine.name
    record = find_engine(name)
    is_scaled = record is not None and model.variant.precision == "int8"
    return {"engine": name, **({"scales": record.scales} if is_scaled and record else {})}


def _agreement(
    reference: RememberedReference,
    models: Mapping[str, Model],
    data: QualityData | None,
    source: RememberedReference | None,
    progress: Callable[[str], object],
) -> dict[str, Any]:
    """Return the agreement of each variant with the checkpoint and its source, on real texts."""
    first = next(iter(models.values()))
    inputs = agreement_inputs(first.manifest.head, data, takes_pairs=first.manifest.takes_pairs)
    progress(f"agreement: {len(inputs)} texts in the checkpoint's framework")
    measures = {m.name: m for m in agreement_measures(first, reference, inputs)}
    if source is not None:
        of_source = agreement_measures(first, source, inputs)
        measures |= {f"source_{m.name}": m for m in of_source if _is_comparable(m, reference)}
    variants: dict[str, dict[str, float]] = {}
    for name, model in models.items():
        progress(f"agreement of {name}")
        given = model_answers(model, inputs)
        variants[name] = {key: m.of_answers(given).value for key, m in measures.items()}
        for key, value in variants[name].items():
            _require_number(name, key, value)
    data_name = _SHIPPED if data is None else data.name
    content = {"data": data_name, "texts": len(inputs), "variants": variants}
    if first.manifest.head_record.answers_vectors:
        content["zero_vectors"] = sum(not vector.any() for vector in reference(inputs))
    return content


def _require_number(variant: str, measure: str, value: float) -> None:
    # Parity uses few texts: an overflow on others is found here.
    if not math.isfinite(value):
        msg = (
            f"the {variant} variant has no {measure}: its answers to some texts are not numbers; "
            "omit it from --precision, or replace fp16 by bf16. Nothing was written"
        )
        raise ParityError(msg)


class _Estimate(NamedTuple):
    """A measured value, with the values on resampled rows."""

    value: float
    resampled: NDArray[np.float64]

    @classmethod
    def of(cls, measure: Measure, found: Measured) -> Self:
        return cls(found.value, resampled(measure.statistic, found.items))

    def to_json(self, **bases: Self) -> dict[str, Any]:
        """Return the value and its differences to others on the same rows, with intervals."""
        content: dict[str, Any] = {"value": self.value, "interval": interval(self.resampled)}
        for key, base in bases.items():
            content[key] = self.value - base.value
            content[f"{key}_interval"] = interval(self.resampled - base.resampled)
        return content


def _task(
    reference: RememberedReference,
    models: Mapping[str, Model],
    data: QualityData,
    source: RememberedReference | None,
    progress: Callable[[str], object],
) -> dict[str, Any]:
    """Return the results of each variant on labelled data, and differences to the checkpoint."""
    measure = task_measure(next(iter(models.values())), reference, data)
    what = f"{measure.name} on {data.name}"
    progress(f"{what}: {len(measure.inputs):,} texts in the checkpoint's framework")
    measured = measure.of_checkpoint()
    checkpoint = _Estimate.of(measure, measured)
    content: dict[str, Any] = {
        "measure": measure.name,
        "data": data.name,
        "rows": len(measured.items),
        "resamples": RESAMPLES,
        "confidence": CONFIDENCE,
    }
    bases: dict[str, _Estimate] = {}
    if source is not None:
        progress(f"{what}: {len(measure.inputs):,} texts in the checkpoint before it was trimmed")
        of_source = replace(measure, reference=source)
        if _is_comparable(of_source, reference):
            bases["source_difference"] = _Estimate.of(measure, of_source.of_checkpoint())
            content["source"] = bases["source_difference"].to_json()
    content["checkpoint"] = checkpoint.to_json(**bases)
    bases["difference"] = checkpoint
    content["variants"] = {}
    for name, model in models.items():
        progress(f"{what}: {name}")
        estimate = _Estimate.of(measure, measure.of_model(model))
        _require_number(name, measure.name, estimate.value)
        content["variants"][name] = estimate.to_json(**bases)
    return content


def _is_comparable(of_source: Measure, reference: RememberedReference) -> bool:
    """Return whether answers of a source and of its trimmed checkpoint can be compared.

    Vectors of two widths have no cosine, and labels of tokens need the same tokens.
    """
    if of_source.name in (RANK_CORRELATION, NEIGHBOURS_KEPT, SIMILARITY_RANKS):
        # Similarities do not depend on the width.
        return True
    inputs = of_source.inputs
    both = zip(of_source.reference(inputs), reference(inputs), strict=True)
    return all(theirs.shape == ours.shape for theirs, ours in both)

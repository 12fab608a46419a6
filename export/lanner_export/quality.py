"""What an artifact's `quality.json` says: how each variant compares with the checkpoint."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy.stats import spearmanr

from lanner.errors import InputError, UnsupportedError
from lanner.machine import this_machine
from lanner.model import Model
from lanner.scoring import ScoringModel
from lanner.similarity import Vectors
from lanner.text_files import LabelledPairs, read_labelled_pairs, shipped_sentences
from lanner.tokenization import Pair
from lanner_export.calibration import CalibrationTexts
from lanner_export.checkpoint import Reference
from lanner_export.parity import ADVERSARIAL_TEXTS, measure_parity

#: Enough to cover the kinds of the shipped sentences; each variant encodes each of them twice.
_SHIPPED_TEXTS = 48


@dataclass(frozen=True)
class QualityData:
    """Labelled pairs, and the name that the report gives them."""

    name: str
    pairs: LabelledPairs

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads ``sentence1,sentence2,score``.

        Raises:
            InputError: A row is bad, or all scores are the same, so there are no ranks.
        """
        pairs = read_labelled_pairs(path)
        if len(set(pairs.scores)) < 2:
            msg = f"{path} has no two differing scores, so Spearman's correlation has no meaning"
            raise InputError(msg)
        return cls(path.name, pairs)


def parity_texts() -> list[str]:
    """Real and adversarial texts of unequal lengths, in a mixed order."""
    shipped = shipped_sentences()
    step = max(1, len(shipped) // _SHIPPED_TEXTS)
    return [*shipped[::step][:_SHIPPED_TEXTS], *ADVERSARIAL_TEXTS]


def parity_inputs(head: str) -> list[str | Pair]:
    """What a variant of that head is compared on: texts, of `score` pairs, of `classify` both."""
    return CalibrationTexts(parity_texts(), "").inputs(head)


def require_measurable(labelled: QualityData | None, head: str) -> None:
    """Refuses labelled pairs for a head that they cannot measure.

    Raises:
        UnsupportedError: The head answers with labels.
    """
    if labelled is not None and head not in ("embed", "score"):
        msg = (
            f"{labelled.name} holds pairs with a score, which measure the heads embed and score, "
            f"and this checkpoint gets {head!r}: leave --quality-data out"
        )
        raise UnsupportedError(msg)


def measure_quality(
    reference: Reference,
    models: Mapping[str, Model],
    labelled: QualityData | None,
    progress: Callable[[str], object],
) -> dict[str, Any]:
    """Measures every variant against the checkpoint.

    Args:
        reference: The checkpoint in its own framework.
        models: The variants by name.
        labelled: Pairs for Spearman's correlation, or None.
        progress: Called when a step begins.

    Returns:
        The content of `quality.json`.

    Raises:
        ParityError: A variant differs more than its tolerance.
    """
    inputs = parity_inputs(next(iter(models.values())).manifest.head)
    progress(f"parity: {len(inputs)} texts in the checkpoint's framework")
    expected = reference(inputs)
    measured = {}
    for name, model in models.items():
        progress(f"parity of {name}")
        parity = measure_parity(expected, model, inputs)
        parity.require(model.variant.precision, name)
        measured[name] = parity.to_json()
    content: dict[str, Any] = {
        "texts": len(inputs),
        "data": "sentences shipped with Lanner, and adversarial texts",
        "machine": this_machine().to_json(),
        "variants": measured,
    }
    if labelled is not None:
        progress(f"Spearman on {len(labelled.pairs.scores):,} pairs")
        content["spearman"] = {
            "data": labelled.name,
            "pairs": len(labelled.pairs.scores),
            "checkpoint": _reference_spearman(reference, models, labelled.pairs),
            "variants": {
                name: _model_spearman(model, labelled.pairs) for name, model in models.items()
            },
        }
    return content


def _reference_spearman(
    reference: Reference, models: Mapping[str, Model], pairs: LabelledPairs
) -> float:
    model = next(iter(models.values()))
    if isinstance(model, ScoringModel):
        logits = np.stack(reference(list(zip(pairs.left, pairs.right, strict=True))))
        return rank_correlation(model.scores_of(logits), pairs.scores)
    return spearman(lambda texts: np.stack(reference(texts)), pairs)


def _model_spearman(model: Model, pairs: LabelledPairs) -> float:
    if isinstance(model, ScoringModel):
        scores = model.score(list(zip(pairs.left, pairs.right, strict=True)))
        return rank_correlation(scores, pairs.scores)
    return spearman(partial(model.encode, prompt=""), pairs)


def spearman(encode: Callable[[list[str]], Vectors], pairs: LabelledPairs) -> float:
    """Spearman's rank correlation x100 between cosine and gold score, as STS-B reports it.

    0 where the model finds all pairs equally near, which no correlation is defined for.
    """
    left, right = encode(pairs.left), encode(pairs.right)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosines = (left * right).sum(axis=1) / np.maximum(lengths, 1e-12)
    return rank_correlation(cosines, pairs.scores)


def rank_correlation(scores: Vectors, gold: list[float]) -> float:
    """Spearman's rank correlation x100; 0 where all scores are equal."""
    return float(100 * spearmanr(scores, gold).statistic) if np.ptp(scores) else 0.0

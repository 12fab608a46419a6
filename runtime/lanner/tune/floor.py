"""The quality floor: the variants and engines that `lanner tune` may choose."""

from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

from lanner.artifact.artifact import Artifact, is_batch_independent
from lanner.artifact.manifest import Variant
from lanner.artifact.quality_budget import (
    LABELLED_MEASURES,
    NEIGHBOURS_KEPT,
    SIMILARITY_RANKS,
    TERMS_KEPT,
    QualityBudget,
)
from lanner.artifact.quality_card import measured_label
from lanner.engines import ENGINES, find_engine
from lanner.errors import EngineError, MissingExtraError, UnsupportedError
from lanner.loading.configuration import Configuration
from lanner.loading.load import open_configuration
from lanner.loading.selection import cuda_candidates
from lanner.models.answers import Rows, agreement, row_cosines, rows, score_differences
from lanner.text.tokenization import Pair

#: An engine must agree with the engine that the quality card was measured with: the least mean
#: cosine of vectors, and the largest mean difference of scores. bf16, which OpenVINO uses on some
#: CPUs, keeps a cosine of 0.9999. One with scales of its own may instead be nearer to fp32.
ENGINE_COSINE, ENGINE_DIFFERENCE = 0.999, 0.01
#: Padded tokens of the mixed batches; some models read thousands of tokens per text.
_TOKENS_TOGETHER = 8_192
#: The measures that are taken from the quality card; the others are measured here.
_CARD_MEASURES = (*LABELLED_MEASURES, NEIGHBOURS_KEPT, SIMILARITY_RANKS, TERMS_KEPT)


class QualityFloor:
    """The quality floor of one artifact: tells which variants and engines may be chosen.

    Without a budget the candidates are those that ``variant="auto"`` may take on this machine.
    With a budget they are those that meet it: `cosine` and `agreement` are measured here against
    the fp32 variant; losses on labelled data, `neighbours@10` and `rank_correlation` come from the
    quality card. In both cases a text must get the same answer alone and in a batch, by the card
    and as measured here.

    Args:
        artifact: The artifact.
        budget: The budget to meet, or None.
        probes: Texts or pairs of unequal lengths.
        threads: Cores to use.

    Raises:
        UnsupportedError: The budget does not fit the artifact, or the artifact holds nothing to
            measure it against.
    """

    def __init__(
        self,
        artifact: Artifact,
        budget: QualityBudget | None,
        probes: Sequence[str | Pair],
        *,
        threads: int,
        device: str = "cpu",
    ) -> None:
        self.artifact = artifact
        self.budget = budget
        self.probes = probes
        self.threads = threads
        self.device = device
        self._manifest = artifact.manifest
        self._quality = artifact.quality()
        self._rows_of = cache(self._answers)
        if budget is not None:
            self._require_measurable(budget)

    @property
    def candidates(self) -> list[tuple[str, Variant]]:
        """Return the installed engines of the device, each with every variant that it runs there.

        Engines that are taken by name alone are left out.
        """
        if self.device == "cuda":
            return cuda_candidates(self.artifact)
        return [
            (engine.name, variant)
            for engine in ENGINES
            if engine.is_installed and engine.is_automatic
            for variant in self._manifest.variants
            if engine.runs(variant, "cpu")
        ]

    def refusal(self, engine: str, variant: Variant) -> str:
        """Return the reason against a variant in an engine, or an empty string."""
        record = find_engine(engine)
        dependence = "" if record is None else record.batch_dependence(variant)
        if reason := self._refused_by_card(engine, variant) or dependence:
            return reason
        try:
            alone, together = self._rows_of(engine, variant.name)
            if not is_batch_independent(self._independence(alone, together)):
                return "its answers depend on the batch"
            return self._refused_by_engine(engine, variant, alone) or self._refused_by_measure(
                engine, alone
            )
        except (EngineError, MissingExtraError) as error:
            return str(error)

    def _refused_by_card(self, engine: str, variant: Variant) -> str:
        if not self.artifact.is_batch_independent(variant.name):
            return "its answers depend on the batch"
        if self.budget is None:
            if self.device == "cuda":
                return ""
            is_safe = variant in self.artifact.safe_variants()
            return "" if is_safe else "auto does not take it: name a --min-quality"
        if self.budget.measure not in _CARD_MEASURES:
            return ""
        own = measured_label(variant.name, engine)
        label = own if own in self._quality["variants"] else variant.name
        checkpoint, value = self._on_card(self.budget, label)
        if self.budget.is_met(checkpoint, value):
            return ""
        lost = f" ({checkpoint - value:.2f} lost)" if self.budget.needs_labels else ""
        return f"{self.budget.measure} {value:.4g}{lost}"

    def _refused_by_engine(self, engine: str, variant: Variant, alone: Rows) -> str:
        expected = self._expected(engine, variant)
        if self._is_nearer_to_fp32(engine, alone, expected):
            return ""
        distance = self._distance(expected, alone)
        if self._manifest.head_record.answers_vectors:
            if distance <= 1 - ENGINE_COSINE:
                return ""
            return f"answers differ from {variant.engine} (cosine {1 - distance:.4f})"
        if distance <= ENGINE_DIFFERENCE:
            return ""
        return f"answers differ from {variant.engine} (scores off by {distance:.4f})"

    def _is_nearer_to_fp32(self, engine: str, alone: Rows, expected: Rows) -> bool:
        """True for an engine with scales of its own that loses no more than the card's engine.

        Both differ from fp32, each in its own way, so they need not agree with each other.
        """
        record = find_engine(engine)
        has_fp32 = any(variant.precision == "fp32" for variant in self._manifest.variants)
        if record is None or record.scales == "static" or not has_fp32:
            return False
        fp32 = self._expected(engine, self._reference)
        return self._distance(fp32, alone) <= self._distance(fp32, expected)

    def _distance(self, expected: Rows, found: Rows) -> float:
        """Return how far answers are from others: 1 - mean cosine, or the scores' difference."""
        if self._manifest.head_record.answers_vectors:
            return 1 - float(row_cosines(expected, found).mean())
        activation = self._manifest.activation
        return float(score_differences(expected, found, activation=activation).mean())

    def _refused_by_measure(self, engine: str, alone: Rows) -> str:
        if self.budget is None or self.budget.measure in _CARD_MEASURES:
            return ""
        value = self._measured(engine, alone)
        return "" if self.budget.is_met(1, value) else f"{self.budget.measure} {value:.4f}"

    def _measured(self, engine: str, alone: Rows) -> float:
        """Return the mean cosine, or the agreement, with fp32."""
        manifest = self._manifest
        expected = self._expected(engine, self._reference)
        if manifest.head_record.answers_vectors:
            return float(row_cosines(expected, alone).mean())
        return agreement(expected, alone, head=manifest.head, activation=manifest.activation)

    def _independence(self, alone: Rows, together: Rows) -> dict[str, float]:
        if self._manifest.head_record.answers_vectors:
            return {"batch_independence_cosine": float(row_cosines(alone, together).min())}
        differences = score_differences(alone, together, activation=self._manifest.activation)
        return {"batch_independence_difference": float(differences.max())}

    def _answers(self, engine: str, variant: str) -> tuple[Rows, Rows]:
        """Return the answers to the probes one by one, and in batches of unequal lengths."""
        configuration = Configuration(
            engine, variant, workers=1, token_budget=_TOKENS_TOGETHER, device=self.device
        )
        model = open_configuration(self.artifact, configuration, threads=self.threads)
        together = rows(model, self.probes, batch_size=len(self.probes))
        return rows(model, self.probes, batch_size=1), together

    def _expected(self, engine: str, variant: Variant) -> Rows:
        """Return the answers of a variant in the engine that it was made for.

        If that engine is not installed, or does not run it on this machine, return the answers in
        `engine`.
        """
        try:
            return self._rows_of(variant.engine, variant.name)[0]
        except (EngineError, MissingExtraError):
            return self._rows_of(engine, variant.name)[0]

    @cached_property
    def _reference(self) -> Variant:
        return next(v for v in self._manifest.variants if v.precision == "fp32")

    def _on_card(self, budget: QualityBudget, variant: str) -> tuple[float, float]:
        """Return the figures of the checkpoint and of a variant from the quality card."""
        if budget.needs_labels:
            task = self._quality["task"]
            return task["checkpoint"]["value"], task["variants"][variant]["value"]
        return 1.0, self._quality["agreement"]["variants"][variant][budget.measure]

    def _require_measurable(self, budget: QualityBudget) -> None:
        budget.require_fits(self._manifest.head, self._manifest.activation)
        names = [variant.name for variant in self._manifest.variants]
        if budget.measure in _CARD_MEASURES:
            try:
                has_figures = all(self._on_card(budget, name) for name in names)
                if budget.needs_labels:
                    has_figures &= budget.measure == self._task_measure
            except (LookupError, TypeError):
                has_figures = False
            if not has_figures:
                option = " with --quality-data FILE" if budget.needs_labels else ""
                other = "cosine" if self._manifest.head_record.answers_vectors else "agreement"
                msg = (
                    f"the quality card of {self.artifact.directory} has no figures for "
                    f"{budget.measure}: export again{option}, or use {other}"
                )
                raise UnsupportedError(msg)
        elif not any(variant.precision == "fp32" for variant in self._manifest.variants):
            msg = (
                f"{self.artifact.directory} holds no fp32 variant to measure {budget.measure} "
                "against: export again with --precision fp32 among others"
            )
            raise UnsupportedError(msg)

    @property
    def _task_measure(self) -> Any:
        return self._quality.get("task", {}).get("measure")

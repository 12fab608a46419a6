"""Measures of a model's answers: against labels, or against the answers of its checkpoint.

Labelled measures are in points x100: Spearman's rank correlation (heads of vectors, `score`,
and `classify` for a regression), accuracy (`classify`; with several labels at once, all must be
right) and the micro F1 of entities with label, start and end (`tag`). The others need no labels and
are at most 1: the mean cosine and the rank correlation of similarities (all vectors), the
share of nearest neighbours (`embed`) or of heaviest terms (`sparse`) that are kept, the rank
correlation of scores (`score`, a regression), and the share of equal labels (`classify`, `tag`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.manifest import Manifest
from lanner.artifact.quality_budget import (
    LABELLED_MEASURES,
    NEIGHBOURS_KEPT,
    SIMILARITY_RANKS,
    TERMS_KEPT,
    agreement_measure_names,
    labelled_measure_name,
)
from lanner.errors import InputError
from lanner.files.texts import LabelledPairs, shipped_sentences
from lanner.models.answers import row_cosines
from lanner.models.base import Model
from lanner.models.logits import LogitsModel
from lanner.models.scoring import ScoringModel
from lanner.models.tagging import TaggingModel
from lanner.text.tokenization import Pair
from lanner.vectors.late_interaction import maxsim, maxsim_pairwise
from lanner.vectors.similarity import similarity_pairwise
from lanner_export.checkpoint.checkpoint import Reference
from lanner_export.progress import Progress, counted, silent
from lanner_export.quality import statistic
from lanner_export.quality.first_windows import FirstWindows
from lanner_export.quality.parity import Answers, answers
from lanner_export.quality.statistic import Items
from lanner_export.texts.calibration import CalibrationTexts
from lanner_export.texts.quality_data import LabelledTexts, QualityData, TaggedTexts

#: The most inputs for agreement: the mean of this many cosines or ranks changes little with more.
MOST_INPUTS = 512
_BATCH_SIZE = 32
#: The score from which a label of a multi-label classifier holds: the default of `classify`.
_THRESHOLD = 0.5


class RememberedReference:
    """A checkpoint with a cache: each input is run once, however many measures need it."""

    def __init__(self, reference: Reference, progress: Progress = silent) -> None:
        self._reference, self._progress = reference, progress
        self._answers: dict[str | Pair, NDArray[np.float32]] = {}

    def __call__(self, inputs: Sequence[str | Pair]) -> list[NDArray[np.float32]]:
        """Return the answers; see `lanner_export.checkpoint.checkpoint.Reference`."""
        new = [item for item in dict.fromkeys(inputs) if item not in self._answers]
        # One at a time, as the reference does itself.
        for item in counted(new, self._progress, "texts in the checkpoint's framework"):
            self._answers[item] = self._reference([item])[0]
        return [self._answers[item] for item in inputs]


class Measured(NamedTuple):
    """The result of a measure.

    Attributes:
        value: The value.
        items: The contribution of each row of the data, float64 [rows] or [rows, several];
            `Measure.statistic` of any selection of rows is the measure on it.
    """

    value: float
    items: Items


@dataclass(frozen=True)
class Measure:
    """One measure on fixed data.

    Attributes:
        name: One of `lanner.artifact.quality_budget.LABELLED_MEASURES` or `AGREEMENT_MEASURES`.
        inputs: The inputs of models.
        reference: The checkpoint.
        items_of: Turns answers to these inputs into items.
        statistic: Computes the measure from items.
    """

    name: str
    inputs: Sequence[str | Pair]
    reference: RememberedReference
    items_of: Callable[[Answers], Items]
    statistic: Callable[[Items], float]

    def of_model(self, model: Model) -> Measured:
        """Measure a variant."""
        return self.of_answers(model_answers(model, self.inputs))

    def of_checkpoint(self) -> Measured:
        """Measure the checkpoint, which without labels is compared with itself."""
        return self.of_answers(self.reference(self.inputs))

    def of_answers(self, given: Answers) -> Measured:
        """Measure answers to the inputs."""
        items = self.items_of(given)
        return Measured(self.statistic(items), items)


def model_answers(model: Model, inputs: Sequence[str | Pair]) -> Answers:
    """Return the answers of a variant, which several measures of the same inputs share."""
    return answers(model, inputs, batch_size=_BATCH_SIZE)


def measure_named(
    name: str, model: Model, reference: RememberedReference, data: QualityData | None
) -> Measure:
    """Return the measure of a budget.

    Args:
        name: A measure of the model's head (`QualityBudget.require_fits`).
        model: Any variant: for its head, labels and tokenizer.
        reference: The checkpoint.
        data: Labelled data, which a labelled measure needs (`QualityBudget.require_labels`).
    """
    if name in LABELLED_MEASURES and data is not None:
        return task_measure(model, reference, data)
    manifest = model.manifest
    inputs = agreement_inputs(manifest.head, data, takes_pairs=manifest.takes_pairs)
    return next(m for m in agreement_measures(model, reference, inputs) if m.name == name)


def agreement_inputs(
    head: str, data: QualityData | None, *, takes_pairs: bool = True
) -> list[str | Pair]:
    """Return inputs for agreement, from the labelled data or the shipped sentences.

    Args:
        head: The head of the model.
        data: Labelled data that fit it, or None; at most `MOST_INPUTS`, evenly spaced, are used.
        takes_pairs: False for texts alone, whatever the head takes.
    """
    if data is None:
        return CalibrationTexts(shipped_sentences(), "").inputs(head, takes_pairs=takes_pairs)
    inputs = data.inputs(head)
    return inputs[:: math.ceil(len(inputs) / MOST_INPUTS)]


def task_measure(model: Model, reference: RememberedReference, data: QualityData) -> Measure:
    """Return the labelled measure of a model's head.

    Args:
        model: Any variant: for its head, labels and tokenizer.
        reference: The checkpoint.
        data: Data that fit the model (`QualityData.require_measurable`).
    """
    manifest = model.manifest
    inputs = data.inputs(manifest.head)
    items_of, of_items = _task(model, data.labelled, inputs)
    name = labelled_measure_name(manifest.head, manifest.activation)
    return Measure(name, inputs, reference, items_of, of_items)


_Task = tuple[Callable[[Answers], Items], Callable[[Items], float]]


def _task(
    model: Model,
    labelled: LabelledPairs | LabelledTexts | TaggedTexts,
    inputs: Sequence[str | Pair],
) -> _Task:
    """Return the functions that turn answers into items, and items into the measure."""
    if isinstance(labelled, TaggedTexts):
        return _entities(cast("TaggingModel", model), labelled)
    if isinstance(labelled, LabelledPairs):
        if isinstance(model, ScoringModel):
            return _numbers(model, labelled.scores)
        return _similarities(labelled, inputs, model.manifest)
    classifier = cast("LogitsModel", model)
    if model.manifest.activation == "identity":
        return _numbers(classifier, labelled.numbers())
    return _labels(classifier, labelled)


def _similarities(pairs: LabelledPairs, texts: Sequence[str | Pair], manifest: Manifest) -> _Task:
    row_of = {text: row for row, text in enumerate(texts)}
    left, right = ([row_of[text] for text in side] for side in (pairs.left, pairs.right))

    def items_of(given: Answers) -> Items:
        a, b = ([given[row] for row in rows] for rows in (left, right))
        if manifest.head_record.by_token:
            scores = maxsim_pairwise(a, b, name=manifest.similarity)
        else:
            scores = similarity_pairwise(np.stack(a), np.stack(b), name=manifest.similarity)
        return np.stack([scores, pairs.scores], axis=1)

    return items_of, statistic.spearman


def _numbers(model: LogitsModel, gold: list[float]) -> _Task:
    def items_of(given: Answers) -> Items:
        return np.stack([_scores(model, given)[:, 0], gold], axis=1)

    return items_of, statistic.spearman


def _labels(model: LogitsModel, texts: LabelledTexts) -> _Task:
    is_many = model.manifest.activation == "sigmoid"
    gold = texts.holding(model.manifest.labels, is_many=is_many)

    def items_of(given: Answers) -> Items:
        return _all_same(_holding(model, given), gold)

    return items_of, statistic.percent


def _entities(model: TaggingModel, texts: TaggedTexts) -> _Task:
    read = FirstWindows(model, texts.inputs)
    gold = read.seen(texts.entities)
    if not any(gold):
        msg = (
            f"no entity of the labelled texts lies within the first {model.max_seq_length} tokens, "
            "and only these are measured: use shorter texts, or a larger --max-tokens"
        )
        raise InputError(msg)

    def items_of(given: Answers) -> Items:
        return np.array(
            [
                (len(found & wanted), len(found), len(wanted))
                for found, wanted in zip(read.entities(given), gold, strict=True)
            ],
            dtype=np.float64,
        )

    return items_of, statistic.f1


def agreement_measures(
    model: Model, reference: RememberedReference, inputs: Sequence[str | Pair]
) -> list[Measure]:
    """Return the measures of a model's head that need no labels.

    Args:
        model: Any variant: for its head, labels and tokenizer.
        reference: The checkpoint.
        inputs: Texts or pairs, depending on the head.
    """
    comparisons = _comparisons(model, inputs)

    def measure(name: str) -> Measure:
        compare, of_items = comparisons[name]
        return Measure(
            name, inputs, reference, lambda given: compare(given, reference(inputs)), of_items
        )

    return [measure(name) for name in agreement_measure_names(model.manifest.head)]


_Comparison = tuple[Callable[[Answers, Answers], Items], Callable[[Items], float]]


def _comparisons(model: Model, inputs: Sequence[str | Pair]) -> dict[str, _Comparison]:
    """Return the comparisons with the checkpoint's answers and their statistics, by measure."""
    if isinstance(model, TaggingModel):
        read = FirstWindows(model, cast("Sequence[str]", inputs))
        return {"agreement": (read.same_tokens, statistic.ratio)}
    if isinstance(model, LogitsModel):
        return {"agreement": _logits_comparison(model)}
    by = model.manifest.similarity
    if model.manifest.head_record.by_token:
        return _token_comparisons(by)

    def cosines(ours: Answers, theirs: Answers) -> Items:
        return row_cosines(np.stack(ours), np.stack(theirs))

    def neighbours(ours: Answers, theirs: Answers) -> Items:
        return statistic.neighbours_kept(np.stack(ours), np.stack(theirs), name=by)

    def ranks(ours: Answers, theirs: Answers) -> Items:
        return statistic.similarity_correlations(np.stack(ours), np.stack(theirs), name=by)

    def terms(ours: Answers, theirs: Answers) -> Items:
        return statistic.terms_kept(np.stack(ours), np.stack(theirs))

    return {
        "cosine": (cosines, statistic.mean),
        NEIGHBOURS_KEPT: (neighbours, statistic.mean),
        SIMILARITY_RANKS: (ranks, statistic.mean),
        TERMS_KEPT: (terms, statistic.mean),
    }


def _token_comparisons(name: str) -> dict[str, _Comparison]:
    """Return the comparisons of vectors of tokens."""

    def cosines(ours: Answers, theirs: Answers) -> Items:
        pairs = zip(ours, theirs, strict=True)
        return np.array([row_cosines(a, b).mean() for a, b in pairs], np.float64)

    def ranks(ours: Answers, theirs: Answers) -> Items:
        scores = [maxsim(one, one, name=name) for one in (ours, theirs)]
        return statistic.score_correlations(*scores)

    return {
        "cosine": (cosines, statistic.mean),
        SIMILARITY_RANKS: (ranks, statistic.mean),
    }


def _logits_comparison(model: LogitsModel) -> _Comparison:
    def scores(ours: Answers, theirs: Answers) -> Items:
        return np.stack([_scores(model, ours), _scores(model, theirs)], 1).astype(np.float64)

    def same_labels(ours: Answers, theirs: Answers) -> Items:
        return _all_same(_holding(model, ours), _holding(model, theirs))

    if isinstance(model, ScoringModel) or model.manifest.activation == "identity":
        return scores, statistic.correlation
    return same_labels, statistic.mean


def _scores(model: LogitsModel, logits: Answers) -> NDArray[np.float32]:
    """Return the score of each pair, or the numbers of a regression, [n, numbers]."""
    rows = np.stack(logits)
    return model.scores_of(rows)[:, None] if isinstance(model, ScoringModel) else rows


def _holding(model: LogitsModel, logits: Answers) -> NDArray[np.bool_]:
    """Return the labels that hold by a model's answers, [n, labels]."""
    scores = model.activate(np.stack(logits))
    if model.manifest.activation == "sigmoid":
        return scores >= _THRESHOLD
    # With equal scores, the first label is the answer.
    best: NDArray[np.bool_] = np.arange(scores.shape[1]) == scores.argmax(axis=1)[:, None]
    return best


def _all_same(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> Items:
    same: Items = (a == b).all(axis=1).astype(np.float64)
    return same

"""Parity of an artifact's answers with its checkpoint's, measured in the runtime itself.

The reference is the checkpoint in its own framework, from text to vector or logits, so the
comparison includes tokenization, truncation and pooling, not only the graph.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.activation import ACTIVATIONS
from lanner.artifact.artifact import BATCH_INDEPENDENT_COSINE, BATCH_INDEPENDENT_DIFFERENCE
from lanner.errors import ParityError
from lanner.models.answers import row_cosines
from lanner.models.base import Model
from lanner.models.logits import LogitsModel
from lanner.models.prompts import PromptedModel
from lanner.models.tagging import TaggingModel
from lanner.models.tokens import TokensModel
from lanner.running.runner import Runner
from lanner.text.tokenization import Pair

#: Texts that break careless code: empty, white space, one token, other scripts, a combining mark,
#: NUL, a very long word, and a text beyond any encoder's limit.
ADVERSARIAL_TEXTS = (
    "",
    " \t\n",
    "a",
    "!",
    "THE QUICK Brown fOX",
    "naïve café — “quoted” … 100 %",
    "e\u0301te\u0301 and \u00e9t\u00e9",
    "🦅🦅 fast 👩‍👩‍👧‍👦 falcon 🇮🇸",
    "一个戴着硬帽子的人在跳舞。",
    "ある男性がギターを弾いている。",
    "رجل يعزف على الجيتار",
    "nul\x00byte",
    "x" * 500,
    "0123456789 " * 40,
    "The lanner is a small, fast falcon. " * 300,
)
_COSINES = ("smallest cosine", "mean cosine")
_WORST_TEXTS = 3
_SHOWN_CHARACTERS = 60
_REMEDIES = {
    "int8": "; keep products in float32 with --budget, calibrate on texts like yours with "
    "--calibration, or use --precision fp32",
    "int8-dynamic": "; omit it from --precision",
}
#: Answers in the form of `lanner_export.checkpoint.checkpoint.Reference`.
Answers = Sequence[NDArray[np.float32]]
#: The remedy for infinite numbers in fp16.
FP16_OVERFLOW = "fp16 overflows from 65504 on, so use --precision bf16"


class Int8Error(ParityError):
    """The vectors of int8 are beyond their tolerance: products in float32 can mend that."""


class Shortfall(NamedTuple):
    """A difference beyond its tolerance.

    Attributes:
        measure: The name of the measure.
        what: The measure, the tolerance and the worst text, in words.
        is_nan: True if the measure is not a number.
    """

    measure: str
    what: str
    is_nan: bool


class Parity(Protocol):
    """The protocol of differences between a variant and its checkpoint."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""

    def shortfall(self, precision: str) -> Shortfall | None:
        """Return the first measure that is beyond its tolerance or not a number, or None."""


@dataclass(frozen=True)
class VectorTolerance:
    """The tolerance of vectors; cosines compare the two vectors of a text."""

    cosine_min: float
    cosine_mean: float
    largest_difference: float


@dataclass(frozen=True)
class LogitsTolerance:
    """The tolerance of logits and scores."""

    largest_difference: float
    mean_score_difference: float


#: Tolerances by precision. fp32 only rounds differently. The other bounds detect a wrong graph; the
#: quality of a right one is in quality.json. all-MiniLM-L6-v2 has a smallest and a mean cosine of
#: 0.999995 and 0.999999 in fp16, 0.99978 and 0.99994 in bf16; tiny random models of every
#: architecture have at least 0.999998 and 0.9998, and scores that differ by at most 0.0006 and
#: 0.0032.
VECTOR_TOLERANCES = {
    "fp32": VectorTolerance(cosine_min=0.99999, cosine_mean=0.99999, largest_difference=1e-4),
    "int8": VectorTolerance(cosine_min=0.90, cosine_mean=0.97, largest_difference=float("inf")),
    "int8-dynamic": VectorTolerance(
        cosine_min=0.90, cosine_mean=0.97, largest_difference=float("inf")
    ),
    "fp16": VectorTolerance(cosine_min=0.999, cosine_mean=0.9999, largest_difference=float("inf")),
    "bf16": VectorTolerance(cosine_min=0.99, cosine_mean=0.999, largest_difference=float("inf")),
    # Only for TensorRT's engines: tf32 has as many mantissa bits as fp16, fp8 as few bits as int8.
    "tf32": VectorTolerance(cosine_min=0.999, cosine_mean=0.9999, largest_difference=float("inf")),
    "fp8": VectorTolerance(cosine_min=0.90, cosine_mean=0.97, largest_difference=float("inf")),
}
LOGITS_TOLERANCES = {
    "fp32": LogitsTolerance(largest_difference=1e-4, mean_score_difference=1e-4),
    "int8": LogitsTolerance(largest_difference=float("inf"), mean_score_difference=0.1),
    "int8-dynamic": LogitsTolerance(largest_difference=float("inf"), mean_score_difference=0.1),
    "fp16": LogitsTolerance(largest_difference=float("inf"), mean_score_difference=0.005),
    "bf16": LogitsTolerance(largest_difference=float("inf"), mean_score_difference=0.03),
    "tf32": LogitsTolerance(largest_difference=float("inf"), mean_score_difference=0.005),
    "fp8": LogitsTolerance(largest_difference=float("inf"), mean_score_difference=0.1),
}
#: Precisions with scales per batch: the batch dependence of vectors is measured, but never refused.
BATCH_DEPENDENT_PRECISIONS = ("int8-dynamic",)


@dataclass(frozen=True)
class VectorParity:
    """The differences between the vectors of a variant and of its checkpoint.

    Attributes:
        cosine_min: Smallest cosine between the two vectors of a text.
        cosine_mean: Mean of these cosines.
        largest_difference: Largest absolute difference of a component.
        largest_component: Largest absolute component of the checkpoint's own vectors.
        batch_independence_cosine: Smallest cosine between a text's vector alone and in one batch
            with all the others, padded to the longest.
        worst_texts: The texts with the smallest cosines, cut to 60 characters, with their cosines.
    """

    cosine_min: float
    cosine_mean: float
    largest_difference: float
    largest_component: float
    batch_independence_cosine: float
    worst_texts: list[tuple[str, float]]

    def to_json(self) -> dict[str, Any]:
        """See `Parity.to_json`."""
        return asdict(self)

    def tolerance(self, precision: str) -> VectorTolerance:
        """Return the tolerance of a precision."""
        return VECTOR_TOLERANCES[precision]

    def shortfall(self, precision: str) -> Shortfall | None:
        """See `Parity.shortfall`."""
        allowed = self.tolerance(precision)
        text, cosine = self.worst_texts[0]
        # Single precision rounds larger components by more.
        largest_difference = allowed.largest_difference * max(1.0, self.largest_component)
        is_bound = precision not in BATCH_DEPENDENT_PRECISIONS
        independence = BATCH_INDEPENDENT_COSINE if is_bound else -1.0
        smallest, mean = _COSINES
        checks = (
            (smallest, self.cosine_min, allowed.cosine_min, 1),
            (mean, self.cosine_mean, allowed.cosine_mean, 1),
            ("largest difference", self.largest_difference, largest_difference, -1),
            ("batch independence", self.batch_independence_cosine, independence, 1),
        )
        return _shortfall(checks, f"the worst text is {text!r} with cosine {cosine:.6f}")


@dataclass(frozen=True)
class TokensParity(VectorParity):
    """The differences between the vectors of tokens: as of vectors, with a row for each token."""

    def tolerance(self, precision: str) -> VectorTolerance:
        """Return the tolerance of a precision: of one token among thousands only in fp32."""
        allowed = VECTOR_TOLERANCES[precision]
        return allowed if precision == "fp32" else replace(allowed, cosine_min=-1.0)


@dataclass(frozen=True)
class LogitsParity:
    """The differences between the logits of a variant and of its checkpoint.

    Scores are logits after the activation; for a regression, logits divided by their spread over
    the texts.

    Attributes:
        largest_difference: Largest absolute difference of a logit.
        largest_logit: Largest absolute logit of the checkpoint itself.
        mean_score_difference: Mean absolute difference of a score.
        label_agreement: Share of texts, or of tokens, with the same label; None for one label.
        batch_independence_difference: Largest absolute difference of a score between a text alone
            and in one batch with all the others, padded to the longest.
        worst_texts: The texts with the largest difference of a score, cut to 60 characters, with
            those differences.
    """

    largest_difference: float
    largest_logit: float
    mean_score_difference: float
    label_agreement: float | None
    batch_independence_difference: float
    worst_texts: list[tuple[str, float]]

    def to_json(self) -> dict[str, Any]:
        """See `Parity.to_json`."""
        return asdict(self)

    def shortfall(self, precision: str) -> Shortfall | None:
        """See `Parity.shortfall`."""
        allowed = LOGITS_TOLERANCES[precision]
        text, off = self.worst_texts[0]
        # Single precision rounds larger logits, such as a regression's, by more.
        largest_difference = allowed.largest_difference * max(1.0, self.largest_logit)
        mean, independence = self.mean_score_difference, self.batch_independence_difference
        is_bound = precision not in BATCH_DEPENDENT_PRECISIONS
        most = BATCH_INDEPENDENT_DIFFERENCE if is_bound else float("inf")
        checks = (
            ("largest difference", self.largest_difference, largest_difference, -1),
            ("mean score difference", mean, allowed.mean_score_difference, -1),
            ("batch independence", independence, most, -1),
        )
        return _shortfall(checks, f"the worst text is {text!r}, its score off by {off:.6f}")


def _shortfall(checks: Iterable[tuple[str, float, float, int]], worst: str) -> Shortfall | None:
    for what, measured, allowed, sign in checks:
        if not sign * measured >= sign * allowed:  # in this form NaN fails
            text = f"{what} {measured:.6g}, allowed {allowed:.6g}; {worst}"
            return Shortfall(what, text, math.isnan(measured))
    return None


def require_parity(parity: Parity, precision: str, variant: str) -> None:
    """Check that a variant is within its tolerance.

    Raises:
        Int8Error: A cosine of int8 is.
        ParityError: Another measure is, or one is not a number.
    """
    if found := parity.shortfall(precision):
        is_overflow = variant == "fp16" and found.is_nan
        remedy = f"; {FP16_OVERFLOW}" if is_overflow else _REMEDIES.get(variant, "")
        msg = (
            f"the {variant} variant does not reproduce its checkpoint: {found.what}{remedy}. "
            "Nothing was written"
        )
        is_mendable = variant == "int8" and found.measure in _COSINES and not found.is_nan
        raise Int8Error(msg) if is_mendable else ParityError(msg)


def measure_parity(
    reference: Sequence[NDArray[np.float32]], model: Model, inputs: Sequence[str | Pair]
) -> Parity:
    """Compare a model's answers with the checkpoint's, and with themselves in other batches.

    Args:
        reference: The checkpoint's answers (see `lanner_export.checkpoint.checkpoint.Reference`).
        model: The variant, loaded in the runtime.
        inputs: The texts or pairs.
    """
    alone = answers(model, inputs, batch_size=1)
    together = answers(_with_one_batch(model), inputs, batch_size=len(inputs))
    if model.manifest.head_record.answers_vectors:
        return _vector_parity(reference, alone, together, inputs)
    return _logits_parity(reference, alone, together, inputs, model.manifest.activation)


def answers(model: Model, inputs: Sequence[Any], *, batch_size: int) -> list[NDArray[np.float32]]:
    """Return a model's answers in the form of `lanner_export.checkpoint.checkpoint.Reference`."""
    if isinstance(model, TokensModel):
        return model.read_both_ways(inputs, batch_size=batch_size)
    if isinstance(model, PromptedModel):
        # prompt="" disables a default prompt, like for the reference.
        return list(model.outputs(inputs, prompt="", batch_size=batch_size))
    if isinstance(model, TaggingModel):
        _, logits = model.window_logits(inputs, batch_size=batch_size)
        return [windows[0] for windows in logits]
    if isinstance(model, LogitsModel):
        return list(model.logits(inputs, batch_size=batch_size))
    raise TypeError(type(model).__name__)


def _vector_parity(
    reference: Answers, alone: Answers, together: Answers, inputs: Sequence[str | Pair]
) -> VectorParity:
    expected, single, batched, of_text = _by_row(reference, alone, together, inputs)
    is_by_token = reference[0].ndim > 1
    cosines = np.minimum(row_cosines(expected, single), row_cosines(expected, batched))
    worst = np.full(len(inputs), np.inf)
    np.minimum.at(worst, of_text, cosines)
    return (TokensParity if is_by_token else VectorParity)(
        cosine_min=float(cosines.min()),
        cosine_mean=float(cosines.mean()),
        largest_difference=float(max(np.abs(expected - v).max() for v in (single, batched))),
        largest_component=float(np.abs(expected).max()),
        batch_independence_cosine=float(row_cosines(single, batched).min()),
        worst_texts=_worst(inputs, worst, -1),
    )


def _by_row(
    reference: Answers, alone: Answers, together: Answers, inputs: Sequence[str | Pair]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Return the three answers row by row, and the index of each row's text.

    A text has one row, or one per token.

    Raises:
        ParityError: The artifact answers other tokens than the checkpoint.
    """
    for text, expected, found in zip(inputs, reference, alone, strict=True):
        if expected.shape != found.shape:
            msg = (
                f"the artifact tokenizes {shown(text)!r} differently from its checkpoint: "
                f"{found.shape[0]} instead of {expected.shape[0]}. Nothing was written"
            )
            raise ParityError(msg)
    of_text = np.repeat(np.arange(len(inputs)), [np.atleast_2d(r).shape[0] for r in reference])
    by_row = [np.concatenate(list(map(np.atleast_2d, one))) for one in (reference, alone, together)]
    return by_row[0], by_row[1], by_row[2], of_text


def _logits_parity(
    reference: Answers,
    alone: Answers,
    together: Answers,
    inputs: Sequence[str | Pair],
    activation: str,
) -> LogitsParity:
    expected, single, batched, of_text = _by_row(reference, alone, together, inputs)
    spread = float(np.ptp(expected)) or 1.0 if activation == "identity" else 1.0
    activate = ACTIVATIONS[activation]
    scores, single_scores, batched_scores = (
        activate(logits) / spread for logits in (expected, single, batched)
    )
    off = np.maximum(np.abs(scores - single_scores), np.abs(scores - batched_scores)).max(axis=1)
    worst = np.zeros(len(inputs))
    np.maximum.at(worst, of_text, off)
    same_label = expected.argmax(axis=1) == single.argmax(axis=1)
    return LogitsParity(
        largest_difference=float(max(np.abs(expected - r).max() for r in (single, batched))),
        largest_logit=float(np.abs(expected).max()),
        mean_score_difference=float(np.abs(scores - single_scores).mean()),
        label_agreement=float(same_label.mean()) if expected.shape[1] > 1 else None,
        batch_independence_difference=float(np.abs(single_scores - batched_scores).max()),
        worst_texts=_worst(inputs, worst, 1),
    )


def _worst(
    inputs: Sequence[str | Pair], measures: NDArray[np.float64], sign: int
) -> list[tuple[str, float]]:
    badness = np.nan_to_num(sign * measures, nan=np.inf, posinf=np.inf, neginf=-np.inf)
    rows = np.argsort(-badness, kind="stable")[:_WORST_TEXTS]
    return [(shown(inputs[row]), float(measures[row])) for row in rows]


def shown(item: str | Pair) -> str:
    """Return a text, or the texts of a pair, cut to 60 characters."""
    text = item if isinstance(item, str) else " | ".join(item)
    return text[:_SHOWN_CHARACTERS]


def _with_one_batch(model: Model) -> Model:
    unbounded = 1 << 40
    return type(model)(
        manifest=model.manifest,
        variant=model.variant,
        tokenizer=model.tokenizer,
        runner=Runner(
            model.runner.engine,
            feed=model.runner.feed,
            workers=1,
            token_budget=unbounded,
            measures_overflow=True,
        ),
    )

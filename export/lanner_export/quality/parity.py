"""Whether an artifact answers as its checkpoint does, measured through the runtime itself.

The reference is the checkpoint in its own framework, from text to vector or logits, so that
tokenisation, truncation and pooling are compared too, not only the graph.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.activation import ACTIVATIONS
from lanner.artifact.artifact import BATCH_INDEPENDENT_COSINE, BATCH_INDEPENDENT_DIFFERENCE
from lanner.errors import ParityError
from lanner.models.answers import row_cosines
from lanner.models.base import Model
from lanner.models.embedding import EmbeddingModel
from lanner.models.logits import LogitsModel
from lanner.models.tagging import TaggingModel
from lanner.running.runner import Runner
from lanner.text.tokenization import Pair
from lanner.vectors.similarity import Vectors

#: Texts that break careless code: nothing, white space, one token, other scripts, a combining
#: mark, NUL, a word without end, and more than any encoder's limit.
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
_WORST_TEXTS = 3
_SHOWN_CHARACTERS = 60
_REMEDIES = {
    "int8": "; keep products in float32 with --budget, calibrate on texts like yours with "
    "--calibration, or make --precision fp32",
    "int8-dynamic": "; leave it out of --precision",
}
#: Where a number of fp16 is not finite.
FP16_OVERFLOW = "fp16 overflows from 65504 on, so use --precision bf16"


class Shortfall(NamedTuple):
    """In what a variant differs too much.

    Attributes:
        what: The measure, what is allowed, and the worst text, for people.
        is_nan: Whether it is not a number.
    """

    what: str
    is_nan: bool


class Parity(Protocol):
    """How far a variant is from its checkpoint."""

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""

    def shortfall(self, precision: str) -> Shortfall | None:
        """The first measure that is beyond its tolerance, or is not a number."""


@dataclass(frozen=True)
class VectorTolerance:
    """What vectors may differ; cosines are of the same text's vectors."""

    cosine_min: float
    cosine_mean: float
    largest_difference: float


@dataclass(frozen=True)
class LogitsTolerance:
    """What logits may differ, and the scores that they become."""

    largest_difference: float
    mean_score_difference: float


#: By precision. fp32 only rounds differently. The other bounds find a wrong graph; how good a right
#: one is stands in quality.json. all-MiniLM-L6-v2 has, as smallest and as mean cosine, 0.999995 and
#: 0.999999 in fp16, 0.99978 and 0.99994 in bf16; the smallest of tiny random models of every
#: architecture is 0.999998 and 0.9998, and their scores differ by 0.0006 and 0.0032 at most.
VECTOR_TOLERANCES = {
    "fp32": VectorTolerance(cosine_min=0.99999, cosine_mean=0.99999, largest_difference=1e-4),
    "int8": VectorTolerance(cosine_min=0.90, cosine_mean=0.97, largest_difference=float("inf")),
    "int8-dynamic": VectorTolerance(
        cosine_min=0.90, cosine_mean=0.97, largest_difference=float("inf")
    ),
    "fp16": VectorTolerance(cosine_min=0.999, cosine_mean=0.9999, largest_difference=float("inf")),
    "bf16": VectorTolerance(cosine_min=0.99, cosine_mean=0.999, largest_difference=float("inf")),
    # Of TensorRT's engines alone: tf32 has as many bits as fp16, fp8 as few as int8.
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
#: Precisions whose scales follow the batch: how much a vector does too is measured, not refused.
BATCH_DEPENDENT_PRECISIONS = ("int8-dynamic",)


@dataclass(frozen=True)
class VectorParity:
    """How far the vectors of a variant are from those of its checkpoint.

    Attributes:
        cosine_min: Smallest cosine between the two vectors of a text.
        cosine_mean: Their mean.
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

    def shortfall(self, precision: str) -> Shortfall | None:
        """See `Parity.shortfall`."""
        allowed = VECTOR_TOLERANCES[precision]
        text, cosine = self.worst_texts[0]
        # Of vectors that are longer than 1, single precision rounds more.
        largest_difference = allowed.largest_difference * max(1.0, self.largest_component)
        is_bound = precision not in BATCH_DEPENDENT_PRECISIONS
        independence = BATCH_INDEPENDENT_COSINE if is_bound else -1.0
        checks = (
            ("smallest cosine", self.cosine_min, allowed.cosine_min, 1),
            ("mean cosine", self.cosine_mean, allowed.cosine_mean, 1),
            ("largest difference", self.largest_difference, largest_difference, -1),
            ("batch independence", self.batch_independence_cosine, independence, 1),
        )
        return _shortfall(checks, f"the worst text is {text!r} with cosine {cosine:.6f}")


@dataclass(frozen=True)
class LogitsParity:
    """How far the logits of a variant are from those of its checkpoint.

    Scores are what the activation makes of logits; of a regression, the logits divided by their
    spread over the texts.

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
        # Of logits that are larger than 1, as a regression's may be, single precision rounds more.
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
        if not sign * measured >= sign * allowed:  # so written, NaN fails
            text = f"{what} {measured:.6g}, allowed {allowed:.6g}; {worst}"
            return Shortfall(text, math.isnan(measured))
    return None


def require_parity(parity: Parity, precision: str, variant: str) -> None:
    """Refuses a variant that differs too much from its checkpoint.

    Raises:
        ParityError: A measure is beyond its tolerance, or is not a number.
    """
    if found := parity.shortfall(precision):
        is_overflow = variant == "fp16" and found.is_nan
        remedy = f"; {FP16_OVERFLOW}" if is_overflow else _REMEDIES.get(variant, "")
        msg = (
            f"the {variant} variant does not reproduce its checkpoint: {found.what}{remedy}. "
            "Nothing was written"
        )
        raise ParityError(msg)


def measure_parity(
    reference: Sequence[NDArray[np.float32]], model: Model, inputs: Sequence[str | Pair]
) -> Parity:
    """Compares a model's answers with the checkpoint's, and with themselves in other batches.

    Args:
        reference: The checkpoint's answers (see `lanner_export.checkpoint.checkpoint.Reference`).
        model: The variant, loaded in the runtime.
        inputs: The texts or pairs.
    """
    alone = answers(model, inputs, batch_size=1)
    together = answers(_with_one_batch(model), inputs, batch_size=len(inputs))
    if isinstance(model, EmbeddingModel):
        return _vector_parity(np.stack(reference), np.stack(alone), np.stack(together), inputs)
    return _logits_parity(reference, alone, together, inputs, model.manifest.activation)


def answers(model: Model, inputs: Sequence[Any], *, batch_size: int) -> list[NDArray[np.float32]]:
    """What a model says, in the form of `lanner_export.checkpoint.checkpoint.Reference`."""
    if isinstance(model, EmbeddingModel):
        # prompt="" turns a default prompt off, as it is for the reference.
        return list(model.encode(inputs, prompt="", batch_size=batch_size))
    if isinstance(model, TaggingModel):
        _, logits = model.window_logits(inputs, batch_size=batch_size)
        return [windows[0] for windows in logits]
    if isinstance(model, LogitsModel):
        return list(model.logits(inputs, batch_size=batch_size))
    raise TypeError(type(model).__name__)


def _vector_parity(
    reference: Vectors, alone: Vectors, together: Vectors, inputs: Sequence[str | Pair]
) -> VectorParity:
    cosines = np.minimum(row_cosines(reference, alone), row_cosines(reference, together))
    return VectorParity(
        cosine_min=float(cosines.min()),
        cosine_mean=float(cosines.mean()),
        largest_difference=float(max(np.abs(reference - v).max() for v in (alone, together))),
        largest_component=float(np.abs(reference).max()),
        batch_independence_cosine=float(row_cosines(alone, together).min()),
        worst_texts=_worst(inputs, cosines, -1),
    )


def _logits_parity(
    reference: Sequence[NDArray[np.float32]],
    alone: Sequence[NDArray[np.float32]],
    together: Sequence[NDArray[np.float32]],
    inputs: Sequence[str | Pair],
    activation: str,
) -> LogitsParity:
    for text, expected, found in zip(inputs, reference, alone, strict=True):
        if expected.shape != found.shape:
            msg = (
                f"the artifact reads {shown(text)!r} as other tokens than its checkpoint: "
                f"{found.shape[0]} instead of {expected.shape[0]}. Nothing was written"
            )
            raise ParityError(msg)
    # Texts have as many rows as tokens, or one.
    of_text = np.repeat(np.arange(len(inputs)), [np.atleast_2d(r).shape[0] for r in reference])
    expected, single, batched = (
        np.concatenate([np.atleast_2d(row) for row in rows])
        for rows in (reference, alone, together)
    )
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
    """A text, or the texts of a pair, cut to 60 characters."""
    text = item if isinstance(item, str) else " | ".join(item)
    return text[:_SHOWN_CHARACTERS]


def _with_one_batch(model: Model) -> Model:
    unbounded = 1 << 40
    return type(model)(
        manifest=model.manifest,
        variant=model.variant,
        tokenizer=model.tokenizer,
        runner=Runner(
            model.runner.engine, feed=model.runner.feed, workers=1, token_budget=unbounded
        ),
    )

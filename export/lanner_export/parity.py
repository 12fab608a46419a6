"""Whether an artifact answers as its checkpoint does, measured through the runtime itself.

The reference is the checkpoint in its own framework, from text to vector, so that tokenisation,
truncation and pooling are compared too, not only the graph.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lanner.artifact import BATCH_INDEPENDENT_COSINE
from lanner.errors import ParityError
from lanner.model import EmbeddingModel
from lanner.similarity import Vectors

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


@dataclass(frozen=True)
class Tolerance:
    """What a variant may differ from its checkpoint; cosines are of the same text's vectors."""

    cosine_min: float
    cosine_mean: float
    largest_difference: float


#: By precision. fp32 only rounds differently. int8's bound finds a wrong graph; how good a right
#: one is stands in quality.json.
TOLERANCES = {
    "fp32": Tolerance(cosine_min=0.99999, cosine_mean=0.99999, largest_difference=1e-4),
    "int8": Tolerance(cosine_min=0.90, cosine_mean=0.97, largest_difference=float("inf")),
}


@dataclass(frozen=True)
class Parity:
    """How far a variant is from its checkpoint.

    Attributes:
        cosine_min: Smallest cosine between the two vectors of a text.
        cosine_mean: Their mean.
        largest_difference: Largest absolute difference of a component.
        batch_independence_cosine: Smallest cosine between a text's vector alone and in one batch
            with all the others, padded to the longest.
        worst_texts: The texts with the smallest cosines, cut to 60 characters, with their cosines.
    """

    cosine_min: float
    cosine_mean: float
    largest_difference: float
    batch_independence_cosine: float
    worst_texts: list[tuple[str, float]]

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)

    def require(self, tolerance: Tolerance, variant: str) -> None:
        """Refuses a variant that differs too much.

        Raises:
            ParityError: A measure is beyond its tolerance, or is not a number.
        """
        text, cosine = self.worst_texts[0]
        checks = (
            ("smallest cosine", self.cosine_min, tolerance.cosine_min, 1),
            ("mean cosine", self.cosine_mean, tolerance.cosine_mean, 1),
            ("largest difference", self.largest_difference, tolerance.largest_difference, -1),
            ("batch independence", self.batch_independence_cosine, BATCH_INDEPENDENT_COSINE, 1),
        )
        for what, measured, allowed, sign in checks:
            if not sign * measured >= sign * allowed:  # so written, NaN fails
                msg = (
                    f"the {variant} variant does not reproduce its checkpoint: {what} "
                    f"{measured:.6g}, allowed {allowed:.6g}; the worst text is {text!r} with "
                    f"cosine {cosine:.6f}. Nothing was written"
                )
                raise ParityError(msg)


def measure_parity(reference: Vectors, model: EmbeddingModel, texts: list[str]) -> Parity:
    """Compares a model's vectors with the checkpoint's, and with themselves in other batches.

    Args:
        reference: The checkpoint's vectors of the texts, float32 [n, dim].
        model: The variant, loaded in the runtime.
        texts: The n texts.
    """
    # prompt="" turns a default prompt off, as it is for the reference.
    alone = model.encode(texts, prompt="", batch_size=1)
    together = _with_one_batch(model).encode(texts, prompt="", batch_size=len(texts))
    cosines = np.minimum(row_cosines(reference, alone), row_cosines(reference, together))
    worst = np.argsort(cosines)[:_WORST_TEXTS]
    return Parity(
        cosine_min=float(cosines.min()),
        cosine_mean=float(cosines.mean()),
        largest_difference=float(max(np.abs(reference - v).max() for v in (alone, together))),
        batch_independence_cosine=float(row_cosines(alone, together).min()),
        worst_texts=[(texts[i][:_SHOWN_CHARACTERS], float(cosines[i])) for i in worst],
    )


def row_cosines(a: Vectors, b: Vectors) -> np.ndarray:
    """Cosine of row i of one with row i of the other, float64 [n]; of two zero vectors, 1."""
    left, right = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    both_zero = ~left.any(axis=1) & ~right.any(axis=1)
    dots = np.einsum("ij,ij->i", left, right)
    cosines: np.ndarray = np.where(both_zero, 1.0, dots / np.where(lengths == 0, 1.0, lengths))
    return cosines


def _with_one_batch(model: EmbeddingModel) -> EmbeddingModel:
    unbounded = 1 << 40
    return EmbeddingModel(
        manifest=model.manifest,
        variant=model.variant,
        tokenizer=model.tokenizer,
        engine=model.engine,
        threads=1,
        token_budget=unbounded,
    )

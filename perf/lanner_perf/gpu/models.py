"""Models of real shapes with random weights, which take a GPU as long as trained ones."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Inputs = dict[str, NDArray[np.int64]]


class Shape(NamedTuple):
    """The sizes of a BERT that decide its speed.

    Attributes:
        layers: Encoder layers.
        hidden: Width of a token's vector.
        heads: Attention heads.
        inner: Width of the feed-forward layer.
    """

    layers: int
    hidden: int
    heads: int
    inner: int

    def flop(self, batch: int, length: int) -> float:
        """Return the operations of a run's matrix products; a multiply-add counts as two."""
        tokens = batch * length
        linear = 2 * tokens * (4 * self.hidden**2 + 2 * self.hidden * self.inner)
        attention = 4 * tokens * length * self.hidden
        return float(self.layers * (linear + attention))


MODELS = {
    "MiniLM-L6": Shape(6, 384, 12, 1_536),
    "BERT-base": Shape(12, 768, 12, 3_072),
    "BERT-large": Shape(24, 1_024, 16, 4_096),
    # For a run that only shows that everything works.
    "tiny": Shape(2, 32, 2, 64),
}
VOCABULARY = 30_522
MOST_TOKENS = 512
#: The first ids of BERT's vocabulary are special or unused tokens.
_FIRST_WORD = 1_000


def inputs_of(batch: int, length: int) -> Inputs:
    """Return random texts of `length` tokens; the last of several is one token shorter.

    So the mask hides something, as in nearly every real batch. A library that skips a mask without
    effect, as transformers does, would otherwise be timed in a rare case.
    """
    random = np.random.default_rng([batch, length])
    ids = random.integers(_FIRST_WORD, VOCABULARY, (batch, length))
    mask = np.ones_like(ids)
    if batch > 1:
        ids[-1, -1] = mask[-1, -1] = 0
    return {"input_ids": ids, "attention_mask": mask}

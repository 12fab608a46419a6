"""The texts or pairs that `lanner tune` measures with."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice, pairwise
from typing import Any, Self, TypeVar

import numpy as np

from lanner.artifact.heads import HEADS, InputKind
from lanner.errors import InputError
from lanner.files.texts import shipped_sentences

_SEED = 0
#: Lengths of real inputs are about log-normal; the parameters are those of the benchmarks.
_MU, _SIGMA, _MOST_SENTENCES = 1.3, 0.9, 18
_MIXED_TEXTS = 4_096
#: Enough for a mean cosine; each probe is answered alone and in a batch.
_PROBES, _MIXED_PROBES = 48, 16

Item = TypeVar("Item")


@dataclass(frozen=True)
class Workload:
    """The texts or pairs that a timed configuration answers.

    Attributes:
        source: The origin of the texts.
        inputs: Texts; pairs for the head `score`.
        probes: Inputs of unequal lengths that the quality is measured with.
    """

    source: str
    inputs: list[Any]
    probes: list[Any]

    @classmethod
    def shipped(cls, head: str, goal: str) -> Self:
        """Return the sentences shipped with Lanner: single for latency, 1 to 18 for throughput."""
        sentences = shipped_sentences()
        mixed = mixed_texts(sentences, _MIXED_TEXTS)
        texts = sentences if goal == "latency" else mixed
        probes = spread(sentences, _PROBES) + mixed[:_MIXED_PROBES]
        source = "sentences shipped with Lanner"
        return cls(source, _inputs(texts, head), _inputs(probes, head))

    @classmethod
    def own(cls, inputs: Sequence[Any], source: str) -> Self:
        """Return a workload of the user's own texts or pairs.

        Raises:
            InputError: `inputs` is empty.
        """
        if not inputs:
            msg = f"{source} holds no text to measure with: add texts like those of your service"
            raise InputError(msg)
        some = spread(list(inputs), _MIXED_TEXTS)
        return cls(source, some, spread(some, _PROBES + _MIXED_PROBES))

    def sample(self, count: int) -> list[Any]:
        """Return `count` inputs, evenly spaced; some repeat if there are too few."""
        return list(islice(cycle(spread(self.inputs, count)), count))


def mixed_texts(sentences: Sequence[str], count: int) -> list[str]:
    """Return texts of 1 to 18 sentences each, always the same."""
    generator = np.random.default_rng(_SEED)
    texts = []
    for _ in range(count):
        joined = int(np.clip(round(generator.lognormal(_MU, _SIGMA)), 1, _MOST_SENTENCES))
        rows = generator.integers(0, len(sentences), joined)
        texts.append(" ".join(sentences[row] for row in rows))
    return texts


def spread(items: list[Item], count: int) -> list[Item]:
    """Return at most `count` items, evenly spaced over the list."""
    if len(items) <= count:
        return items
    return [items[row * len(items) // count] for row in range(count)]


def _inputs(texts: list[str], head: str) -> list[Any]:
    takes_pairs = HEADS[head].inputs is InputKind.PAIRS
    return list(pairwise([*texts, texts[0]])) if takes_pairs else texts

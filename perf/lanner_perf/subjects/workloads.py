"""The texts of the benchmarks: short sentences, and a mix of lengths.

short: the sentences of a pair file, both columns. mixed: 1 to 18 of these joined. The number is
drawn from a log-normal distribution (mu 1.3, sigma 0.9), which resembles the lengths of real
inputs.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from lanner.files.texts import LabelledPairs, read_labelled_pairs, shipped_sentences
from lanner.tune.workload import mixed_texts, spread

SEED = 0
MIXED_TEXTS = 1_000
SHIPPED_REPEATS = 8


@dataclass(frozen=True)
class Workloads:
    """The texts by workload, their source, and their gold scores if they have any."""

    source: str
    texts: dict[str, list[str]]
    pairs: LabelledPairs | None

    def shortened(self, *, short: int | None = None, mixed: int | None = None) -> Self:
        """Return at most these numbers of texts, evenly spaced; labelled pairs keep both texts."""
        short = len(self.texts["short"]) if short is None else short
        mixed = len(self.texts["mixed"]) if mixed is None else mixed
        shorter = {"mixed": spread(self.texts["mixed"], mixed)}
        if self.pairs is None:
            return replace(self, texts={"short": spread(self.texts["short"], short), **shorter})
        left, right, scores = (spread(column, short // 2) for column in self.pairs)
        pairs = LabelledPairs(left, right, scores)
        return replace(self, texts={"short": left + right, **shorter}, pairs=pairs)


def build_workloads(pairs_file: Path | None) -> Workloads:
    """Return the texts of a file ``sentence1,sentence2,score``, or the sentences Lanner ships."""
    if pairs_file is None:
        source, pairs = "sentences shipped with Lanner", None
        short = shipped_sentences() * SHIPPED_REPEATS
    else:
        pairs = read_labelled_pairs(pairs_file)
        source, short = pairs_file.name, pairs.left + pairs.right
    return Workloads(source, {"short": short, "mixed": mixed_texts(short, MIXED_TEXTS)}, pairs)

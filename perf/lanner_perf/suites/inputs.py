"""The inputs of the suites, and their partition."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np

from lanner.tune.workload import Item, spread
from lanner_perf.subjects.lengths import LengthTexts
from lanner_perf.subjects.workloads import Workloads

#: The keys of a row that a suite gives each subject, by its name.
Parts = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Inputs:
    """The texts of all suites.

    Attributes:
        workloads: Natural texts.
        lengths: Texts with an exact number of tokens.
        count_tokens: The tokens of some texts together, as the artifact counts them.
    """

    workloads: Workloads
    lengths: LengthTexts
    count_tokens: Callable[[Sequence[str]], int]


def fitting(items: list[Item], per_s: float, seconds: float, *, least: int) -> list[Item]:
    """Return as many items as take that time at that rate, evenly spaced, or all."""
    return spread(items, max(least, int(per_s * seconds)))


def repeated(items: Sequence[Item], count: int) -> list[Item]:
    """Return that many items; fewer items are repeated."""
    return list(islice(cycle(items), count))


def median(values: Iterable[float]) -> float:
    """The median as a plain number."""
    return float(np.median(list(values)))

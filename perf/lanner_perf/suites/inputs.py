"""The inputs of the suites, and ways to select from them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np

from lanner.tune.workload import Item, spread
from lanner_perf.subjects.lengths import LengthTexts
from lanner_perf.subjects.workloads import Workloads

#: The keys that a suite adds to the rows, by the name of the subject.
Parts = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Inputs:
    """The texts of all suites.

    Attributes:
        workloads: Natural texts.
        lengths: Texts with an exact number of tokens.
        count_tokens: Returns the total tokens of some texts, as the artifact counts them.
    """

    workloads: Workloads
    lengths: LengthTexts
    count_tokens: Callable[[Sequence[str]], int]


def fitting(items: list[Item], per_s: float, seconds: float, *, least: int) -> list[Item]:
    """Return as many items as fill that time at that rate, evenly spaced, or all items."""
    return spread(items, max(least, int(per_s * seconds)))


def repeated(items: Sequence[Item], count: int) -> list[Item]:
    """Return that many items, repeating them if there are fewer."""
    return list(islice(cycle(items), count))


def median(values: Iterable[float]) -> float:
    """Return the median as a plain number."""
    return float(np.median(list(values)))

"""Speed ratios from rounds that were timed in turn, with confidence intervals."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from statistics import median
from typing import Self, TypeVar

_CONFIDENCE = 0.95

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Speedup:
    """A speed relative to a base: 2 means twice as fast.

    Attributes:
        median: Over the rounds, each of which was timed beside one of the base.
        low: Lower end of the 95% confidence interval of that median.
        high: Its upper end.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, base_costs: Sequence[float], costs: Sequence[float]) -> Self:
        """From the seconds of each round, both in the same order."""
        ratios = [base / cost for base, cost in zip(base_costs, costs, strict=True)]
        return cls(median(ratios), *median_interval(ratios))

    @property
    def is_beyond_noise(self) -> bool:
        """True if it is faster by more than the noise: the interval lies above 1."""
        return self.low > 1


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """A 95% confidence interval of the median, whatever the distribution.

    Its ends are order statistics, by the sign test (Conover, Practical Nonparametric Statistics,
    3.2): of 9 values the second smallest and the second largest. Of fewer than 6, which cannot be
    so sure, the smallest and the largest.
    """
    count = len(values)
    dropped = 0
    while 2 * sum(comb(count, i) for i in range(dropped + 2)) <= (1 - _CONFIDENCE) * 2**count:
        dropped += 1
    ordered = sorted(values)
    return ordered[dropped], ordered[-1 - dropped]


def fastest(costs: Mapping[Name, Sequence[float]], count: int) -> list[Name]:
    """The names with the smallest median of their costs, smallest first; a tie keeps the order."""
    return sorted(costs, key=lambda name: median(costs[name]))[:count]

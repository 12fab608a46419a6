"""Speed ratios from alternating rounds, with confidence intervals."""

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
        median: The median over the rounds, each timed next to a round of the base.
        low: Lower end of the 95% confidence interval of that median.
        high: Upper end of the interval.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, base_costs: Sequence[float], costs: Sequence[float]) -> Self:
        """Compute the speedup from the seconds of each round, both in the same order."""
        ratios = [base / cost for base, cost in zip(base_costs, costs, strict=True)]
        return cls(median(ratios), *median_interval(ratios))

    @property
    def is_beyond_noise(self) -> bool:
        """True if the whole interval lies above 1: faster by more than the noise."""
        return self.low > 1


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return a 95% confidence interval of the median, whatever the distribution.

    Its ends are order statistics, by the sign test (Conover, Practical Nonparametric Statistics,
    3.2): the second smallest and the second largest of 9 values. For fewer than 6 values, too few
    for 95%, they are the smallest and the largest.
    """
    count = len(values)
    dropped = 0
    while 2 * sum(comb(count, i) for i in range(dropped + 2)) <= (1 - _CONFIDENCE) * 2**count:
        dropped += 1
    ordered = sorted(values)
    return ordered[dropped], ordered[-1 - dropped]


def fastest(costs: Mapping[Name, Sequence[float]], count: int) -> list[Name]:
    """Return the names with the smallest median costs, smallest first; ties keep their order."""
    return sorted(costs, key=lambda name: median(costs[name]))[:count]

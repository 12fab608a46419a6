"""Load over time: a rate that changes in straight lines, and random arrivals at it."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LoadCurve:
    """A rate that changes in straight lines between points.

    Attributes:
        points: Seconds, ascending from 0, and requests a second.
    """

    points: Sequence[tuple[float, float]]

    @property
    def seconds(self) -> float:
        """The length of the curve."""
        return self.points[-1][0]

    @property
    def peak(self) -> float:
        """The greatest rate."""
        return max(rate for _, rate in self.points)

    def rate(self, at_s: float) -> float:
        """Return the requests a second at a time."""
        number = min(max(bisect_right(self.points, (at_s, float("inf"))), 1), len(self.points) - 1)
        (from_s, low), (to_s, high) = self.points[number - 1 : number + 1]
        share = min(1.0, max(0.0, (at_s - from_s) / (to_s - from_s)))
        return low + (high - low) * share

    def faster(self, times: float) -> "LoadCurve":
        """Return the same curve in less time, at the same rates."""
        return LoadCurve([(at_s / times, rate) for at_s, rate in self.points])

    def scaled(self, times: float) -> "LoadCurve":
        """Return the curve with as many times the requests."""
        return LoadCurve([(at_s, rate * times) for at_s, rate in self.points])

    def arrivals_s(self, generator: np.random.Generator) -> NDArray[Any]:
        """Return the ascending times of a Poisson process at this rate, float64 [n] seconds."""
        count = generator.poisson(self.peak * self.seconds)
        times = np.sort(generator.uniform(0, self.seconds, count))
        at_s, rate = np.array(self.points, np.float64).T
        rates = np.interp(times, at_s, rate)
        kept: NDArray[Any] = times[generator.uniform(0, self.peak, count) < rates]  # thinning
        return kept


def day(peak: float, hours: float = 24.0) -> LoadCurve:
    """Return the load of a day: a quiet night, a ramp, a day, a spike, an evening and a lull.

    Args:
        peak: Requests a second in the spike.
        hours: The length of the day, which fits into fewer hours for a replay.
    """
    shape = (
        (0, 0.15),  # night
        (5, 0.15),
        (9, 0.6),  # ramp of the morning
        (13, 0.6),
        (13.5, 1.0),  # a spike, in half an hour
        (15, 1.0),
        (15.5, 0.6),
        (19, 0.5),
        (21, 0.2),  # evening
        (24, 0.15),
    )
    return LoadCurve([(hour / 24 * hours * 3600, share * peak) for hour, share in shape])

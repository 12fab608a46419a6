"""Bootstrap intervals: the variation of a measure over other data of the same kind.

They are the percentile intervals of Efron and Tibshirani, "An Introduction to the Bootstrap"
(1993), chapter 13: the rows are resampled with replacement, and the interval holds the middle share
of the measure on such samples.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lanner_export.quality.statistic import Items

RESAMPLES = 1_000
CONFIDENCE = 0.95
_SEED = 0


def resampled(statistic: Callable[[Items], float], items: Items) -> NDArray[np.float64]:
    """Return the statistic of resampled rows, float64 [RESAMPLES].

    The samples depend only on the number of rows. So the results of two models on the same rows are
    paired, and their difference is that of the models on each sample.

    Args:
        statistic: See `lanner_export.quality.statistic`; NaN for a sample without one.
        items: The contribution of each row, [rows, ...].
    """
    generator = np.random.default_rng(_SEED)
    count = len(items)
    return np.array(
        [statistic(items[generator.integers(0, count, count)]) for _ in range(RESAMPLES)]
    )


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the interval of the middle share `CONFIDENCE` of resampled values, without NaN."""
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.nanpercentile(values, (tail, 100 - tail))
    return float(low), float(high)

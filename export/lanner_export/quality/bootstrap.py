"""How far a measure would move with other data of the same kind: bootstrap intervals.

The percentile interval of Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter
13: rows of the data are drawn again, with replacement and as many, and the interval holds the
middle of what is measured on such draws.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lanner_export.quality.statistic import Items

RESAMPLES = 1_000
CONFIDENCE = 0.95
_SEED = 0


def resampled(statistic: Callable[[Items], float], items: Items) -> NDArray[np.float64]:
    """The statistic of resampled rows, float64 [RESAMPLES].

    Items of as many rows are resampled alike. So the results of two models on the same rows are
    paired, and their difference is that of the models on each draw.

    Args:
        statistic: See `lanner_export.quality.statistic`; NaN where a draw has none.
        items: What each row contributed, [rows, ...].
    """
    generator = np.random.default_rng(_SEED)
    count = len(items)
    return np.array(
        [statistic(items[generator.integers(0, count, count)]) for _ in range(RESAMPLES)]
    )


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Where the middle share `CONFIDENCE` of resampled values lies; those that are NaN left out."""
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.nanpercentile(values, (tail, 100 - tail))
    return float(low), float(high)

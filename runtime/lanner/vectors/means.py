"""The mean of the vectors of a text's parts."""

import numpy as np
from numpy.typing import NDArray

from lanner.vectors.similarity import Vectors, normalize

#: Rounding moves the length of a normalized vector away from 1 by less than this.
_UNIT_ERROR = 1e-3


def means_of(vectors: Vectors, counts: NDArray[np.int64]) -> Vectors:
    """Return the mean of each text's vectors, of length 1 if all of them have length 1.

    Args:
        vectors: float32 [parts, dim]; the parts of a text follow each other.
        counts: int64 [texts], the number of parts of each text, at least 1.

    Returns:
        float32 [texts, dim]. A text with one part gets the vector of that part, bit for bit.
    """
    if not len(counts):
        return vectors
    starts = np.cumsum(counts) - counts
    sums = np.add.reduceat(vectors.astype(np.float64), starts, axis=0)
    means = (sums / counts[:, None]).astype(np.float32)
    is_unit = np.abs(np.linalg.norm(vectors, axis=1) - 1).max(initial=0) < _UNIT_ERROR
    if is_unit:
        means = normalize(means)
    is_whole = counts == 1
    means[is_whole] = vectors[starts[is_whole]]  # to the last bit
    return means

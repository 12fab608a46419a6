"""The mean of the vectors of a text's parts."""

import numpy as np
from numpy.typing import NDArray

from lanner.vectors.similarity import Vectors, normalize

#: What rounding leaves between the length of a normalized vector and 1.
_UNIT_ERROR = 1e-3


def means_of(vectors: Vectors, counts: NDArray[np.int64]) -> Vectors:
    """Return the mean of each text's vectors, of length 1 if all of them have length 1.

    Args:
        vectors: float32 [parts, dim], those of a text one after the other.
        counts: int64 [texts], the number of parts of each; one at least.

    Returns:
        float32 [texts, dim]. The vector of a text of one part is that of the part.
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

"""What measures make of their items: one number of rows, each of which one text or pair gave.

Every function takes any rows, in any number, so that a bootstrap can draw them.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from lanner.models.answers import row_cosines
from lanner.vectors.similarity import Vectors, similarity

#: What the texts or pairs contribute, [rows] or [rows, several].
Items = NDArray[np.float64]


def mean(items: Items) -> float:
    """The mean of items [rows]."""
    return float(items.mean())


def percent(items: Items) -> float:
    """The mean x100 of items [rows]."""
    return 100 * mean(items)


def ratio(items: Items) -> float:
    """The first column over the second, each added up, of items [rows, 2]."""
    part, whole = items.sum(axis=0)
    return float(part / whole) if whole else float("nan")


def f1(items: Items) -> float:
    """The micro F1 x100 of items [rows, 3]: how many were right, were found, and were to be found.

    NaN where nothing was to be found.
    """
    right, found, wanted = items.sum(axis=0)
    return float(200 * right / (found + wanted)) if wanted else float("nan")


def spearman(items: Items) -> float:
    """Spearman's rank correlation x100 of items [rows, 2]: what was answered, and what is right.

    0 where all answers are the same, NaN where all that is right is, for which none is defined.
    """
    answered, right = (rankdata(column) for column in items.T)
    if not np.ptp(right):
        return float("nan")
    return 100 * float(correlations(answered[None], right[None])[0])


def correlation(items: Items) -> float:
    """Spearman's rank correlation, the mean of each column, of items [rows, 2, columns].

    1 where all numbers are the same on both sides, 0 where they are on one.
    """
    ranks = rankdata(items, axis=0)
    return mean(correlations(ranks[:, 0].T, ranks[:, 1].T))


def neighbour_correlations(a: Vectors, b: Vectors, *, name: str) -> Items:
    """How alike two models rank the texts around each text.

    Args:
        a: The vectors of the one, [texts, dimension].
        b: Those of the other, whose dimension may be another.
        name: The similarity that vectors are compared by, of `lanner.vectors.similarity`.

    Returns:
        For each text Spearman's rank correlation between its similarities to all other texts,
        float64 [texts].
    """
    ranks = [rankdata(_to_others(vectors, name), axis=1) for vectors in (a, b)]
    return correlations(*ranks)


def correlations(a: Items, b: Items) -> Items:
    """Pearson's correlation of row i of one with row i of the other, [rows].

    1 where both rows are constant, 0 where one is.
    """
    if not a.shape[1]:
        return np.ones(len(a))
    left, right = (rows - rows.mean(axis=1, keepdims=True) for rows in (a, b))
    clipped: Items = np.clip(row_cosines(left, right), -1, 1)  # rounding may go beyond
    return clipped


def _to_others(vectors: Vectors, name: str) -> Vectors:
    """The similarities of each text to all but itself, [texts, texts - 1]."""
    count = len(vectors)
    return similarity(vectors, vectors, name=name)[~np.eye(count, dtype=bool)].reshape(count, -1)

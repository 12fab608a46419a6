"""Statistics of items: one number from rows that each come from one text or pair.

Every function takes any number of rows, so that a bootstrap can resample them.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from lanner.artifact.quality_budget import NEIGHBOURS, TERMS
from lanner.models.answers import row_cosines
from lanner.vectors.similarity import Vectors, best_columns, similarity

#: The contributions of texts or pairs, [rows] or [rows, several].
Items = NDArray[np.float64]


def mean(items: Items) -> float:
    """Return the mean of items [rows]."""
    return float(items.mean())


def percent(items: Items) -> float:
    """Return the mean x100 of items [rows]."""
    return 100 * mean(items)


def ratio(items: Items) -> float:
    """Return the sum of the first column over the sum of the second, for items [rows, 2]."""
    part, whole = items.sum(axis=0)
    return float(part / whole) if whole else float("nan")


def f1(items: Items) -> float:
    """Return the micro F1 x100 of items [rows, 3]: numbers of right, found and gold entities.

    It is NaN if there are no gold entities.
    """
    right, found, wanted = items.sum(axis=0)
    return float(200 * right / (found + wanted)) if wanted else float("nan")


def spearman(items: Items) -> float:
    """Return Spearman's rank correlation x100 of items [rows, 2]: answers and gold scores.

    It is 0 if all answers are equal, and NaN, undefined, if all gold scores are.
    """
    answered, right = (rankdata(column) for column in items.T)
    if not np.ptp(right):
        return float("nan")
    return 100 * float(correlations(answered[None], right[None])[0])


def correlation(items: Items) -> float:
    """Return Spearman's rank correlation, averaged over columns, of items [rows, 2, columns].

    It is 1 if all numbers are equal on both sides, and 0 if they are on one side.
    """
    ranks = rankdata(items, axis=0)
    return mean(correlations(ranks[:, 0].T, ranks[:, 1].T))


def neighbours_kept(a: Vectors, b: Vectors, *, name: str) -> Items:
    """Compare the nearest neighbours of two models.

    Args:
        a: The vectors of one model, [texts, dimension].
        b: The vectors of the other, perhaps of another dimension.
        name: The similarity of vectors, of `lanner.vectors.similarity`.

    Returns:
        For each text the share of its `NEIGHBOURS` nearest neighbours by one model, itself
        excluded, that are among those by the other, float64 [texts]. Of fewer texts all are
        neighbours; a lone text keeps all of none, 1.
    """
    count = min(NEIGHBOURS, len(a) - 1)
    if not count:
        return np.ones(len(a))
    nearest = [best_columns(_to_others(vectors, name), count) for vectors in (a, b)]
    kept: Items = (nearest[0][:, :, None] == nearest[1][:, None, :]).sum(axis=(1, 2)) / count
    return kept


def similarity_correlations(a: Vectors, b: Vectors, *, name: str) -> Items:
    """Compare the rankings of two models: for each text, the order of all others by similarity.

    Args:
        a: The vectors of one model, [texts, dimension].
        b: The vectors of the other, perhaps of another dimension.
        name: The similarity of vectors, of `lanner.vectors.similarity`.

    Returns:
        For each text Spearman's rank correlation between its similarities to all other texts,
        float64 [texts].
    """
    return score_correlations(*(similarity(vectors, vectors, name=name) for vectors in (a, b)))


def score_correlations(a: Vectors, b: Vectors) -> Items:
    """Compare the rankings of two models by their similarities of all texts, [texts, texts]."""
    return correlations(*(rankdata(_others(scores), axis=1) for scores in (a, b)))


def correlations(a: Items, b: Items) -> Items:
    """Return Pearson's correlation of row i of `a` with row i of `b`, [rows].

    It is 1 if both rows are constant, and 0 if one is.
    """
    if not a.shape[1]:
        return np.ones(len(a))
    left, right = (rows - rows.mean(axis=1, keepdims=True) for rows in (a, b))
    clipped: Items = np.clip(row_cosines(left, right), -1, 1)  # rounding may go beyond
    return clipped


def terms_kept(a: Vectors, b: Vectors) -> Items:
    """Compare the heaviest terms of two models.

    Args:
        a: The weights of one model, [texts, terms].
        b: The weights of the other.

    Returns:
        For each text the share of its `TERMS` heaviest terms by the second model that are among
        those by the first, float64 [texts]. Terms without a weight count as none; a text without
        any keeps all.
    """
    count = min(TERMS, b.shape[1])
    kept = np.ones(len(b))
    pairs = zip(a, b, best_columns(a, count), best_columns(b, count), strict=True)
    for row, (ours, theirs, our_best, their_best) in enumerate(pairs):
        wanted = their_best[theirs[their_best] > 0]
        found = our_best[: len(wanted)]
        if len(wanted):
            kept[row] = np.isin(wanted, found[ours[found] > 0]).mean()
    return kept


def _to_others(vectors: Vectors, name: str) -> Vectors:
    """Return the similarities of each text to all others, [texts, texts - 1]."""
    return _others(similarity(vectors, vectors, name=name))


def _others(scores: Vectors) -> Vectors:
    """Return scores [texts, texts] without those of a text and itself, [texts, texts - 1]."""
    return scores[~np.eye(len(scores), dtype=bool)].reshape(len(scores), -1)

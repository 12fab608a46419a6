"""Answers of a model of any head: by its main method, or as rows of numbers to compare."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.quality_budget import RANK_CORRELATION, labelled_measure_name
from lanner.models.base import Model
from lanner.text.tokenization import Pair

#: The score from which a label of a multi-label classifier holds: the default of `classify`.
_THRESHOLD = 0.5

Rows = NDArray[np.float32]


def ask(model: Model, inputs: Any) -> Any:
    """Call the main method of a model: `encode`, `score`, `classify` or `tag`.

    Args:
        model: A model of any head.
        inputs: One text or a list of them; pairs for `score`.
    """
    return getattr(model, model.manifest.head_record.methods[0])(inputs)


def rows(model: Model, inputs: Sequence[str | Pair], *, batch_size: int = 32) -> Rows:
    """Return the answers of a model as numbers.

    Args:
        model: A model of any head.
        inputs: Texts; pairs for `score`.
        batch_size: The most inputs in one batch; the token budget bounds it too.

    Returns:
        Vectors or scores, float32 [inputs, dimension]; [tokens, labels] for `tag`.
    """
    return model.rows(inputs, batch_size=batch_size)


def row_cosines(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the cosine of row i of `a` with row i of `b`, float64 [n]; 1 for two zero vectors."""
    left, right = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    both_zero = ~left.any(axis=1) & ~right.any(axis=1)
    dots = np.einsum("ij,ij->i", left, right)
    cosines: NDArray[np.float64] = np.where(
        both_zero, 1.0, dots / np.where(lengths == 0, 1.0, lengths)
    )
    return cosines


def score_differences(a: Rows, b: Rows, *, activation: str) -> Rows:
    """Return the absolute differences of two sets of scores, float32 of the same shape.

    Args:
        a: The first scores, [rows, labels]; for a regression, their spread is the unit.
        b: The second scores.
        activation: The artifact's activation; "identity" means a regression.
    """
    spread = float(np.ptp(a)) or 1.0 if activation == "identity" else 1.0
    differences: Rows = np.abs(a - b) / np.float32(spread)
    return differences


def agreement(a: Rows, b: Rows, *, head: str, activation: str) -> float:
    """Return the agreement of two sets of scores, at most 1.

    Args:
        a: The first scores, [rows, labels].
        b: The second scores.
        head: `score`, `classify` or `tag`.
        activation: The artifact's activation; "identity" means a regression.

    Returns:
        For `score` and for a regression Spearman's rank correlation, averaged over the columns;
        otherwise the share of rows with the same label, or the same set of labels for a
        multi-label classifier.
    """
    if labelled_measure_name(head, activation) == RANK_CORRELATION:
        ranked = [
            np.stack([ranks(column) for column in scores.T]) - (len(scores) - 1) / 2
            for scores in (a, b)
        ]
        return float(row_cosines(*ranked).mean())
    if activation == "sigmoid":
        return float(((a >= _THRESHOLD) == (b >= _THRESHOLD)).all(axis=1).mean())
    return float((a.argmax(axis=1) == b.argmax(axis=1)).mean())


def ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the ranks, from 0, float64 [n]; equal values share the mean of their ranks."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    found: NDArray[np.float64] = (np.cumsum(counts) - (counts + 1) / 2)[group]
    return found

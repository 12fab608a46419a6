"""Weights of words by inverse frequency, and the component that all texts share.

A simple but tough-to-beat baseline for sentence embeddings (Arora, Liang and Ma, 2017).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lanner.errors import InputError
from lanner_export.graph.lookup import LookupTable
from lanner_export.static.reference import mean_rows
from lanner_export.static.word_options import Sif

_BLOCK_TEXTS = 1_024


def weighted_table(
    table: LookupTable, encode: Callable[[Sequence[str]], list[list[int]]], sif: Sif, name: str
) -> LookupTable:
    """Return a table with the weights of its words, and perhaps the component to remove.

    Args:
        table: The table; words that the texts do not have, and parts of words, keep the weight 1.
        encode: Returns the token ids of texts.
        sif: The texts and the smoothing.
        name: The name of the checkpoint, for messages.

    Raises:
        InputError: The texts have none of the words.
    """
    texts = sif.corpus.texts
    counts = np.zeros(table.vocabulary_size, np.int64)
    for block in _blocks(texts):
        ids = np.array([one for some in encode(block) for one in some], np.int64)
        known = ids[ids < table.vocabulary_size]
        counts += np.bincount(known, minlength=table.vocabulary_size)
    if not counts.any():
        msg = (
            f"{sif.corpus.name} has none of the words of {name}, whose frequencies --sif needs: "
            "give texts of its language"
        )
        raise InputError(msg)
    frequencies = counts / counts.sum()
    weights = (sif.smoothing / (sif.smoothing + frequencies)).astype(np.float32)
    weighted = replace(table, weights=weights)
    if not sif.removes_component:
        return weighted
    moments = np.zeros((table.dimension, table.dimension))
    for block in _blocks(texts):
        vectors = mean_rows(weighted, encode(block)).astype(np.float64)
        moments += vectors.T @ vectors
    return replace(weighted, component=first_component(moments))


def first_component(moments: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the first right singular vector of vectors X, of length 1, from X^T X.

    Args:
        moments: X^T X, float64 [dimension, dimension].
    """
    _, vectors = np.linalg.eigh(moments)  # in the order of growing eigenvalues
    component: NDArray[np.float32] = vectors[:, -1].astype(np.float32)
    return component


def _blocks(texts: Sequence[str]) -> list[Sequence[str]]:
    return [texts[start : start + _BLOCK_TEXTS] for start in range(0, len(texts), _BLOCK_TEXTS)]

"""Similarity of vectors, and exact nearest-neighbour search.

The functions and their names are those of sentence-transformers: distances are negated, so that
more is always nearer.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lanner.errors import InputError, InputTypeError

SimilarityName = Literal["cosine", "dot", "euclidean", "manhattan"]
SIMILARITY_NAMES: tuple[str, ...] = get_args(SimilarityName)

Vectors = NDArray[np.float32]

#: Rows of the corpus and queries that one block of `search` compares: with 384 dimensions, 25 MB of
#: the corpus and 17 MB of scores.
SEARCH_BLOCK_ROWS = 16_384
SEARCH_BLOCK_QUERIES = 256


class SearchResult(NamedTuple):
    """The nearest rows of a corpus, nearest first.

    Attributes:
        indices: Rows of the corpus, int64 [queries, k]; a tie goes to the lower row.
        scores: Their similarity, float32 [queries, k].
    """

    indices: NDArray[np.int64]
    scores: NDArray[np.float32]


def similarity(a: ArrayLike, b: ArrayLike, *, name: str = "cosine") -> Vectors:
    """Every vector of `a` against every one of `b`, float32 [len(a), len(b)].

    Args:
        a: Vectors [n, dim], or one [dim].
        b: Vectors [m, dim], or one [dim].
        name: One of `SIMILARITY_NAMES`. The cosine of a zero vector with anything is 0.

    Raises:
        InputError: The dimensions differ, or something is not an array of numbers.
    """
    left, right = _pair_of_matrices(a, b)
    return _function(name)(left, right)


def similarity_pairwise(a: ArrayLike, b: ArrayLike, *, name: str = "cosine") -> Vectors:
    """Row i of `a` against row i of `b`, float32 [n].

    Args:
        a: Vectors [n, dim], or one [dim].
        b: As many vectors [n, dim], or one [dim].
        name: One of `SIMILARITY_NAMES`.

    Raises:
        InputError: The shapes differ, or something is not an array of numbers.
    """
    left, right = _pair_of_matrices(a, b)
    require_same_length(len(left), len(right))
    require_name(name)
    if name == "cosine":
        left, right = normalize(left), normalize(right)
    scores: Vectors
    if name in ("cosine", "dot"):
        scores = np.einsum("ij,ij->i", left, right)
    elif name == "euclidean":
        scores = -np.linalg.norm(left - right, axis=1)
    else:
        scores = -np.abs(left - right).sum(axis=1)
    return scores


def search(
    queries: ArrayLike,
    corpus: ArrayLike,
    *,
    k: int = 10,
    name: str = "cosine",
    block_rows: int = SEARCH_BLOCK_ROWS,
) -> SearchResult:
    """The k vectors of a corpus that are nearest to each query; exact.

    Blocks of queries are compared with blocks of the corpus, so that memory grows with the result
    alone.

    Args:
        queries: Vectors [n, dim], or one [dim].
        corpus: Vectors [m, dim]; a memory-mapped array is fine.
        k: How many; fewer are returned when the corpus is smaller.
        name: One of `SIMILARITY_NAMES`.
        block_rows: Rows of the corpus that are compared at once.

    Raises:
        InputError: The dimensions differ, or k is less than 1.
    """
    # A memory-mapped corpus stays on disk: only its blocks are converted.
    stored = corpus if isinstance(corpus, np.ndarray) else matrix(corpus, "corpus")
    stored = matrix(stored, "corpus") if stored.ndim != 2 else stored
    compare = partial(similarity, name=name)
    return nearest(matrix(queries, "queries"), stored, k=k, compare=compare, block_rows=block_rows)


def nearest(
    queries: Any,
    corpus: Any,
    *,
    k: int,
    compare: Callable[[Any, Any], Vectors],
    block_rows: int = SEARCH_BLOCK_ROWS,
) -> SearchResult:
    """`search` by any comparison, of anything that has rows and can be sliced by them.

    Args:
        queries: n rows.
        corpus: m rows.
        k: How many; fewer are returned when the corpus is smaller.
        compare: A block of queries against one of the corpus, float32 [queries, rows]; more is
            nearer.
        block_rows: Rows of the corpus that are compared at once.

    Raises:
        InputError: k is less than 1.
    """
    require_count(k, "k")
    count = min(int(k), len(corpus))
    found = SearchResult(
        np.empty((len(queries), count), np.int64), np.empty((len(queries), count), np.float32)
    )
    for start in range(0, len(queries), SEARCH_BLOCK_QUERIES):
        rows = slice(start, start + SEARCH_BLOCK_QUERIES)
        found.indices[rows], found.scores[rows] = _nearest_to_block(
            queries[rows], corpus, count, compare, block_rows
        )
    return found


def _nearest_to_block(
    wanted: Any,
    stored: Any,
    count: int,
    compare: Callable[[Any, Any], Vectors],
    block_rows: int,
) -> SearchResult:
    indices = np.empty((len(wanted), 0), dtype=np.int64)
    scores = np.empty((len(wanted), 0), dtype=np.float32)
    for start in range(0, len(stored), block_rows):
        block = compare(wanted, stored[start : start + block_rows])
        columns = best_columns(block, count)
        # What was best so far stands first, so the lower row keeps standing first on a tie.
        indices = np.concatenate([indices, columns + start], axis=1)
        scores = np.concatenate([scores, np.take_along_axis(block, columns, axis=1)], axis=1)
        best = best_columns(scores, count)
        indices = np.take_along_axis(indices, best, axis=1)
        scores = np.take_along_axis(scores, best, axis=1)
    return SearchResult(indices, scores)


def best_columns(scores: Vectors, count: int) -> NDArray[np.int64]:
    """The columns of the highest scores of each row, highest first, int64 [n, count].

    Of equal scores the lower column stands first.
    """
    # A partition is linear where a sort is not, but it breaks ties as it likes: in rows in which a
    # tie crosses the boundary, the first of those that are equal are taken.
    if count >= scores.shape[1]:
        return np.argsort(-scores, axis=1, kind="stable")
    columns = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    lowest = np.take_along_axis(scores, columns, axis=1).min(axis=1, keepdims=True)
    for row in np.flatnonzero((scores >= lowest).sum(axis=1) > count):
        above = np.flatnonzero(scores[row] > lowest[row])
        equal = np.flatnonzero(scores[row] == lowest[row])
        columns[row] = np.concatenate([above, equal[: count - len(above)]])
    columns.sort(axis=1)
    order = np.argsort(-np.take_along_axis(scores, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)


def normalize(vectors: Vectors) -> Vectors:
    """The vectors at length 1, float32 [n, dim]; a zero vector stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Vectors = vectors / np.maximum(lengths, np.float32(1e-12))
    return scaled


def _cosine(a: Vectors, b: Vectors) -> Vectors:
    return normalize(a) @ normalize(b).T


def _dot(a: Vectors, b: Vectors) -> Vectors:
    return a @ b.T


def _euclidean(a: Vectors, b: Vectors) -> Vectors:
    squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * (a @ b.T)
    distances: Vectors = np.sqrt(np.maximum(squared, 0))
    return -distances


def _manhattan(a: Vectors, b: Vectors) -> Vectors:
    out = np.empty((len(a), len(b)), dtype=np.float32)
    for row, vector in enumerate(a):  # a row at a time: [n, m, dim] at once would not fit
        out[row] = -np.abs(b - vector).sum(axis=1)
    return out


_FUNCTIONS: dict[str, Callable[[Vectors, Vectors], Vectors]] = {
    "cosine": _cosine,
    "dot": _dot,
    "euclidean": _euclidean,
    "manhattan": _manhattan,
}


def _function(name: str) -> Callable[[Vectors, Vectors], Vectors]:
    require_name(name)
    return _FUNCTIONS[name]


def require_name(name: str) -> None:
    """Refuses a similarity that is not there.

    Raises:
        InputError: It is none of `SIMILARITY_NAMES`.
    """
    if name not in SIMILARITY_NAMES:
        msg = f"there is no similarity {name!r}: use {', '.join(SIMILARITY_NAMES)}"
        raise InputError(msg)


def matrix(vectors: Any, name: str) -> Vectors:
    """Vectors as float32 [n, dim]; one [dim] is one row.

    Args:
        vectors: Anything that numpy makes an array of.
        name: What messages call it.

    Raises:
        InputTypeError: They are no numbers, or not of one length.
        InputError: They have another shape.
    """
    try:
        array = np.asarray(vectors)
    except (TypeError, ValueError):
        array = np.empty(0, dtype=object)  # rows of unequal lengths
    if array.dtype.kind not in "biuf":  # numpy would read the text "1" as a number
        msg = f"{name} must be vectors of numbers, all of one length: pass texts through encode"
        raise InputTypeError(msg)
    array = array.astype(np.float32, copy=False)
    if array.ndim == 1:
        array = array[None] if array.size else array.reshape(0, 0)
    if array.ndim != 2:
        msg = f"{name} must have the shape [n, dim] or [dim], not {list(array.shape)}"
        raise InputError(msg)
    return array


def require_count(value: Any, name: str) -> None:
    """Refuses what is no number of things.

    Raises:
        InputError: It is not a whole number from 1 on.
    """
    if not isinstance(value, int | np.integer) or value < 1:
        msg = f"{name} must be a whole number from 1 on, not {value!r}"
        raise InputError(msg)


def require_same_width(left: int, right: int) -> None:
    """Refuses vectors that cannot be compared.

    Raises:
        InputError: They have different numbers of dimensions.
    """
    if left != right:
        msg = (
            f"the vectors have {left} and {right} dimensions: "
            "encode both sides with the same model and truncate_dim"
        )
        raise InputError(msg)


def require_same_length(left: int, right: int) -> None:
    """Refuses two sides that are no pairs.

    Raises:
        InputError: One has more vectors than the other.
    """
    if left != right:
        msg = f"pairwise similarity needs as many vectors on both sides, not {left} and {right}"
        raise InputError(msg)


def _pair_of_matrices(a: ArrayLike, b: ArrayLike) -> tuple[Vectors, Vectors]:
    left, right = matrix(a, "a"), matrix(b, "b")
    if len(left) and len(right):
        require_same_width(left.shape[1], right.shape[1])
    if not len(left) or not len(right):  # an empty list has no dimensions to agree on
        width = max(left.shape[1], right.shape[1])
        left, right = left.reshape(len(left), width), right.reshape(len(right), width)
    return left, right

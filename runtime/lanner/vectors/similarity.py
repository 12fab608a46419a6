"""Similarity of vectors, and exact nearest-neighbour search.

The functions and their names are those of sentence-transformers: distances are negated, so that a
higher value always means nearer.
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

#: Rows of the corpus and queries in one block of `search`: with 384 dimensions, 25 MB of
#: the corpus and 17 MB of scores.
SEARCH_BLOCK_ROWS = 16_384
SEARCH_BLOCK_QUERIES = 256


class SearchResult(NamedTuple):
    """The nearest rows of a corpus, nearest first.

    Attributes:
        indices: Rows of the corpus, int64 [queries, k]; ties go to the lower row.
        scores: The similarity of those rows, float32 [queries, k].
    """

    indices: NDArray[np.int64]
    scores: NDArray[np.float32]


def similarity(a: ArrayLike, b: ArrayLike, *, name: str = "cosine") -> Vectors:
    """Compare every vector of `a` with every vector of `b`, float32 [len(a), len(b)].

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
    """Compare row i of `a` with row i of `b`, float32 [n].

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
    """Find the k vectors of a corpus that are nearest to each query; exact.

    Blocks of queries are compared with blocks of the corpus, so that only the result takes memory
    that grows.

    Args:
        queries: Vectors [n, dim], or one [dim].
        corpus: Vectors [m, dim]; a memory-mapped array is fine.
        k: The number of hits per query; fewer if the corpus is smaller.
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
    """Search by any comparison, in anything that can be sliced into rows.

    Args:
        queries: n rows.
        corpus: m rows.
        k: The number of hits per query; fewer if the corpus is smaller.
        compare: Compares a block of queries with a block of the corpus, float32 [queries, rows];
            higher means nearer.
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
        # The best so far stay in front, so that ties still go to the lower row.
        indices = np.concatenate([indices, columns + start], axis=1)
        scores = np.concatenate([scores, np.take_along_axis(block, columns, axis=1)], axis=1)
        best = best_columns(scores, count)
        indices = np.take_along_axis(indices, best, axis=1)
        scores = np.take_along_axis(scores, best, axis=1)
    return SearchResult(indices, scores)


def best_columns(scores: Vectors, count: int) -> NDArray[np.int64]:
    """Return the columns of the highest scores of each row, highest first, int64 [n, count].

    Ties go to the lower column.
    """
    # A partition takes linear time, unlike a sort, but breaks ties arbitrarily. In rows where a tie
    # crosses the boundary, the first of the equal scores are chosen.
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
    """Scale vectors to length 1, float32 [n, dim]; a zero vector stays zero."""
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
    for row, vector in enumerate(a):  # one row at a time: [n, m, dim] would not fit in memory
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
    """Check the name of a similarity.

    Raises:
        InputError: It is not one of `SIMILARITY_NAMES`.
    """
    if name not in SIMILARITY_NAMES:
        msg = f"there is no similarity {name!r}: use {', '.join(SIMILARITY_NAMES)}"
        raise InputError(msg)


def matrix(vectors: Any, name: str) -> Vectors:
    """Return vectors as float32 [n, dim]; one vector [dim] is one row.

    Args:
        vectors: Anything that numpy can make an array of.
        name: The name of the vectors in messages.

    Raises:
        InputTypeError: The vectors are not numbers, or have unequal lengths.
        InputError: The array has another shape.
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
    """Check a count.

    Raises:
        InputError: `value` is not an integer of at least 1.
    """
    if not isinstance(value, int | np.integer) or value < 1:
        msg = f"{name} must be an integer of at least 1, not {value!r}"
        raise InputError(msg)


def require_same_width(left: int, right: int) -> None:
    """Check that two sides have the same number of dimensions.

    Raises:
        InputError: The dimensions differ.
    """
    if left != right:
        msg = (
            f"the vectors have {left} and {right} dimensions: "
            "encode both sides with the same model and truncate_dim"
        )
        raise InputError(msg)


def require_same_length(left: int, right: int) -> None:
    """Check that two sides have the same number of vectors.

    Raises:
        InputError: One side has more vectors than the other.
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

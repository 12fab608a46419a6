"""Sparse vectors: rows of which few values are not 0, and their comparison."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lanner.errors import ArtifactError, InputError, InputTypeError, MissingExtraError
from lanner.vectors.similarity import (
    Vectors,
    matrix,
    require_name,
    require_same_length,
    require_same_width,
)
from lanner.vectors.similarity import similarity as dense_similarity
from lanner.vectors.similarity import similarity_pairwise as dense_similarity_pairwise

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

#: Shorter than any vector of a text: what would be divided by less is all zeros.
_SHORTEST = np.float32(1e-12)


class SparseMatrix(Protocol):
    """A sparse matrix or array of scipy, in any of its layouts."""

    def tocsr(self) -> Any:
        """Return it row by row."""


SparseOrDense = SparseMatrix | ArrayLike


class SparseRow(NamedTuple):
    """One sparse vector.

    Attributes:
        indices: The places of the values that are not 0, int32, ascending.
        values: These values, float32.
    """

    indices: NDArray[np.int32]
    values: NDArray[np.float32]

    @classmethod
    def of(cls, vector: NDArray[np.float32], most: int | None = None) -> Self:
        """Return the values of a dense vector that are not 0.

        Args:
            vector: float32 [width].
            most: The most values to keep, the largest by their size; None for all. Of equal values
                those with the lower places stay.
        """
        indices = np.flatnonzero(vector)
        if most is not None and len(indices) > most:
            sizes = np.abs(vector[indices])
            indices = np.sort(indices[np.argsort(-sizes, kind="stable")[:most]])
        return cls(indices.astype(np.int32), vector[indices])


@dataclass(frozen=True)
class SparseVectors:
    """Sparse vectors of one width.

    Attributes:
        rows: The vectors.
        width: The number of places of each.
    """

    rows: Sequence[SparseRow]
    width: int

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[SparseRow]:
        return iter(self.rows)

    def to_scipy(self) -> "csr_matrix":
        """Return a CSR matrix of scipy, float32 [rows, width].

        Raises:
            MissingExtraError: scipy is not installed.
        """
        sparse = _scipy_sparse("a matrix of sparse vectors")
        starts = np.cumsum([0, *(len(row.indices) for row in self.rows)])
        indices = np.concatenate([np.empty(0, np.int32), *(row.indices for row in self.rows)])
        values = np.concatenate([np.empty(0, np.float32), *(row.values for row in self.rows)])
        return sparse.csr_matrix((values, indices, starts), shape=(len(self.rows), self.width))


def read_weights(path: Path, count: int) -> Vectors:
    """Return the weights of terms in a file of numpy, float32 [count].

    Raises:
        ArtifactError: The file holds something else.
    """
    try:
        weights: Vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        msg = f"{path} cannot be read as weights of terms ({error}): export the checkpoint again"
        raise ArtifactError(msg) from None
    is_sound = isinstance(weights, np.ndarray) and weights.dtype == np.float32
    if not is_sound or weights.shape != (count,) or not np.isfinite(weights).all():
        msg = f"{path} must hold {count} numbers in float32: export the checkpoint again"
        raise ArtifactError(msg)
    return weights


def sparse_rows(vectors: SparseOrDense, name: str) -> Iterator[SparseRow]:
    """Yield the rows of a matrix of scipy, or of a dense array [n, width] or [width].

    Args:
        vectors: The matrix.
        name: Its name in messages.

    Raises:
        InputTypeError: It holds no numbers.
        InputError: It has another shape.
    """
    if not hasattr(vectors, "tocsr"):
        yield from map(SparseRow.of, matrix(vectors, name))
        return
    found = _canonical(vectors, name)
    for start, end in zip(found.indptr[:-1], found.indptr[1:], strict=True):
        yield SparseRow(found.indices[start:end], found.data[start:end])


def similarity(a: SparseOrDense, b: SparseOrDense, *, name: str) -> Vectors:
    """Compare every row of `a` with every row of `b`, float32 [len(a), len(b)].

    Args:
        a: A matrix of scipy, or a dense array [n, width] or [width].
        b: The same.
        name: One of `lanner.vectors.similarity.SIMILARITY_NAMES`.

    Raises:
        InputError: The widths differ, or there is no such similarity.
        MissingExtraError: scipy is not installed.
    """
    require_name(name)
    left, right = _canonical(a, "a"), _canonical(b, "b")
    require_same_width(left.shape[1], right.shape[1])
    if name not in ("cosine", "dot"):  # where both have no value, their difference is 0, too
        return dense_similarity(left.toarray(), right.toarray(), name=name)
    scores: Vectors = np.asarray((left @ right.T).toarray(), np.float32)
    if name == "cosine":
        scores /= np.outer(_lengths(left), _lengths(right))
    return scores


def similarity_pairwise(a: SparseOrDense, b: SparseOrDense, *, name: str) -> Vectors:
    """Compare row i of `a` with row i of `b`, float32 [n]; see `similarity`."""
    require_name(name)
    left, right = _canonical(a, "a"), _canonical(b, "b")
    require_same_width(left.shape[1], right.shape[1])
    require_same_length(left.shape[0], right.shape[0])
    if name not in ("cosine", "dot"):
        return dense_similarity_pairwise(left.toarray(), right.toarray(), name=name)
    scores: Vectors = np.asarray(left.multiply(right).sum(axis=1), np.float32).reshape(-1)
    if name == "cosine":
        scores /= _lengths(left) * _lengths(right)
    return scores


def _canonical(vectors: Any, name: str) -> Any:
    """Return a CSR matrix in float32 whose places ascend and have no zeros."""
    sparse = _scipy_sparse("the comparison of sparse vectors")
    if not hasattr(vectors, "tocsr"):
        return sparse.csr_matrix(matrix(vectors, name))
    if len(vectors.shape) != 2:
        msg = f"{name} must have the shape [n, width], not {list(vectors.shape)}"
        raise InputError(msg)
    if vectors.dtype.kind not in "biuf":
        msg = f"{name} must be vectors of numbers: pass texts through encode_sparse"
        raise InputTypeError(msg)
    found = vectors.tocsr().astype(np.float32)
    found.sum_duplicates()
    found.eliminate_zeros()
    return found


def _lengths(vectors: Any) -> Vectors:
    squares = np.asarray(vectors.multiply(vectors).sum(axis=1), np.float32).reshape(-1)
    lengths: Vectors = np.maximum(np.sqrt(squares), _SHORTEST)
    return lengths


def _scipy_sparse(what: str) -> Any:
    try:
        from scipy import sparse  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise MissingExtraError(what, "sparse", "scipy") from error
    return sparse

"""Sparse vectors by hand, and beside scipy and dense arrays."""

import sys
from typing import Any

import numpy as np
import pytest

from lanner.errors import InputError, InputTypeError, MissingExtraError
from lanner.vectors import similarity as dense
from lanner.vectors.sparse import (
    SparseRow,
    SparseVectors,
    similarity,
    similarity_pairwise,
    sparse_rows,
)

ROWS = np.array([[0, 2, 0, -1], [0, 0, 0, 0], [3, 0, 0.5, 0]], np.float32)


def of_rows(rows: Any) -> SparseVectors:
    return SparseVectors([SparseRow.of(row) for row in rows], rows.shape[1])


def test_a_row_holds_what_is_not_zero() -> None:
    indices, values = SparseRow.of(ROWS[0])
    assert (indices.tolist(), values.tolist()) == ([1, 3], [2, -1])
    assert indices.dtype == np.int32
    assert values.dtype == np.float32


@pytest.mark.parametrize(
    ("most", "kept"), [(1, [2]), (2, [1, 2]), (3, [0, 1, 2]), (9, [0, 1, 2, 4])]
)
def test_the_largest_are_kept_and_of_equal_ones_the_first(most: int, kept: list[int]) -> None:
    row = SparseRow.of(np.array([1, -2, 3, 0, 1], np.float32), most)
    assert row.indices.tolist() == kept


def test_a_matrix_of_scipy_is_made_and_read() -> None:
    pytest.importorskip("scipy", reason="needs the sparse extra")
    from scipy.sparse import coo_array, csr_matrix  # noqa: PLC0415 (an extra)

    found = of_rows(ROWS).to_scipy()
    assert isinstance(found, csr_matrix)
    assert (found.dtype, found.shape, found.nnz) == (np.float32, (3, 4), 4)
    np.testing.assert_array_equal(found.toarray(), ROWS)
    assert SparseVectors([], 4).to_scipy().shape == (0, 4)
    # Places in any order, some of them twice, and zeros that are stored.
    scattered = coo_array(([1.0, 2.0, 3.0, 0.0], ([0, 0, 0, 0], [3, 1, 3, 0])), shape=(1, 4))
    for given in (scattered, scattered.toarray(), scattered.toarray()[0]):
        ((indices, values),) = sparse_rows(given, "vectors")
        assert (indices.tolist(), values.tolist()) == ([1, 3], [2, 4])


@pytest.mark.parametrize("name", dense.SIMILARITY_NAMES)
def test_they_are_compared_as_dense_ones_are(name: str) -> None:
    pytest.importorskip("scipy", reason="needs the sparse extra")
    generator = np.random.default_rng(0)
    a, b = (
        (generator.normal(size=(count, 30)) * (generator.random((count, 30)) < 0.3)).astype(
            np.float32
        )
        for count in (5, 7)
    )
    a[2] = 0
    for left, right in ((of_rows(a).to_scipy(), of_rows(b).to_scipy()), (a, of_rows(b).to_scipy())):
        scores = similarity(left, right, name=name)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, dense.similarity(a, b, name=name), atol=1e-6)
        np.testing.assert_allclose(
            similarity_pairwise(left, right[:5], name=name),
            dense.similarity_pairwise(a, b[:5], name=name),
            atol=1e-6,
        )


def test_what_cannot_be_compared_is_refused() -> None:
    pytest.importorskip("scipy", reason="needs the sparse extra")
    from scipy.sparse import coo_array  # noqa: PLC0415 (an extra)

    found = of_rows(ROWS).to_scipy()
    with pytest.raises(InputError, match=r"^the vectors have 4 and 3 dimensions: encode both"):
        similarity(found, found[:, :3], name="dot")
    with pytest.raises(InputError, match=r"^pairwise similarity needs as many vectors on both"):
        similarity_pairwise(found, found[:2], name="dot")
    with pytest.raises(InputError, match=r"^there is no similarity 'maxsim': use cosine, dot,"):
        similarity(found, found, name="maxsim")
    with pytest.raises(InputError, match=r"^a must have the shape \[n, width\], not \[4\]$"):
        similarity(coo_array(np.ones(4)), found, name="dot")
    with pytest.raises(InputTypeError, match=r"^a must be vectors of numbers, all of one length"):
        similarity(["a text"], found, name="dot")
    with pytest.raises(InputTypeError, match=r"^b must be vectors of numbers: pass texts through"):
        similarity(found, found.astype(complex), name="dot")


def test_without_scipy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(
        MissingExtraError,
        match=r"^a matrix of sparse vectors needs the package 'scipy', which is not installed: pip "
        r"install 'lanner\[sparse\]'$",
    ):
        of_rows(ROWS).to_scipy()
    with pytest.raises(MissingExtraError, match=r"^the comparison of sparse vectors needs the pa"):
        similarity(ROWS, ROWS, name="dot")

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from lanner.errors import InputError, InputTypeError
from lanner.vectors.similarity import (
    SIMILARITY_NAMES,
    normalize,
    search,
    similarity,
    similarity_pairwise,
)

A = [[3.0, 4.0], [1.0, 0.0]]
B = [[4.0, 3.0], [0.0, 2.0], [0.0, 0.0]]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cosine", [[0.96, 0.8, 0], [0.8, 0, 0]]),
        ("dot", [[24, 8, 0], [4, 0, 0]]),
        ("euclidean", [[-(2**0.5), -(13**0.5), -5], [-(18**0.5), -(5**0.5), -1]]),
        ("manhattan", [[-2, -5, -7], [-6, -3, -1]]),
    ],
)
def test_by_hand(name: str, expected: list[list[float]]) -> None:
    measured = similarity(A, B, name=name)
    assert measured.dtype == np.float32
    np.testing.assert_allclose(measured, expected, atol=1e-6)
    np.testing.assert_allclose(
        similarity_pairwise(A, B[:2], name=name), np.diag(np.array(expected)[:, :2]), atol=1e-6
    )


@pytest.mark.parametrize("name", SIMILARITY_NAMES)
def test_as_sentence_transformers_does(name: str) -> None:
    util = pytest.importorskip("sentence_transformers.util", reason="the reference")
    generator = np.random.default_rng(0)
    a, b = (generator.standard_normal((n, 16), dtype=np.float32) for n in (7, 7))
    function = util.SimilarityFunction.to_similarity_fn(name)
    pairwise = util.SimilarityFunction.to_similarity_pairwise_fn(name)
    np.testing.assert_allclose(similarity(a, b, name=name), function(a, b), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        similarity_pairwise(a, b, name=name), pairwise(a, b), rtol=1e-5, atol=1e-5
    )


def test_one_vector_is_one_row() -> None:
    assert similarity([1.0, 0.0], [0.0, 1.0]).tolist() == [[0.0]]
    assert similarity_pairwise([1.0, 0.0], [1.0, 0.0]).tolist() == [1.0]


def test_nothing_is_similar_to_nothing() -> None:
    assert similarity([], A).shape == (0, 2)
    assert similarity(A, []).shape == (2, 0)
    assert similarity([], []).shape == (0, 0)
    assert similarity_pairwise([], []).shape == (0,)


def test_a_zero_vector_stays_zero() -> None:
    assert normalize(np.zeros((1, 3), np.float32)).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (A, [[1.0, 2.0, 3.0]], r"vectors have 2 and 3 dimensions: encode both sides with the same"),
        (np.zeros((2, 2, 2)), A, r"a must have the shape \[n, dim\] or \[dim\], not \[2, 2, 2\]"),
    ],
)
def test_wrong_shapes_are_named(a: ArrayLike, b: ArrayLike, message: str) -> None:
    with pytest.raises(InputError, match=message):
        similarity(a, b)


def test_texts_are_no_vectors() -> None:
    with pytest.raises(InputTypeError, match=r"a must be vectors of numbers, all of one length: p"):
        similarity(["a text"], A)


@pytest.mark.parametrize("wrong", [["2024"], [None, 1.0], [[1.0, 2.0], [1.0]], {1.0}, 5j], ids=str)
def test_what_is_no_vector_is_named(wrong: Any) -> None:
    with pytest.raises(InputTypeError, match=r"b must be vectors of numbers, all of one length"):
        similarity(A, wrong)
    with pytest.raises(InputTypeError, match=r"corpus must be vectors of numbers, all of one le"):
        search(A, wrong)


def test_pairwise_needs_as_many_on_both_sides() -> None:
    with pytest.raises(InputError, match=r"as many vectors on both sides, not 2 and 3"):
        similarity_pairwise(A, B)


def test_an_unknown_similarity_names_those_there_are() -> None:
    with pytest.raises(InputError, match=r"no similarity 'jaccard': use cosine, dot, euclidean"):
        similarity(A, B, name="jaccard")


def test_search_by_hand() -> None:
    corpus = [[0.0, 1.0], [1.0, 0.0], [0.6, 0.8], [1.0, 0.0]]
    found = search([1.0, 0.0], corpus, k=3)
    assert found.indices.tolist() == [[1, 3, 2]]  # of two equal rows, the lower one first
    np.testing.assert_allclose(found.scores, [[1, 1, 0.6]], atol=1e-6)
    assert found.indices.dtype == np.int64
    assert found.scores.dtype == np.float32


def test_search_gives_no_more_than_there_is() -> None:
    assert search(A, B, k=10).indices.shape == (2, 3)
    assert search(A, np.empty((0, 2)), k=10).indices.shape == (2, 0)
    assert search([], B, k=2).indices.shape == (0, 2)


def test_search_for_nothing_is_refused() -> None:
    with pytest.raises(InputError, match=r"k must be an integer of at least 1, not 0"):
        search(A, B, k=0)


@given(
    rows=st.integers(1, 60),
    queries=st.integers(1, 4),
    k=st.integers(1, 70),
    block_rows=st.integers(1, 70),
    levels=st.integers(1, 4),
    seed=st.integers(0, 1 << 30),
)
def test_search_in_blocks_is_a_full_sort(
    rows: int, queries: int, k: int, block_rows: int, levels: int, seed: int
) -> None:
    # Few levels make many ties, on which a partition and a sort may differ.
    generator = np.random.default_rng(seed)
    corpus = generator.integers(-levels, levels + 1, (rows, 3)).astype(np.float32)
    wanted = generator.integers(-levels, levels + 1, (queries, 3)).astype(np.float32)
    found = search(wanted, corpus, k=k, name="dot", block_rows=block_rows)
    scores = wanted @ corpus.T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    assert found.indices.tolist() == order.tolist()
    assert found.scores.tolist() == np.take_along_axis(scores, order, axis=1).tolist()

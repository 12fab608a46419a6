from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanner.errors import InputError
from lanner.vectors import quantized as quantized_similarity
from lanner.vectors.precision import BIT_PRECISIONS, QuantizedVectors, quantize_embeddings
from lanner.vectors.quantized import search, similarity, similarity_pairwise
from lanner.vectors.similarity import SIMILARITY_NAMES, Vectors
from lanner.vectors.similarity import search as float_search
from lanner.vectors.similarity import similarity as float_similarity

# The two sides differ in two and in eight of the eight places.
A = [[1, 1, 1, 1, -1, -1, -1, -1]]
B = [[1, 1, 1, -1, 1, -1, -1, -1], [-1, -1, -1, -1, 1, 1, 1, 1]]


def quantized(vectors: Any, precision: str) -> QuantizedVectors:
    vectors = np.asarray(vectors, dtype=np.float32)
    ranges = np.stack([vectors.min(axis=0), vectors.max(axis=0)]) if len(vectors) else None
    values = quantize_embeddings(vectors, precision, ranges)
    return QuantizedVectors(values, precision, dimension=vectors.shape[1], ranges=ranges)


def random_vectors(rows: int, dimension: int, seed: int = 0) -> Vectors:
    return np.random.default_rng(seed).standard_normal((rows, dimension), dtype=np.float32)


@pytest.mark.parametrize("precision", BIT_PRECISIONS)
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cosine", [[0.5, -1]]),
        ("dot", [[4, -8]]),
        ("euclidean", [[-(8**0.5), -(32**0.5)]]),
        ("manhattan", [[-4, -16]]),
    ],
)
def test_bits_by_hand(precision: str, name: str, expected: list[list[float]]) -> None:
    a, b = quantized(A, precision), quantized(B, precision)
    measured = similarity(a, b, name=name)
    assert measured.dtype == np.float32
    np.testing.assert_allclose(measured, expected, atol=1e-6)
    pairs = similarity_pairwise(quantized(A * 2, precision), b, name=name)
    assert pairs.dtype == np.float32
    np.testing.assert_allclose(pairs, expected[0], atol=1e-6)


@pytest.mark.parametrize("counts_bits", [True, False], ids=["numpy 2", "numpy 1"])
@pytest.mark.parametrize("name", SIMILARITY_NAMES)
@pytest.mark.parametrize("dimension", [1, 13, 64, 100])
def test_bits_are_compared_as_what_they_stand_for(
    name: str, dimension: int, counts_bits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        quantized_similarity,
        "_COUNTS_BITS",
        counts_bits and quantized_similarity._COUNTS_BITS,
    )
    left, right = random_vectors(5, dimension), random_vectors(5, dimension, seed=1)
    expected = float_similarity(np.where(left > 0, 1, -1), np.where(right > 0, 1, -1), name=name)
    a, b = quantized(left, "binary"), quantized(right, "ubinary")
    np.testing.assert_allclose(similarity(a, b, name=name), expected, atol=1e-5)
    np.testing.assert_allclose(
        similarity_pairwise(a, b, name=name), np.diagonal(expected), atol=1e-5
    )


@pytest.mark.parametrize("name", SIMILARITY_NAMES)
@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_bytes_are_compared_as_what_they_stand_for(precision: str, name: str) -> None:
    left, right = random_vectors(40, 64), random_vectors(40, 64, seed=1)
    expected = float_similarity(left, right, name=name)
    tolerance = 0.01 * np.abs(expected).max()
    a, b = quantized(left, precision), quantized(right, precision)
    for measured in (similarity(a, b, name=name), similarity(left, b, name=name)):
        np.testing.assert_allclose(measured, expected, atol=tolerance)
    np.testing.assert_allclose(
        similarity_pairwise(a, b, name=name), np.diagonal(expected), atol=tolerance
    )


@given(
    rows=st.integers(1, 60),
    k=st.integers(1, 70),
    dimension=st.integers(1, 20),
    precision=st.sampled_from(["int8", "uint8", "binary", "ubinary"]),
    seed=st.integers(0, 1 << 30),
)
def test_search_is_a_full_sort(
    rows: int, k: int, dimension: int, precision: str, seed: int
) -> None:
    corpus = quantized(random_vectors(rows, dimension, seed), precision)
    wanted = random_vectors(3, dimension, seed + 1)
    for queries in (wanted, quantized(wanted, precision)):
        found = search(queries, corpus, k=k)
        scores = similarity(queries, corpus)
        assert found.indices.shape == (3, min(k, rows))
        best = -np.sort(-scores, axis=1)[:, :k]
        np.testing.assert_allclose(found.scores, best, atol=1e-5)
        at = np.take_along_axis(scores, found.indices, axis=1)
        np.testing.assert_allclose(at, best, atol=1e-5)


def test_search_in_blocks_takes_the_lower_row_of_a_tie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantized_similarity, "_DECODED_BLOCK_ROWS", 2)
    corpus = quantized([[1, 1], [-1, 1], [1, 1], [1, -1], [1, 1]], "ubinary")
    found = search([[2.0, 2.0]], corpus, k=4)
    assert found.indices.tolist() == [[0, 2, 4, 1]]
    np.testing.assert_allclose(found.scores, [[1, 1, 1, 0]], atol=1e-6)


def test_float_vectors_are_searched_as_ever() -> None:
    queries, corpus = random_vectors(3, 8), random_vectors(20, 8, seed=1)
    expected = float_search(queries, corpus, k=5)
    found = search(queries, corpus, k=5)
    assert found.indices.tolist() == expected.indices.tolist()
    found = search(quantized(queries, "int8"), corpus, k=1)
    assert found.indices.tolist() == expected.indices[:, :1].tolist()


def test_a_corpus_may_stay_on_disk(tmp_path: Path) -> None:
    corpus = random_vectors(20, 16)
    np.save(tmp_path / "bits.npy", quantize_embeddings(corpus, "binary"))
    stored = np.load(tmp_path / "bits.npy", mmap_mode="r")
    bits = QuantizedVectors(stored, "binary", dimension=16)
    assert isinstance(bits[3:5].values, np.memmap)
    assert search(bits[7:9], bits, k=1).indices.tolist() == [[7], [8]]


def test_rescoring_by_hand() -> None:
    # As bits, the query is nearest to row 2, and to 0 and 1 equally; as floats, to row 1.
    query = [[4.0, 0.1, -0.1, 0.1]]
    corpus = quantized([[-1, 1, -1, 1], [1, -1, -1, -1], [1, 1, -1, 1], [-1, -1, 1, -1]], "binary")
    exact = search(query, corpus, k=2)
    assert exact.indices.tolist() == [[2, 1]]
    rescored = search(query, corpus, k=1, rescore_multiplier=2)
    assert rescored.indices.tolist() == [[2]]
    assert rescored.scores.tolist() == exact.scores[:, :1].tolist()
    # As bits, row 0 comes before row 1, so only three candidates include row 1.
    corpus = quantized([[-1, 1, -1, 1], [1, -1, -1, 1]], "binary")
    assert search(query, corpus, k=1, rescore_multiplier=1).indices.tolist() == [[0]]
    assert search(query, corpus, k=1, rescore_multiplier=2).indices.tolist() == [[1]]


def test_rescoring_all_is_exact() -> None:
    queries, corpus = random_vectors(4, 40), quantized(random_vectors(30, 40, seed=1), "ubinary")
    expected = search(queries, corpus, k=6)
    found = search(queries, corpus, k=6, rescore_multiplier=5)
    assert found.indices.tolist() == expected.indices.tolist()
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
    assert search(queries, corpus, k=100, rescore_multiplier=2).indices.shape == (4, 30)
    assert search(queries, corpus[:0], k=3, rescore_multiplier=2).indices.shape == (4, 0)
    assert search([], corpus, k=3, rescore_multiplier=2).indices.shape == (0, 3)


@pytest.mark.parametrize(
    ("queries", "corpus", "k", "multiplier", "message"),
    [
        (A, quantized(B, "int8"), 1, 2, r"is for float queries against a corpus in binary or ubin"),
        (quantized(A, "binary"), quantized(B, "binary"), 1, 2, r"is for float queries against"),
        (A, quantized(B, "binary"), 1, 0, r"rescore_multiplier must be an integer of at least 1"),
        (A, quantized(B, "binary"), 0, 2, r"k must be an integer of at least 1, not 0"),
        (A, quantized(B, "binary"), 0, None, r"k must be an integer of at least 1, not 0"),
        ([[1.0, 2.0]], quantized(B, "binary"), 1, 2, r"the vectors have 2 and 8 dimensions: enc"),
        ([[1.0, 2.0]], quantized(B, "binary"), 1, None, r"the vectors have 2 and 8 dimensions"),
        (
            quantized([[1, 2]], "binary"),
            quantized(B, "binary"),
            1,
            None,
            r"have 2 and 8 dimensions",
        ),
    ],
)
def test_what_cannot_be_searched_says_why(
    queries: Any, corpus: QuantizedVectors, k: int, multiplier: int | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        search(queries, corpus, k=k, rescore_multiplier=multiplier)


def test_what_cannot_be_compared_says_why() -> None:
    a, b = quantized(A, "binary"), quantized(B, "binary")
    with pytest.raises(InputError, match=r"no similarity 'jaccard': use cosine, dot, euclidean"):
        similarity(a, b, name="jaccard")
    with pytest.raises(InputError, match=r"as many vectors on both sides, not 1 and 2"):
        similarity_pairwise(a, b)

"""Similarity of quantized vectors to each other and to float vectors.

Each side is compared as the float vectors that it encodes, so `lanner.vectors.similarity` describes
the results. Two sides of bits are compared by counting the bits in which they differ, which gives
the same result faster.
"""

from functools import partial
from typing import TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lanner.errors import InputError
from lanner.vectors import similarity as _similarity
from lanner.vectors.precision import QuantizedVectors, quantize_embeddings
from lanner.vectors.similarity import SearchResult, Vectors

#: Float vectors, or quantized ones.
Comparable = ArrayLike | QuantizedVectors

#: Rows of the corpus that one block of `search` decodes: few enough to stay within the cache.
_DECODED_BLOCK_ROWS = 2_048
_COUNTS_BITS = hasattr(np, "bitwise_count")  # from numpy 2 on; before it, bits are decoded


def similarity(a: Comparable, b: Comparable, *, name: str = "cosine") -> Vectors:
    """Compute `lanner.vectors.similarity.similarity` of vectors that may be quantized."""
    if _COUNTS_BITS and _is_packed(a) and _is_packed(b):
        left, right = _words(a, b)
        columns = np.ascontiguousarray(right.T)
        differing = np.empty((len(left), len(right)), dtype=np.int64)
        for row, vector in enumerate(left):  # one row at a time fits in the cache
            np.bitwise_count(columns ^ vector[:, None]).sum(axis=0, out=differing[row])
        return _of_differing_bits(differing, a.dimension, name)
    return _similarity.similarity(_floats(a), _floats(b), name=name)


def similarity_pairwise(a: Comparable, b: Comparable, *, name: str = "cosine") -> Vectors:
    """Compute `lanner.vectors.similarity.similarity_pairwise` of vectors that may be quantized."""
    if _COUNTS_BITS and _is_packed(a) and _is_packed(b):
        _similarity.require_same_length(len(a), len(b))
        left, right = _words(a, b)
        differing = np.bitwise_count(left ^ right).sum(axis=1, dtype=np.int64)
        return _of_differing_bits(differing, a.dimension, name)
    return _similarity.similarity_pairwise(_floats(a), _floats(b), name=name)


def search(
    queries: Comparable,
    corpus: Comparable,
    *,
    k: int = 10,
    name: str = "cosine",
    rescore_multiplier: int | None = None,
) -> SearchResult:
    """Run `lanner.vectors.similarity.search` on vectors that may be quantized.

    Args:
        queries: Vectors [n, dim], or one [dim].
        corpus: Vectors [m, dim]; a memory-mapped array is fine.
        k: The number of hits per query; fewer if the corpus is smaller.
        name: One of `lanner.vectors.similarity.SIMILARITY_NAMES`.
        rescore_multiplier: For float queries against a corpus of bits: compare as bits first, then
            as floats with the best ``k * rescore_multiplier`` only. Faster, but not exact. None
            compares as floats with the whole corpus.

    Raises:
        InputError: The dimensions differ, `k` or `rescore_multiplier` is less than 1, or there is
            nothing to rescore.
    """
    _similarity.require_count(k, "k")
    if rescore_multiplier is not None:
        return _rescored(queries, corpus, k, name, rescore_multiplier)
    if not isinstance(corpus, QuantizedVectors):
        return _similarity.search(_floats(queries), corpus, k=k, name=name)
    if not isinstance(queries, QuantizedVectors):
        queries = _similarity.matrix(queries, "queries")
    both_packed = _is_packed(queries) and _is_packed(corpus)
    return _similarity.nearest(
        queries,
        corpus,
        k=k,
        compare=partial(similarity, name=name),
        block_rows=_similarity.SEARCH_BLOCK_ROWS if both_packed else _DECODED_BLOCK_ROWS,
    )


def _rescored(
    queries: Comparable, corpus: Comparable, k: int, name: str, multiplier: int
) -> SearchResult:
    _similarity.require_count(multiplier, "rescore_multiplier")
    if isinstance(queries, QuantizedVectors) or not _is_packed(corpus):
        msg = (
            "rescore_multiplier is for float queries against a corpus in binary or ubinary: "
            "omit it, every other search is exact"
        )
        raise InputError(msg)
    wanted = _similarity.matrix(queries, "queries")
    if not len(wanted):  # an empty list has no dimensions to agree on
        wanted = wanted.reshape(0, corpus.dimension)
    _similarity.require_same_width(wanted.shape[1], corpus.dimension)
    values = quantize_embeddings(wanted, "ubinary")
    bits = QuantizedVectors(values, "ubinary", dimension=corpus.dimension)
    candidates = search(bits, corpus, k=k * multiplier, name=name).indices
    candidates.sort(axis=1)  # so that ties go to the lower row
    count = min(k, len(corpus))
    found = SearchResult(
        np.empty((len(wanted), count), np.int64), np.empty((len(wanted), count), np.float32)
    )
    for query, rows in enumerate(candidates):
        scores = similarity(wanted[query], corpus[rows], name=name)
        best = _similarity.best_columns(scores, count)[0]
        found.indices[query], found.scores[query] = rows[best], scores[0, best]
    return found


def _floats(vectors: Comparable) -> ArrayLike:
    return vectors.decoded() if isinstance(vectors, QuantizedVectors) else vectors


def _is_packed(vectors: object) -> TypeGuard[QuantizedVectors]:
    return isinstance(vectors, QuantizedVectors) and vectors.is_packed


def _words(a: QuantizedVectors, b: QuantizedVectors) -> list[NDArray[np.uint64]]:
    """Return the bits of both sides in 64-bit words, zero-padded at the end: uint64 [n, words]."""
    _similarity.require_same_width(a.dimension, b.dimension)
    words = []
    for bits in (a.unsigned(), b.unsigned()):
        padded = np.pad(bits, ((0, 0), (0, -bits.shape[1] % 8)))
        words.append(padded.view(np.uint64))
    return words


def _of_differing_bits(differing: NDArray[np.int64], dimension: int, name: str) -> Vectors:
    """Return the similarity of vectors of 1 and -1, from the number of differing components."""
    twice: Vectors = 2 * differing.astype(np.float32)
    if name == "cosine":
        return 1 - twice / np.float32(dimension)
    if name == "dot":
        return np.float32(dimension) - twice
    if name == "euclidean":
        return -np.sqrt(2 * twice)
    _similarity.require_name(name)
    return -twice

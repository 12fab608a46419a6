"""The head `embed`: texts to vectors, and what is done with them."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lanner.errors import InputError
from lanner.models.base import Texts
from lanner.models.drop_in import as_tensor
from lanner.models.encoding import EncodingModel
from lanner.models.inputs import texts_or_vectors
from lanner.text.lengths import cut_indices
from lanner.text.tokenization import check_texts
from lanner.vectors import quantized as _similarity
from lanner.vectors.origin import Origin
from lanner.vectors.precision import QuantizedVectors, packed_width
from lanner.vectors.similarity import SearchResult, Vectors

if TYPE_CHECKING:
    import torch

_log = logging.getLogger("lanner")


class _Tensor(Protocol):
    """A torch tensor, which an array is not."""

    def detach(self) -> object: ...

    def requires_grad_(self) -> object: ...


class EmbeddingModel(EncodingModel):
    """A model that turns texts into vectors.

    It can replace a `SentenceTransformer`, for example in its evaluators.
    """

    _warned_of: frozenset[Path] = frozenset()

    @overload
    def similarity(
        self,
        a: _Tensor,
        b: ArrayLike | _Tensor,
        *,
        truncate_dim: int | None = None,
        ranges: ArrayLike | None = None,
    ) -> "torch.Tensor": ...

    @overload
    def similarity(
        self,
        a: ArrayLike,
        b: ArrayLike,
        *,
        truncate_dim: int | None = None,
        ranges: ArrayLike | None = None,
    ) -> Vectors: ...

    def similarity(
        self,
        a: ArrayLike | _Tensor,
        b: ArrayLike | _Tensor,
        *,
        truncate_dim: int | None = None,
        ranges: ArrayLike | None = None,
    ) -> "Vectors | torch.Tensor":
        """Compare every vector of `a` with every vector of `b`, float32 [len(a), len(b)].

        The similarity is that of the checkpoint (`similarity_fn_name`), usually the cosine. int8
        and uint8 arrays are compared as the vectors that they encode. Their width tells bytes from
        bits: an array an eighth as wide as the vectors holds bits. For bytes truncated to just that
        width, pass `truncate_dim`. Either side may be float.

        Args:
            a: Vectors [n, dim] of any precision, or one.
            b: Vectors [m, dim] of any precision, or one.
            truncate_dim: The `truncate_dim` that int8 and uint8 arrays were encoded with.
            ranges: The ranges of int8 and uint8 vectors, float32 [2, dim]; None for those of
                `embedding_ranges`. Their scale matters for every similarity but the cosine.

        Returns:
            An array; a tensor if a side is one, as the evaluators of sentence-transformers need.

        Raises:
            InputError: The widths differ, or one fits no precision.
        """
        left, right = (
            self._comparable(v, n, truncate_dim, ranges) for v, n in ((a, "a"), (b, "b"))
        )
        scores = _similarity.similarity(left, right, name=self.similarity_fn_name)
        return as_tensor(scores) if _is_tensor(a) or _is_tensor(b) else scores

    @overload
    def similarity_pairwise(
        self,
        a: _Tensor,
        b: ArrayLike | _Tensor,
        *,
        truncate_dim: int | None = None,
        ranges: ArrayLike | None = None,
    ) -> "torch.Tensor": ...

    @overload
    def similarity_pairwise(
        self,
        a: ArrayLike,
        b: ArrayLike,
        *,
        truncate_dim: int | None = None,
        ranges: ArrayLike | None = None,
    ) -> Vectors: ...

    def similarity_pairwise(
        self,
        a: ArrayLike | _Tensor,
        b: ArrayLike | _Tensor,
        *,
        truncate_dim: int | None = None,
        ranges: ArrayLike | None = None,
    ) -> "Vectors | torch.Tensor":
        """Compare vector i of `a` with vector i of `b`, float32 [n]; see `similarity`."""
        left, right = (
            self._comparable(v, n, truncate_dim, ranges) for v, n in ((a, "a"), (b, "b"))
        )
        scores = _similarity.similarity_pairwise(left, right, name=self.similarity_fn_name)
        return as_tensor(scores) if _is_tensor(a) or _is_tensor(b) else scores

    def search(
        self,
        queries: Texts | ArrayLike,
        corpus: Texts | ArrayLike | Path,
        k: int = 10,
        *,
        truncate_dim: int | None = None,
        ranges: ArrayLike | None = None,
        rescore_multiplier: int | None = None,
    ) -> SearchResult:
        """Find the k nearest of a corpus to each query; exact, in blocks.

        Args:
            queries: Texts, which `encode_query` encodes, or vectors [n, dim]. One text or vector is
                one row.
            corpus: Texts, which `encode_document` encodes, or vectors [m, dim] of any precision; a
                memory-mapped array stays on disk, and so does the .npy file of a `pathlib.Path`. A
                warning says if another variant or engine made them than encodes the queries.
            k: The number of hits per query; fewer if the corpus is smaller.
            truncate_dim: The dimensions that the vectors were truncated to; texts are, too.
            ranges: The ranges of int8 and uint8 vectors; see `similarity`.
            rescore_multiplier: For a corpus of bits: compare the queries as bits first, then
                unquantized with the best ``k * rescore_multiplier`` only. Faster, but not exact.

        Returns:
            `indices` int64 and `scores` float32, both [n, k], nearest first.
        """
        if isinstance(corpus, Path):
            corpus = _mapped(corpus)
        queries = texts_or_vectors(queries, "search")
        if _are_texts(queries) and isinstance(corpus, np.memmap) and corpus.filename:
            self._warn_of_origin(Path(corpus.filename))
        wanted, stored = (
            self._comparable(_vectors(given, encode, truncate_dim), name, truncate_dim, ranges)
            for given, encode, name in (
                (queries, self.encode_query, "queries"),
                (corpus, self.encode_document, "corpus"),
            )
        )
        return _similarity.search(
            wanted,
            stored,
            k=k,
            name=self.similarity_fn_name,
            rescore_multiplier=rescore_multiplier,
        )

    def cut_indices(
        self,
        texts: Sequence[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        *,
        task: str | None = None,
    ) -> list[int]:
        """Return the indices of the texts that `encode` cuts, in their order.

        Args:
            texts: The texts.
            prompt_name: The value passed to `encode`.
            prompt: The value passed to `encode`.
            task: The value passed to `encode`.

        Raises:
            InputTypeError: An item is not a string; the message names its index.
            InputError: An item is not valid Unicode, or there is no such prompt or task.
            UnsupportedError: A server tokenises the texts of this model.
        """
        before = self._prompt(prompt_name, prompt)
        check_texts(texts)
        return cut_indices(self.way(task).tokenizer, [before + text for text in texts])

    def _warn_of_origin(self, vectors: Path) -> None:
        """Log once for a file that its vectors are of another variant or engine than this model."""
        origin = Origin.of(vectors)
        read_by = self._ways.get("document", self)
        own = Origin(read_by.variant.name, read_by.runner.engine.name)
        is_same = origin is None or (origin.variant, origin.engine) == (own.variant, own.engine)
        if is_same or vectors in self._warned_of:
            return
        self._warned_of = self._warned_of | {vectors}
        _log.warning(
            "the vectors of %s were made by %s, and %s encodes the queries by %s: vectors of two "
            "variants are not comparable, and those of two engines are not quite the same",
            vectors,
            origin,
            self.manifest.name,
            own,
        )

    def _comparable(
        self,
        vectors: ArrayLike | _Tensor,
        name: str,
        truncate_dim: int | None,
        ranges: ArrayLike | None,
    ) -> ArrayLike | QuantizedVectors:
        """Return float vectors as they are, and bytes as `QuantizedVectors`."""
        try:
            values = np.asarray(vectors)
        except (TypeError, ValueError):
            return cast("ArrayLike", vectors)  # the comparison refuses it
        if values.dtype not in (np.int8, np.uint8) or not values.ndim:
            return values
        dimension, width = self._dimension(truncate_dim), values.shape[-1]
        is_signed = values.dtype == np.int8
        if width == dimension:
            precision = "int8" if is_signed else "uint8"
            ranges = self.embedding_ranges(truncate_dim) if ranges is None else ranges
        elif width == packed_width(dimension):
            precision = "binary" if is_signed else "ubinary"
        else:
            msg = (
                f"{name} is {values.dtype} of width {width}, but {dimension} dimensions take "
                f"{dimension} as bytes and {packed_width(dimension)} as bits: pass the "
                "truncate_dim that it was encoded with"
            )
            raise InputError(msg)
        return QuantizedVectors(values, precision, dimension=dimension, ranges=ranges, name=name)


def _vectors(
    given: Texts | ArrayLike, encode: Callable[..., Vectors], truncate_dim: int | None
) -> ArrayLike:
    found = texts_or_vectors(given, "search")
    return encode(found, truncate_dim=truncate_dim) if _are_texts(found) else found


def _are_texts(found: Any) -> bool:
    return isinstance(found, list) and any(isinstance(item, str) for item in found)


def _mapped(vectors: Path) -> NDArray[Any]:
    """Return the vectors of a file of numpy, which stay on disk."""
    try:
        found: NDArray[Any] = np.load(vectors, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        msg = f"{vectors} cannot be read as vectors: {error}"
        raise InputError(msg) from None
    if not isinstance(found, np.memmap):
        msg = f"{vectors} holds no vectors: give a .npy file of lanner encode"
        raise InputError(msg)
    return found


def _is_tensor(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == "torch"  # without importing it

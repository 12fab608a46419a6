"""The head `embed`: texts to vectors, and similarity and search of vectors."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from lanner.errors import InputError, UnsupportedError
from lanner.models.base import Model, Texts, as_tensor, converted, require_batch_size
from lanner.models.inputs import text_list, texts_or_vectors
from lanner.running.runner import Sequences
from lanner.text.tokenization import Pair, check_texts
from lanner.vectors import quantized as _similarity
from lanner.vectors.precision import (
    BYTE_PRECISIONS,
    QuantizedVectors,
    packed_width,
    quantize_embeddings,
    require_precision,
)
from lanner.vectors.ranges import EmbeddingRanges
from lanner.vectors.similarity import SearchResult, Vectors, normalize


class EmbeddingModel(Model):
    """A model that turns texts into vectors.

    It can replace a `SentenceTransformer`, for example in its evaluators.
    """

    def __init__(self, *, ranges: EmbeddingRanges | None = None, **parts: Any) -> None:
        super().__init__(**parts)
        self._ranges = ranges
        self.prompts = dict(self.manifest.prompts)
        self.default_prompt_name = self.manifest.default_prompt_name

    @property
    def similarity_fn_name(self) -> str:
        """The similarity that the checkpoint was trained for, for example ``"cosine"``."""
        return self.manifest.similarity

    def get_embedding_dimension(self) -> int:
        """Width of the vectors."""
        return self.manifest.dimension

    #: The name of the method in sentence-transformers before version 6.
    get_sentence_embedding_dimension = get_embedding_dimension

    def encode(
        self,
        sentences: Texts,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        *,
        precision: str | None = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        timeout_ms: float | None = None,
    ) -> Any:  # an array, unless tensors are asked for
        """Encode texts as vectors. The arguments are those of sentence-transformers.

        Args:
            sentences: One text, or a sequence of them; it is not changed. A text longer than the
                model's limit is cut in the way of its checkpoint.
            prompt_name: The name of the checkpoint's prompt to put before each text.
            prompt: A prompt to put before each text, instead of a named one.
            batch_size: The most texts in one batch; the token budget bounds it too.
            show_progress_bar: Show progress on stderr; None means no.
            precision: ``"float32"`` (the same as None); ``"int8"`` or ``"uint8"``: one byte per
                dimension, by the ranges that the artifact stores (`embedding_ranges`); ``"binary"``
                or ``"ubinary"``: one bit per dimension. See `lanner.quantize_embeddings`.
            convert_to_numpy: False gives a list of torch tensors, one per text; needs torch.
            convert_to_tensor: True gives one torch tensor, whatever `convert_to_numpy` says.
            normalize_embeddings: Scale the vectors to length 1.
            truncate_dim: The number of leading dimensions to keep, or None for all.
            timeout_ms: Milliseconds after which to give up, or None for never.

        Returns:
            float32 [n, dim] in the order of the texts; [dim] for a single str. A text without
            tokens gets the zero vector; only float32 can represent it. The other precisions give
            int8 or uint8, with [n, ceil(dim / 8)] for bits.

        Raises:
            InputTypeError: An item is not a string; the message names its index.
            InputError: An argument is out of range, or there is no such prompt or precision.
            UnsupportedError: The artifact stores no ranges for int8 and uint8.
            Overloaded: Too many calls wait for the model already.
            DeadlineError: The time is up.
        """
        precision = require_precision(precision)
        ranges = None
        if precision in BYTE_PRECISIONS:
            ranges = self.embedding_ranges(truncate_dim, normalize_embeddings=normalize_embeddings)
        require_batch_size(batch_size)
        dimension = self._dimension(truncate_dim)
        single = isinstance(sentences, str)
        texts = [sentences] if isinstance(sentences, str) else text_list(sentences, "encode")
        vectors = self._encode(
            texts, self._prompt(prompt_name, prompt), batch_size, show_progress_bar, timeout_ms
        )
        if dimension < vectors.shape[1]:
            vectors = np.ascontiguousarray(vectors[:, :dimension])
        if normalize_embeddings:
            vectors = normalize(vectors)
        if precision != "float32":
            vectors = quantize_embeddings(vectors, precision, ranges)
        return converted(
            vectors[0] if single else vectors,
            is_single=single,
            to_numpy=convert_to_numpy,
            to_tensor=convert_to_tensor,
        )

    def encode_query(self, sentences: Texts, **options: Any) -> Any:
        """Call `encode` with the checkpoint's prompt for queries, if it has one."""
        return self._encode_as(("query",), sentences, options)

    def encode_document(self, sentences: Texts, **options: Any) -> Any:
        """Call `encode` with the checkpoint's prompt for documents, if it has one."""
        return self._encode_as(("document", "passage", "corpus"), sentences, options)

    def outputs(self, inputs: Sequence[str | Pair], *, batch_size: int = 32) -> Vectors:
        """See `Model.outputs`."""
        vectors: Vectors = self.encode(cast("Sequence[str]", inputs), batch_size=batch_size)
        return vectors

    def embedding_ranges(
        self, truncate_dim: int | None = None, *, normalize_embeddings: bool = False
    ) -> Vectors:
        """Return the lowest and the highest value of each dimension, for int8 and uint8.

        They were measured when the artifact was made, so that a text always gets the same vector;
        values outside the range are clipped. sentence-transformers' `quantize_embeddings` takes
        them as its `ranges`.

        Args:
            truncate_dim: The value passed to `encode`.
            normalize_embeddings: The value passed to `encode`.

        Returns:
            float32 [2, dim].

        Raises:
            InputError: `truncate_dim` is out of range.
            UnsupportedError: The artifact stores no ranges.
        """
        dimension = self._dimension(truncate_dim)
        if self._ranges is None:
            msg = (
                f"{self.manifest.name} stores no ranges for int8 and uint8 vectors: export its "
                "checkpoint again, with --calibration texts like yours, or pass ranges of your own "
                "to lanner.quantize_embeddings"
            )
            raise UnsupportedError(msg)
        return self._ranges.of(dimension, normalized=normalize_embeddings)

    def similarity(
        self,
        a: ArrayLike,
        b: ArrayLike,
        *,
        truncate_dim: int | None = None,
        ranges: ArrayLike | None = None,
    ) -> Any:
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
        return as_tensor(scores) if _is_tensor(a) else scores

    def similarity_pairwise(
        self,
        a: ArrayLike,
        b: ArrayLike,
        *,
        truncate_dim: int | None = None,
        ranges: ArrayLike | None = None,
    ) -> Any:
        """Compare vector i of `a` with vector i of `b`, float32 [n]; see `similarity`."""
        left, right = (
            self._comparable(v, n, truncate_dim, ranges) for v, n in ((a, "a"), (b, "b"))
        )
        scores = _similarity.similarity_pairwise(left, right, name=self.similarity_fn_name)
        return as_tensor(scores) if _is_tensor(a) else scores

    def search(
        self,
        queries: Texts | ArrayLike,
        corpus: Texts | ArrayLike,
        k: int = 10,
        *,
        truncate_dim: int | None = None,
        ranges: ArrayLike | None = None,
        rescore_multiplier: int | None = None,
    ) -> SearchResult:
        """Find the k nearest of a corpus to each query; exact, in blocks.

        Args:
            queries: Texts, which are encoded, or vectors [n, dim]. One text or vector is one row.
            corpus: Texts, which are encoded, or vectors [m, dim] of any precision; a memory-mapped
                array stays on disk.
            k: The number of hits per query; fewer if the corpus is smaller.
            truncate_dim: The dimensions that the vectors were truncated to; texts are, too.
            ranges: The ranges of int8 and uint8 vectors; see `similarity`.
            rescore_multiplier: For a corpus of bits: compare the queries as bits first, then
                unquantized with the best ``k * rescore_multiplier`` only. Faster, but not exact.

        Returns:
            `indices` int64 and `scores` float32, both [n, k], nearest first.
        """
        wanted, stored = (
            self._comparable(self._vectors(given, truncate_dim), name, truncate_dim, ranges)
            for given, name in ((queries, "queries"), (corpus, "corpus"))
        )
        return _similarity.search(
            wanted,
            stored,
            k=k,
            name=self.similarity_fn_name,
            rescore_multiplier=rescore_multiplier,
        )

    def _encode_as(self, names: tuple[str, ...], sentences: Texts, options: dict[str, Any]) -> Any:
        if options.get("prompt") is None and options.get("prompt_name") is None:
            options["prompt_name"] = next((name for name in names if name in self.prompts), None)
        return self.encode(sentences, **options)

    def _dimension(self, truncate_dim: int | None) -> int:
        width = self.manifest.dimension
        if truncate_dim is not None and not 1 <= truncate_dim <= width:
            msg = f"truncate_dim must be from 1 to {width}, not {truncate_dim}"
            raise InputError(msg)
        return width if truncate_dim is None else truncate_dim

    def _comparable(
        self,
        vectors: ArrayLike,
        name: str,
        truncate_dim: int | None,
        ranges: ArrayLike | None,
    ) -> ArrayLike | QuantizedVectors:
        """Return float vectors as they are, and bytes as `QuantizedVectors`."""
        try:
            values = np.asarray(vectors)
        except (TypeError, ValueError):
            return vectors  # the comparison refuses it
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

    def _vectors(self, given: Texts | ArrayLike, truncate_dim: int | None) -> ArrayLike:
        found = texts_or_vectors(given, "search")
        if isinstance(found, list) and any(isinstance(item, str) for item in found):
            return self.encode(found, truncate_dim=truncate_dim)  # type: ignore[no-any-return]
        return found  # type: ignore[no-any-return]

    def _prompt(self, prompt_name: str | None, prompt: str | None) -> str:
        if prompt is not None:
            return prompt
        name = prompt_name if prompt_name is not None else self.default_prompt_name
        if name is None:
            return ""
        if name not in self.prompts:
            known = ", ".join(map(repr, self.prompts)) or "none"
            msg = f"{self.manifest.name} has no prompt {name!r}: it has {known}"
            raise InputError(msg)
        return self.prompts[name]

    def _encode(
        self,
        texts: list[str],
        prompt: str,
        batch_size: int,
        show_progress_bar: bool | None,
        timeout_ms: float | None,
    ) -> Vectors:
        if prompt:
            # Leave wrong types alone: the tokenizer's error names their index, str's "+" does not.
            texts = [prompt + text if isinstance(text, str) else text for text in texts]
        pools_prompt = self.manifest.pools_prompt or not prompt

        def tokenize(some: list[str]) -> Sequences:
            tokenizer = self.tokenizer
            unpooled_tokens = 0 if pools_prompt else tokenizer.count_prompt_tokens(prompt)
            return Sequences(tokenizer.encode(some), unpooled_tokens=unpooled_tokens)

        return self._rows(
            texts,
            tokenize,
            check_texts,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            timeout_ms=timeout_ms,
        )


def _is_tensor(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == "torch"  # without importing it

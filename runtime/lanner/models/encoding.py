"""Texts to vectors: `encode`, its prompts and its precisions."""

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from lanner.errors import InputError, UnsupportedError
from lanner.models.base import (
    ManyTexts,
    Texts,
    deadline_after,
    require_batch_size,
)
from lanner.models.drop_in import (
    DropIn,
    EncodeDropIns,
    converted,
    given_inputs,
    require_own,
)
from lanner.models.inputs import require_count, text_list, typed_as
from lanner.models.prompts import RoutedModel
from lanner.running.runner import Runner, Sequences
from lanner.text.lengths import OnLong, chunks_of, require_on_long, tell_long
from lanner.text.tokenization import check_texts
from lanner.vectors.means import means_of
from lanner.vectors.precision import (
    BYTE_PRECISIONS,
    Float32,
    Matrix,
    SignedBytes,
    UnsignedBytes,
    Vector,
    quantize_embeddings,
    require_precision,
)
from lanner.vectors.ranges import EmbeddingRanges
from lanner.vectors.similarity import Vectors, normalize

if TYPE_CHECKING:
    import torch

    Encoded = NDArray[np.float32 | np.int8 | np.uint8] | torch.Tensor | list[torch.Tensor]


class EncodeOptions(EncodeDropIns, total=False):
    """The arguments of `encode` that do not change the type of its answer."""

    normalize_embeddings: bool
    truncate_dim: int | None
    task: str | None
    on_long: OnLong
    chunk_overlap: int | None
    timeout_ms: float | None


class EncodingModel(DropIn, RoutedModel):
    """Texts to vectors, without what is done with them."""

    def __init__(self, *, ranges: EmbeddingRanges | None = None, **parts: Any) -> None:
        super().__init__(**parts)
        self._ranges = ranges

    @property
    def similarity_fn_name(self) -> str:
        """The similarity that the checkpoint was trained for, for example ``"cosine"``."""
        return self.manifest.similarity

    def get_embedding_dimension(self) -> int:
        """Width of the vectors."""
        return self._dimension(None)

    #: The name of the method in sentence-transformers before version 6.
    get_sentence_embedding_dimension = get_embedding_dimension

    # fmt: off
    @overload
    def encode(  # type: ignore[overload-overlap]
        self, sentences: str, prompt_name: str | None = None, prompt: str | None = None,
        batch_size: int = 32, show_progress_bar: bool | None = None, *,
        precision: Float32 = "float32",
        convert_to_numpy: Literal[True] = True, convert_to_tensor: Literal[False] = False,
        **options: Unpack[EncodeOptions],
    ) -> Vector[np.float32]: ...
    @overload
    def encode(
        self, sentences: ManyTexts, prompt_name: str | None = None, prompt: str | None = None,
        batch_size: int = 32, show_progress_bar: bool | None = None, *,
        precision: Float32 = "float32",
        convert_to_numpy: Literal[True] = True, convert_to_tensor: Literal[False] = False,
        **options: Unpack[EncodeOptions],
    ) -> Matrix[np.float32]: ...
    @overload
    def encode(  # type: ignore[overload-overlap]
        self, sentences: str, prompt_name: str | None = None, prompt: str | None = None,
        batch_size: int = 32, show_progress_bar: bool | None = None, *,
        precision: SignedBytes,
        convert_to_numpy: Literal[True] = True, convert_to_tensor: Literal[False] = False,
        **options: Unpack[EncodeOptions],
    ) -> Vector[np.int8]: ...
    @overload
    def encode(
        self, sentences: ManyTexts, prompt_name: str | None = None, prompt: str | None = None,
        batch_size: int = 32, show_progress_bar: bool | None = None, *,
        precision: SignedBytes,
        convert_to_numpy: Literal[True] = True, convert_to_tensor: Literal[False] = False,
        **options: Unpack[EncodeOptions],
    ) -> Matrix[np.int8]: ...
    @overload
    def encode(  # type: ignore[overload-overlap]
        self, sentences: str, prompt_name: str | None = None, prompt: str | None = None,
        batch_size: int = 32, show_progress_bar: bool | None = None, *,
        precision: UnsignedBytes,
        convert_to_numpy: Literal[True] = True, convert_to_tensor: Literal[False] = False,
        **options: Unpack[EncodeOptions],
    ) -> Vector[np.uint8]: ...
    @overload
    def encode(
        self, sentences: ManyTexts, prompt_name: str | None = None, prompt: str | None = None,
        batch_size: int = 32, show_progress_bar: bool | None = None, *,
        precision: UnsignedBytes,
        convert_to_numpy: Literal[True] = True, convert_to_tensor: Literal[False] = False,
        **options: Unpack[EncodeOptions],
    ) -> Matrix[np.uint8]: ...
    @overload
    def encode(
        self, sentences: Texts, prompt_name: str | None = None, prompt: str | None = None,
        batch_size: int = 32, show_progress_bar: bool | None = None, *,
        precision: str | None,
        convert_to_numpy: Literal[True] = True, convert_to_tensor: Literal[False] = False,
        **options: Unpack[EncodeOptions],
    ) -> NDArray[np.float32 | np.int8 | np.uint8]: ...
    @overload
    def encode(
        self, sentences: Texts, prompt_name: str | None = None, prompt: str | None = None,
        batch_size: int = 32, show_progress_bar: bool | None = None, *,
        precision: str | None = "float32",
        convert_to_numpy: bool = True, convert_to_tensor: Literal[True],
        **options: Unpack[EncodeOptions],
    ) -> "torch.Tensor": ...
    @overload
    def encode(  # type: ignore[overload-overlap]
        self, sentences: str, prompt_name: str | None = None, prompt: str | None = None,
        batch_size: int = 32, show_progress_bar: bool | None = None, *,
        precision: str | None = "float32",
        convert_to_numpy: Literal[False], convert_to_tensor: Literal[False] = False,
        **options: Unpack[EncodeOptions],
    ) -> "torch.Tensor": ...
    @overload
    def encode(
        self, sentences: ManyTexts, prompt_name: str | None = None, prompt: str | None = None,
        batch_size: int = 32, show_progress_bar: bool | None = None, *,
        precision: str | None = "float32",
        convert_to_numpy: Literal[False], convert_to_tensor: Literal[False] = False,
        **options: Unpack[EncodeOptions],
    ) -> "list[torch.Tensor]": ...
    @overload
    def encode(
        self, sentences: Texts, prompt_name: str | None = None, prompt: str | None = None,
        batch_size: int = 32, show_progress_bar: bool | None = None, *,
        precision: str | None = "float32",
        convert_to_numpy: bool = True, convert_to_tensor: bool = False,
        **options: Unpack[EncodeOptions],
    ) -> "Encoded": ...
    # fmt: on

    def encode(
        self,
        sentences: Texts | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        *,
        inputs: Texts | None = None,
        precision: str | None = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        task: str | None = None,
        on_long: OnLong = "truncate",
        chunk_overlap: int | None = None,
        timeout_ms: float | None = None,
        **others: Unpack[EncodeDropIns],
    ) -> "Encoded":
        """Encode texts as vectors. The arguments are those of sentence-transformers.

        Args:
            sentences: One text, or a sequence of them; it is not changed. A text longer than the
                model's limit is cut in the way of its checkpoint.
            prompt_name: The name of the checkpoint's prompt to put before each text.
            prompt: A prompt to put before each text, instead of a named one.
            batch_size: The most texts in one batch; the token budget bounds it too.
            show_progress_bar: Show progress on stderr; None means no.
            inputs: The name of `sentences` in sentence-transformers 6.
            precision: ``"float32"`` (the same as None); ``"int8"`` or ``"uint8"``: one byte per
                dimension, by the ranges that the artifact stores (`embedding_ranges`); ``"binary"``
                or ``"ubinary"``: one bit per dimension. See `lanner.quantize_embeddings`.
            convert_to_numpy: False gives a list of torch tensors, one per text; needs torch.
            convert_to_tensor: True gives one torch tensor, whatever `convert_to_numpy` says.
            normalize_embeddings: Scale the vectors to length 1.
            truncate_dim: The number of leading dimensions to keep; None for the attribute of that
                name, which is None for all unless you set it.
            task: ``"query"`` or ``"document"``: the way of a model with several, without a
                prompt. None for the default way. A model with one way reads all texts alike.
            on_long: ``"truncate"`` cuts a long text, ``"warn"`` also logs how many, ``"error"``
                refuses it first, ``"chunk"`` gives the mean of overlapping chunks with the prompt.
            chunk_overlap: The tokens of a chunk that the next one repeats; None for an eighth.
            timeout_ms: Milliseconds after which to give up, or None for never.
            others: Other arguments of sentence-transformers, which take their defaults alone.

        Returns:
            float32 [n, dim] in the order of the texts; [dim] for a single str. A text without
            tokens gets the zero vector; only float32 can represent it. The other precisions give
            int8 or uint8, with [n, ceil(dim / 8)] for bits.

        Raises:
            InputTypeError: An item is not a string; the message names its index.
            InputError: An argument is out of range, or there is no such prompt or precision.
            TooLongError: `on_long` is ``"error"``, and a text is longer than the model's limit.
            UnsupportedError: The artifact stores no ranges for int8 and uint8, one of `others` asks
                for something else than the model does, or `on_long` is asked of a text model.
            Overloaded: Too many calls wait for the model already.
            DeadlineError: The time is up.
        """
        require_own(self.manifest.name, others)
        texts_given = given_inputs(sentences, inputs)
        precision = require_precision(precision)
        ranges = None
        if precision in BYTE_PRECISIONS:
            ranges = self.embedding_ranges(truncate_dim, normalize_embeddings=normalize_embeddings)
        require_batch_size(batch_size)
        dimension = self._dimension(truncate_dim)
        single = isinstance(texts_given, str)
        texts = [texts_given] if single else text_list(texts_given, "encode")
        require_on_long(on_long)
        before, way = self._prompt(prompt_name, prompt), self.way(task)
        if on_long != "truncate":
            check_texts(texts)
            tell_long(way.manifest.name, way.tokenizer, [before + t for t in texts], on_long)
        if chunk_overlap is not None:
            require_count("chunk_overlap", chunk_overlap, least=0)
        is_chunked = on_long == "chunk"
        run = partial(way._encode_chunks, chunk_overlap) if is_chunked else way._encode
        vectors = run(texts, before, batch_size, show_progress_bar, timeout_ms)
        if dimension < vectors.shape[1]:
            vectors = np.ascontiguousarray(vectors[:, :dimension])
        if normalize_embeddings:
            vectors = normalize(vectors)
        values: NDArray[Any] = vectors
        if precision != "float32":
            values = quantize_embeddings(vectors, precision, ranges)
        return converted(
            values[0] if single else values,
            is_single=single,
            to_numpy=convert_to_numpy,
            to_tensor=convert_to_tensor,
        )

    @typed_as(encode)
    def encode_query(
        self, sentences: Texts | None = None, *arguments: Any, **options: Any
    ) -> "Encoded":
        """Call `encode` for the task ``"query"``, with the checkpoint's prompt for it."""
        return self._encode_as("query", sentences, arguments, options)

    @typed_as(encode)
    def encode_document(
        self, sentences: Texts | None = None, *arguments: Any, **options: Any
    ) -> "Encoded":
        """Call `encode` for the task ``"document"``, with the checkpoint's prompt for it."""
        return self._encode_as("document", sentences, arguments, options)

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

    def _encode_as(
        self,
        task: str,
        sentences: Texts | None,
        arguments: tuple[Any, ...],
        options: dict[str, Any],
    ) -> "Encoded":
        given = {**dict(zip(("prompt_name", "prompt"), arguments, strict=False)), **options}
        if given.get("prompt") is None and given.get("prompt_name") is None:
            arguments = (self.prompt_of_task(task), None, *arguments[2:])
            options = {k: v for k, v in options.items() if k not in ("prompt_name", "prompt")}
        options.setdefault("task", task)
        encode: Callable[..., Encoded] = self.encode
        return encode(sentences, *arguments, **options)

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), "truncate_dim": self.truncate_dim}

    def _dimension(self, truncate_dim: int | None) -> int:
        width = self.manifest.dimension
        truncate_dim = self.truncate_dim if truncate_dim is None else truncate_dim
        if truncate_dim is None:
            return width
        if not 1 <= require_count("truncate_dim", truncate_dim, least=-sys.maxsize) <= width:
            msg = f"truncate_dim must be from 1 to {width}, not {truncate_dim}"
            raise InputError(msg)
        return truncate_dim

    def _encode(
        self,
        texts: list[str],
        prompt: str,
        batch_size: int,
        show_progress_bar: bool | None,
        timeout_ms: float | None,
    ) -> Vectors:
        return self._rows(
            texts,
            lambda some: self._sequences(some, prompt),
            check_texts,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            timeout_ms=timeout_ms,
        )

    def _encode_chunks(
        self,
        overlap: int | None,
        texts: list[str],
        prompt: str,
        batch_size: int,
        is_shown: bool | None,
        timeout_ms: float | None,
    ) -> Vectors:
        """Return the mean of the vectors of each text's chunks."""
        deadline_s = deadline_after(timeout_ms)

        def answer(runner: Runner) -> Vectors:
            chunks, counts = chunks_of(self.tokenizer, texts, prompt, overlap)
            is_pooled = self.manifest.pools_prompt or not prompt
            unpooled = 0 if is_pooled else self.tokenizer.count_prompt_tokens(prompt)
            vectors = self._rows_of(
                runner,
                chunks,
                lambda some: Sequences(some, unpooled_tokens=unpooled),
                lambda _: None,
                batch_size=batch_size,
                is_shown=bool(is_shown),
                deadline_s=deadline_s,
            )
            return means_of(vectors, counts)

        return self.of_one_version(answer)

"""The head `embed`: texts to vectors, and what is done with them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lanner import similarity as _similarity
from lanner.errors import InputError, UnsupportedError
from lanner.model import Model, Texts, as_tensor, converted, require_batch_size, text_list
from lanner.runner import Sequences
from lanner.similarity import SearchResult, Vectors
from lanner.tokenization import check_texts


class EmbeddingModel(Model):
    """Texts to vectors. Goes where a `SentenceTransformer` goes, for example its evaluators."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self.prompts = dict(self.manifest.prompts)
        self.default_prompt_name = self.manifest.default_prompt_name

    @property
    def similarity_fn_name(self) -> str:
        """The similarity that the checkpoint was trained for, for example ``"cosine"``."""
        return self.manifest.similarity

    def get_embedding_dimension(self) -> int:
        """Width of the vectors."""
        return self.manifest.dimension

    #: The name that sentence-transformers gave it before version 6.
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
    ) -> Any:  # an array, unless tensors are asked for
        """The vectors of texts. Arguments mean what they mean in sentence-transformers.

        Args:
            sentences: One text, or a sequence of them; it is not changed. A text that is longer
                than the model's limit is cut, as its checkpoint does.
            prompt_name: Which of the checkpoint's prompts to put before each text.
            prompt: A prompt to put before each text, instead of a named one.
            batch_size: The most texts in one batch; the token budget bounds it too.
            show_progress_bar: Whether to show progress on stderr; None is no.
            precision: Only ``"float32"`` (or None, which means it) so far.
            convert_to_numpy: False gives a list of torch tensors, one a text; needs torch.
            convert_to_tensor: True gives one torch tensor, whatever `convert_to_numpy` says.
            normalize_embeddings: Whether to scale the vectors to length 1.
            truncate_dim: How many of the first dimensions to keep, or None for all.

        Returns:
            float32 [n, dim] in the order of the texts; [dim] for a single str. A text without a
            single token gets the zero vector.

        Raises:
            InputTypeError: An item is not a string; the message names its index.
            InputError: An argument is out of range, or there is no such prompt.
            UnsupportedError: `precision` is not ``"float32"``.
        """
        if precision not in (None, "float32"):
            msg = f"encode has no precision {precision!r} yet: use 'float32'"
            raise UnsupportedError(msg)
        require_batch_size(batch_size)
        single = isinstance(sentences, str)
        texts = [sentences] if isinstance(sentences, str) else text_list(sentences, "encode")
        vectors = self._encode(
            texts, self._prompt(prompt_name, prompt), batch_size, show_progress_bar
        )
        if truncate_dim is not None:
            vectors = _truncated(vectors, truncate_dim)
        if normalize_embeddings:
            vectors = _similarity.normalize(vectors)
        return converted(
            vectors[0] if single else vectors,
            is_single=single,
            to_numpy=convert_to_numpy,
            to_tensor=convert_to_tensor,
        )

    def encode_query(self, sentences: Texts, **options: Any) -> Any:
        """`encode` with the checkpoint's prompt for queries, if it has one."""
        return self._encode_as(("query",), sentences, options)

    def encode_document(self, sentences: Texts, **options: Any) -> Any:
        """`encode` with the checkpoint's prompt for documents, if it has one."""
        return self._encode_as(("document", "passage", "corpus"), sentences, options)

    def similarity(self, a: ArrayLike, b: ArrayLike) -> Any:
        """Every vector of `a` against every one of `b`, float32 [len(a), len(b)].

        Uses the similarity of the checkpoint (`similarity_fn_name`), as a rule the cosine. An
        array; of torch tensors, a tensor, as the evaluators of sentence-transformers need it.
        """
        scores = _similarity.similarity(a, b, name=self.similarity_fn_name)
        return as_tensor(scores) if _is_tensor(a) else scores

    def similarity_pairwise(self, a: ArrayLike, b: ArrayLike) -> Any:
        """Vector i of `a` against vector i of `b`, float32 [n]; an array or tensor as above."""
        scores = _similarity.similarity_pairwise(a, b, name=self.similarity_fn_name)
        return as_tensor(scores) if _is_tensor(a) else scores

    def search(
        self, queries: Texts | ArrayLike, corpus: Texts | ArrayLike, k: int = 10
    ) -> SearchResult:
        """The k nearest of a corpus to each query; exact, in blocks.

        Args:
            queries: Texts, which are encoded, or vectors [n, dim]. One text or vector is one row.
            corpus: Texts, which are encoded, or vectors [m, dim].
            k: How many; fewer are returned when the corpus is smaller.

        Returns:
            `indices` int64 and `scores` float32, both [n, k], nearest first.
        """
        return _similarity.search(
            self._vectors(queries), self._vectors(corpus), k=k, name=self.similarity_fn_name
        )

    def _encode_as(self, names: tuple[str, ...], sentences: Texts, options: dict[str, Any]) -> Any:
        if options.get("prompt") is None and options.get("prompt_name") is None:
            options["prompt_name"] = next((name for name in names if name in self.prompts), None)
        return self.encode(sentences, **options)

    def _vectors(self, given: Texts | ArrayLike) -> ArrayLike:
        if isinstance(given, str):
            return self._vectors([given])
        is_text = isinstance(given, np.ndarray) and given.dtype.kind in "OUT"
        is_text = is_text or (
            isinstance(given, Sequence) and any(isinstance(t, str) for t in given)
        )
        vectors: ArrayLike = self.encode(given) if is_text else given  # type: ignore[arg-type]
        return vectors

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
        self, texts: list[str], prompt: str, batch_size: int, show_progress_bar: bool | None
    ) -> Vectors:
        if prompt:
            # A wrong type must be named at its index, not by str's "+".
            texts = [prompt + text if isinstance(text, str) else text for text in texts]
        pools_prompt = self.manifest.pools_prompt or not prompt
        unpooled_tokens = 0 if pools_prompt else self.tokenizer.count_prompt_tokens(prompt)
        return self._rows(
            texts,
            lambda some: Sequences(self.tokenizer.encode(some), unpooled_tokens=unpooled_tokens),
            check_texts,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
        )


def _truncated(vectors: Vectors, truncate_dim: int) -> Vectors:
    if not 1 <= truncate_dim <= vectors.shape[1]:
        msg = f"truncate_dim must be from 1 to {vectors.shape[1]}, not {truncate_dim}"
        raise InputError(msg)
    return np.ascontiguousarray(vectors[:, :truncate_dim])


def _is_tensor(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == "torch"  # without importing it

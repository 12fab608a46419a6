"""The head `sparse`: texts to weights of the terms of a vocabulary (SPLADE)."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from lanner.errors import InputError, UnsupportedError
from lanner.models.base import Texts, deadline_after, require_batch_size
from lanner.models.inputs import require_count, text_list
from lanner.models.prompts import PromptedModel
from lanner.running.call import Output, Rows
from lanner.running.runner import Runner
from lanner.text.tokenization import Tokenizer, check_texts
from lanner.vectors import sparse
from lanner.vectors.similarity import Vectors
from lanner.vectors.sparse import SparseOrDense, SparseRow, SparseVectors, sparse_rows

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

#: A term of the vocabulary and its weight.
Term = tuple[str, float]


class SparseModel(PromptedModel):
    """A model that weighs the terms of its vocabulary by what a text means.

    Its methods are those of sentence-transformers' `SparseEncoder`, with scipy's matrices instead
    of torch's tensors.
    """

    def __init__(self, *, query_weights: Vectors | None = None, **parts: Any) -> None:
        super().__init__(**parts)
        self._query_weights = query_weights

    @property
    def similarity_fn_name(self) -> str:
        """The similarity that the checkpoint was trained for, for example ``"dot"``."""
        return self.manifest.similarity

    @property
    def max_active_dims(self) -> int | None:
        """The most terms that the checkpoint gives a text, or None for no limit."""
        return self.manifest.max_active_dims

    def get_embedding_dimension(self) -> int:
        """Number of terms in the vocabulary."""
        return self.manifest.dimension

    def encode_sparse(
        self,
        texts: Texts,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        *,
        task: str | None = None,
        max_active_dims: int | None = None,
        timeout_ms: float | None = None,
    ) -> "csr_matrix":
        """Encode texts as weights of terms; the arguments are those of `SparseEncoder.encode`.

        Args:
            texts: One text, or a sequence of them.
            prompt_name: The name of the checkpoint's prompt to put before each text.
            prompt: A prompt to put before each text, instead of a named one.
            batch_size: The most texts in one batch; the token budget bounds it too.
            show_progress_bar: Show progress on stderr; None means no.
            task: ``"query"`` or ``"document"``: takes the checkpoint's prompt for it, if there is
                one and no prompt is given. A checkpoint that reads queries without inference looks
                the weights of a query's tokens up in a table; None reads a document.
            max_active_dims: The most terms of a text, the heaviest; None for the checkpoint's own
                limit.
            timeout_ms: Milliseconds after which to give up, or None for never.

        Returns:
            A CSR matrix of scipy, float32 [texts, vocabulary], in the order of the texts. A single
            str is one row.

        Raises:
            InputTypeError: An item is not a string; the message names its index.
            InputError: An argument is out of range, or there is no such prompt or task.
            MissingExtraError: scipy is not installed.
            Overloaded: Too many calls wait for the model already.
            DeadlineError: The time is up.
        """
        return self.sparse_vectors(
            texts,
            prompt_name,
            prompt,
            batch_size,
            show_progress_bar,
            task=task,
            max_active_dims=max_active_dims,
            timeout_ms=timeout_ms,
        ).to_scipy()

    def sparse_vectors(
        self,
        texts: Texts,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        *,
        task: str | None = None,
        max_active_dims: int | None = None,
        timeout_ms: float | None = None,
    ) -> SparseVectors:
        """Return what `encode_sparse` does, without scipy."""
        require_batch_size(batch_size)
        most = self.max_active_dims if max_active_dims is None else max_active_dims
        if most is not None:
            require_count("max_active_dims", most)
        named = self.prompt_of_task(task)  # which also checks the task
        if prompt_name is None and prompt is None:
            prompt_name = named
        before = self._prompt(prompt_name, prompt)
        listed = [texts] if isinstance(texts, str) else text_list(texts, "encode_sparse")
        if task == "query" and self._query_weights is not None:
            check_texts(listed)
            return self._looked_up([before + text for text in listed], self._query_weights, most)
        deadline_s = deadline_after(timeout_ms)

        def answer(runner: Runner) -> list[SparseRow]:
            found = [SparseRow.of(np.empty(0, np.float32))] * len(listed)

            def keep(rows: Rows, block: Output) -> None:
                for row, vector in zip(rows, block, strict=True):
                    found[row] = SparseRow.of(vector, most)

            self._collect(
                runner,
                listed,
                lambda some: self._sequences(some, before),
                check_texts,
                keep,
                batch_size=batch_size,
                is_shown=bool(show_progress_bar),
                deadline_s=deadline_s,
            )
            return found

        return SparseVectors(self.of_one_version(answer), self.manifest.dimension)

    def _looked_up(self, queries: list[str], weights: Vectors, most: int | None) -> SparseVectors:
        """Return the weights of the tokens of queries, each counted once."""
        if not isinstance(self.tokenizer, Tokenizer):
            raise self._lacking_here("queries cannot be looked up")  # noqa: EM101
        rows = []
        for encoding in self.tokenizer.whole(queries, add_special_tokens=False):
            vector = np.zeros(len(weights), np.float32)
            ids = encoding.ids[: self.max_seq_length]
            vector[ids] = weights[ids]
            rows.append(SparseRow.of(vector, most))
        return SparseVectors(rows, len(weights))

    def decode_sparse(self, vectors: SparseOrDense, top_k: int | None = None) -> list[list[Term]]:
        """Return the terms of vectors with their weights, the heaviest first.

        Args:
            vectors: A CSR matrix of `encode_sparse`, or a dense array [n, vocabulary].
            top_k: The most terms of a vector, or None for all.

        Returns:
            For each vector pairs of a term, as the tokenizer writes it, and its weight.

        Raises:
            InputError: `top_k` is less than 1, or the vectors have another width.
            UnsupportedError: The server tokenizes, so that this client has no vocabulary.
        """
        if top_k is not None:
            require_count("top_k", top_k)
        given: Any = vectors
        shape = given.shape if hasattr(given, "tocsr") else np.shape(given)
        width = shape[-1] if shape else 0
        if width != self.manifest.dimension:
            msg = (
                f"the vectors have {width} dimensions, and the vocabulary of {self.manifest.name} "
                f"has {self.manifest.dimension} terms: pass vectors of its encode_sparse"
            )
            raise InputError(msg)
        return list(self.terms(sparse_rows(vectors, "vectors"), top_k))

    def terms(self, rows: Iterable[SparseRow], top_k: int | None = None) -> Iterator[list[Term]]:
        """Yield the terms of sparse vectors; see `decode_sparse`."""
        term_of = self._vocabulary()
        for indices, values in rows:
            order = np.argsort(-values, kind="stable")[:top_k]
            yield [(term_of(int(indices[i])), float(values[i])) for i in order]

    def similarity(self, a: SparseOrDense, b: SparseOrDense) -> Vectors:
        """Compare every vector of `a` with every vector of `b`, float32 [len(a), len(b)].

        The similarity is that of the checkpoint (`similarity_fn_name`), usually the dot product.

        Args:
            a: A CSR matrix of `encode_sparse`, or a dense array [n, vocabulary].
            b: The same.

        Raises:
            InputError: The widths differ.
            MissingExtraError: scipy is not installed.
        """
        return sparse.similarity(a, b, name=self.similarity_fn_name)

    def similarity_pairwise(self, a: SparseOrDense, b: SparseOrDense) -> Vectors:
        """Compare vector i of `a` with vector i of `b`, float32 [n]; see `similarity`."""
        return sparse.similarity_pairwise(a, b, name=self.similarity_fn_name)

    def _vocabulary(self) -> Callable[[int], str]:
        """Return the function from the number of a term to its text."""
        if not isinstance(self.tokenizer, Tokenizer):
            raise self._lacking_here("its terms are unknown")  # noqa: EM101
        return self.tokenizer.term_of

    def _lacking_here(self, what: str) -> UnsupportedError:
        return UnsupportedError(
            f"the server tokenizes for {self.manifest.name}, so that {what} here: connect to the "
            "token model, whose name lacks _text"
        )

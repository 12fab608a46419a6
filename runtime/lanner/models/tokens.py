"""The head `tokens`: texts to a vector for each token, for late interaction (ColBERT)."""

from collections.abc import Sequence
from typing import NamedTuple, cast, overload

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.manifest import LateInteraction
from lanner.errors import UnsupportedError
from lanner.models.base import ManyTexts, Texts, deadline_after, require_batch_size
from lanner.models.inputs import require_count, text_list
from lanner.models.prompts import PromptedModel, with_prompt
from lanner.models.scoring import Ranked
from lanner.running.call import Output, Rows
from lanner.running.runner import Runner, Sequences
from lanner.text.late_chunks import chunks_of_tokens, read_whole
from lanner.text.tokenization import Pair, Tokenizer, check_texts
from lanner.vectors.late_interaction import ManyTokens, TokenVectors, maxsim, maxsim_pairwise
from lanner.vectors.similarity import Vectors

QUERY, DOCUMENT = "query", "document"


class ChunkVectors(NamedTuple):
    """The chunks of a text.

    Attributes:
        vectors: float32 [chunks, dimension].
        characters: The first and the end index of each chunk's characters, int64 [chunks, 2].
    """

    vectors: Vectors
    characters: NDArray[np.int64]


class TokensModel(PromptedModel):
    """A model that turns each token of a text into a vector.

    Its methods are those of sentence-transformers' `MultiVectorEncoder`. A query and a document are
    read in different ways, so `encode_tokens` takes the task.
    """

    @property
    def similarity_fn_name(self) -> str:
        """``"maxsim"``, or ``"meanmaxsim"`` if the checkpoint was trained for that."""
        return self.manifest.similarity

    def get_embedding_dimension(self) -> int:
        """Width of the vectors."""
        return self.manifest.dimension

    @overload
    def encode_tokens(  # type: ignore[overload-overlap]
        self,
        texts: str,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        *,
        task: str = DOCUMENT,
        timeout_ms: float | None = None,
    ) -> Vectors: ...

    @overload
    def encode_tokens(
        self,
        texts: ManyTexts,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        *,
        task: str = DOCUMENT,
        timeout_ms: float | None = None,
    ) -> list[Vectors]: ...

    def encode_tokens(
        self,
        texts: Texts,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        *,
        task: str = DOCUMENT,
        timeout_ms: float | None = None,
    ) -> Vectors | list[Vectors]:
        """Encode texts as a vector for each token, as sentence-transformers does.

        Args:
            texts: One text, or a sequence of them.
            prompt_name: The name of the prompt to put before each text; None for that of the task.
            prompt: A prompt to put before each text, instead of a named one.
            batch_size: The most texts in one batch; the token budget bounds it too.
            show_progress_bar: Show progress on stderr; None means no.
            task: ``"query"`` or ``"document"``. The checkpoint decides how long each may be, what
                expands a query, and which tokens of a document have no vector.
            timeout_ms: Milliseconds after which to give up, or None for never.

        Returns:
            For each text float32 [tokens, dimension], special tokens included; for a single str one
            array.

        Raises:
            InputTypeError: An item is not a string; the message names its index.
            InputError: There is no such prompt or task.
            Overloaded: Too many calls wait for the model already.
            DeadlineError: The time is up.
        """
        found = self.token_vectors(
            texts,
            prompt_name,
            prompt,
            batch_size,
            show_progress_bar,
            task=task,
            timeout_ms=timeout_ms,
        )
        return found.rows[0] if isinstance(texts, str) else list(found.rows)

    def encode_chunks(
        self,
        texts: ManyTexts,
        chunk_tokens: int | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        *,
        timeout_ms: float | None = None,
    ) -> list[ChunkVectors]:
        """Encode the chunks of texts, each read in the light of its whole text (late chunking).

        The vector of a chunk is the mean of the vectors of its tokens, without special tokens. A
        text that is longer than the model's limit is read in windows that overlap by a quarter,
        and each token counts in the window in which it has the most tokens around it.

        Args:
            texts: A sequence of texts.
            chunk_tokens: The most tokens of a chunk; None for one chunk, the whole text.
            prompt_name: The name of the prompt to put before each window.
            prompt: A prompt to put before each window, instead of a named one.
            batch_size: The most windows in one batch; the token budget bounds it too.
            show_progress_bar: Show progress on stderr; None means no.
            timeout_ms: Milliseconds after which to give up, or None for never.

        Returns:
            For each text the vectors and the characters of its chunks; none for a text without
            tokens.

        Raises:
            InputTypeError: An item is not a string; the message names its index.
            InputError: `chunk_tokens` is less than 1, or there is no such prompt.
            UnsupportedError: The model is one of late interaction, or a server tokenises.
            Overloaded: Too many calls wait for the model already.
            DeadlineError: The time is up.
        """
        require_batch_size(batch_size)
        if chunk_tokens is not None:
            require_count("chunk_tokens", chunk_tokens)
        listed = text_list(texts, "encode_chunks", "a sequence of texts")
        check_texts(listed)
        before = self._prompt(prompt_name, prompt)
        deadline_s = deadline_after(timeout_ms)
        name = self.manifest.name
        if self.manifest.late_interaction is not None:
            msg = (
                f"{name} compares tokens, whose mean it was not trained for: export an encoder "
                "with --head tokens"
            )
            raise UnsupportedError(msg)

        def answer(runner: Runner) -> list[ChunkVectors]:
            tokenizer = self.tokenizer
            if not isinstance(tokenizer, Tokenizer):
                msg = f"the server tokenises the texts of {name}: connect to its token model"
                raise UnsupportedError(msg)
            read = list(read_whole(tokenizer, listed, before))
            windows = [window for one in read for window in one.windows]
            kept = [span for one in read for span in one.kept]
            found: list[Vectors] = [np.empty((0, self.manifest.dimension), np.float32)] * len(kept)

            def keep(rows: Rows, block: Output) -> None:
                for row, vectors in zip(rows, block, strict=True):
                    found[row] = vectors[slice(*kept[row])].copy()

            self._collect(
                runner,
                windows,
                Sequences,
                lambda _: None,
                keep,
                batch_size=batch_size,
                is_shown=bool(show_progress_bar),
                deadline_s=deadline_s,
            )
            parts = iter(found)
            return [
                _chunk_vectors(
                    np.concatenate([next(parts) for _ in one.windows]), one.characters, chunk_tokens
                )
                for one in read
            ]

        return self.of_one_version(answer)

    def token_vectors(
        self,
        texts: Texts,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        *,
        task: str = DOCUMENT,
        timeout_ms: float | None = None,
    ) -> TokenVectors:
        """Return what `encode_tokens` does; a single str is one row."""
        require_batch_size(batch_size)
        named = self.prompt_of_task(task)  # which also checks the task
        if prompt_name is None and prompt is None:
            prompt_name = named
        listed = [texts] if isinstance(texts, str) else text_list(texts, "encode_tokens")
        rows = self._encode_tokens(
            listed,
            task,
            prompt_name,
            prompt,
            batch_size=batch_size,
            is_shown=bool(show_progress_bar),
            deadline_s=deadline_after(timeout_ms),
        )
        return TokenVectors(rows, self.manifest.dimension)

    def _encode_tokens(
        self,
        texts: list[str],
        task: str,
        prompt_name: str | None,
        prompt: str | None,
        *,
        batch_size: int,
        is_shown: bool,
        deadline_s: float | None,
    ) -> list[Vectors]:
        before = self._prompt(prompt_name, prompt)

        def answer(runner: Runner) -> list[Vectors]:
            reading = Reading(self.manifest.late_interaction, task)
            tokenizer = reading.tokenizer(cast("Tokenizer", self.tokenizer))
            found: list[Vectors] = [np.empty((0, self.manifest.dimension), np.float32)] * len(texts)
            ids: list[list[int]] = []

            def tokenize(some: list[str]) -> Sequences[list[int]]:
                sequences = reading.sequences(tokenizer.encode(with_prompt(some, before)))
                ids.extend(sequences.items)
                return sequences

            def keep(rows: Rows, block: Output) -> None:
                for row, vectors in zip(rows, block, strict=True):
                    found[row] = vectors[: len(ids[row])][reading.is_kept(ids[row])]

            self._collect(
                runner,
                texts,
                tokenize,
                check_texts,
                keep,
                batch_size=batch_size,
                is_shown=is_shown,
                deadline_s=deadline_s,
            )
            return found

        return self.of_one_version(answer)

    def rows(self, inputs: Sequence[str | Pair], *, batch_size: int = 32) -> Vectors:
        """See `Model.rows`."""
        found = self.read_both_ways(cast("Sequence[str]", inputs), batch_size=batch_size)
        empty = np.empty((0, self.manifest.dimension), np.float32)
        return np.concatenate([empty, *found])

    def read_both_ways(self, texts: Sequence[str], *, batch_size: int = 32) -> list[Vectors]:
        """Return the vectors of each text as a document, and behind them those as a query.

        A checkpoint that reads both as they are gives those of a document alone.
        """
        documents = self.encode_tokens(texts, batch_size=batch_size)
        if self.manifest.late_interaction is None:
            return documents
        queries = self.encode_tokens(texts, batch_size=batch_size, task=QUERY)
        return [np.concatenate(both) for both in zip(documents, queries, strict=True)]

    def similarity(self, a: ManyTokens, b: ManyTokens) -> Vectors:
        """Compare every query with every document by MaxSim, float32 [queries, documents].

        For each token of a query, the largest dot product with a token of the document is added
        up; ``"meanmaxsim"`` takes their mean.

        Args:
            a: The queries, as `encode_tokens` answers them.
            b: The documents.

        Raises:
            InputError: The widths differ, or something is not [tokens, dimension].
        """
        return maxsim(a, b, name=self.similarity_fn_name)

    def similarity_pairwise(self, a: ManyTokens, b: ManyTokens) -> Vectors:
        """Compare query i with document i, float32 [n]; see `similarity`."""
        return maxsim_pairwise(a, b, name=self.similarity_fn_name)

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        top_k: int | None = None,
        *,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
    ) -> list[Ranked]:
        """Rank documents by their similarity to a query, best first; ties keep their order.

        Args:
            query: The query.
            documents: The texts to rank.
            top_k: The number of documents to return, or None for all.
            batch_size: The most documents in one batch.
            show_progress_bar: Show progress on stderr; None means no.
        """
        documents = text_list(documents, "rank", "a sequence of texts")
        found = self.encode_tokens(documents, None, None, batch_size, show_progress_bar)
        (scores,) = self.similarity([self.encode_tokens(query, task=QUERY)], found)
        order = np.argsort(-scores, kind="stable")[:top_k]
        return [
            {"corpus_id": int(row), "score": float(scores[row]), "text": documents[row]}
            for row in order
        ]


class Reading:
    """The way a task's texts are read.

    Args:
        late: How the checkpoint reads queries and documents; None for both as they are.
        task: ``"query"`` or ``"document"``.
    """

    def __init__(self, late: LateInteraction | None, task: str) -> None:
        self._late, self._is_query = late, task == QUERY
        skips = late is not None and task in late.skips_in
        self._skipped = np.array(late.skipped_token_ids if late and skips else [], np.int64)

    def tokenizer(self, tokenizer: Tokenizer) -> Tokenizer:
        """Return the tokenizer with the limit of the task."""
        if self._late is None:
            return tokenizer
        most = self._late.query_tokens if self._is_query else self._late.document_tokens
        return tokenizer if tokenizer.max_tokens == most else tokenizer.limited(most)

    def sequences(self, ids: list[list[int]]) -> Sequences[list[int]]:
        """Return token ids as what runs: queries are expanded."""
        late = self._late
        if late is None or not self._is_query or not late.expanded_tokens:
            return Sequences(ids)
        expanded = [
            [*one, *[late.expansion_token_id] * (late.expanded_tokens - len(one))] for one in ids
        ]
        attended = None if late.attends_expansion else [len(one) for one in ids]
        return Sequences(expanded, attended_tokens=attended)

    def is_kept(self, ids: Sequence[int]) -> NDArray[np.bool_]:
        """Return which tokens have a vector, bool [tokens]."""
        kept: NDArray[np.bool_] = ~np.isin(np.array(ids, np.int64), self._skipped)
        return kept


def _chunk_vectors(
    tokens: Vectors, characters: NDArray[np.int64], chunk_tokens: int | None
) -> ChunkVectors:
    """Return the mean of the token vectors of each chunk."""
    chunks = chunks_of_tokens(characters, chunk_tokens)
    means = [tokens[slice(*one.tokens)].mean(axis=0, dtype=np.float64) for one in chunks]
    return ChunkVectors(
        np.array(means, np.float32).reshape(len(chunks), tokens.shape[1]),
        np.array([one.characters for one in chunks], np.int64).reshape(-1, 2),
    )

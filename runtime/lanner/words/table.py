"""The vectors of all words of a model, and the words nearest to a point among them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lanner.errors import InputError, UnsupportedError
from lanner.models.embedding import EmbeddingModel
from lanner.running.runner import Sequences
from lanner.text.words import WordTokenizer

#: Words that run at once, and rows that are compared at once.
_BLOCK_WORDS = 2**14

Vectors = NDArray[np.float32]


class Similar(NamedTuple):
    """A word, and its cosine to what was asked for."""

    word: str
    score: float


class WordTable:
    """The words of a model of word vectors, with vectors of length 1.

    Answers are those of gensim's `KeyedVectors`.

    Args:
        model: A model of word vectors, in this process.
        restrict: The number of words to take from the start of the table, usually the most
            frequent; None for all.

    Raises:
        UnsupportedError: The model has no table of words.
    """

    def __init__(self, model: object, *, restrict: int | None = None) -> None:
        tokenizer = getattr(model, "tokenizer", None)
        if not isinstance(model, EmbeddingModel) or not isinstance(tokenizer, WordTokenizer):
            manifest = getattr(model, "manifest", None)
            name = type(model).__name__ if manifest is None else manifest.name
            msg = f"{name} has no table of words: give an artifact of word vectors"
            raise UnsupportedError(msg)
        self._model, self._has_parts = model, model.manifest.tokenizer.parts is not None
        self.words = tokenizer.words[:restrict]
        self._rows = {word: row for row, word in enumerate(self.words)}
        #: float32 [words, dimension]; zeros stay zeros.
        self.vectors: Vectors = np.zeros((len(self.words), model.manifest.dimension), np.float32)
        for start in range(0, len(self.words), _BLOCK_WORDS):
            ids = [[row] for row in range(start, min(start + _BLOCK_WORDS, len(self.words)))]
            for rows, block in model.runner.run(Sequences(ids), max_sequences=len(ids)):
                self.vectors[start + rows] = unit(block)

    def row(self, word: str) -> int | None:
        """Return the row of a word, or None."""
        return self._rows.get(word)

    def vector(self, word: str) -> Vectors:
        """Return the vector of a word, of length 1: from the table, or made of its parts.

        Raises:
            InputError: The table has no such word, and makes none of parts.
        """
        row = self.row(word)
        found: Vectors
        if row is not None:
            found = self.vectors[row]
            return found
        if self._has_parts and word.split() == [word]:
            made = self._model.encode([word])
            if made.any():
                found = unit(made)[0]
                return found
        msg = f"{self._model.manifest.name} has no word {word!r}: check its spelling and its case"
        raise InputError(msg)

    def most_similar(
        self, positive: Sequence[str], negative: Sequence[str] = (), k: int = 10
    ) -> list[Similar]:
        """Return the words nearest to the sum of some words less others, nearest first.

        The words that are given are left out.

        Args:
            positive: Words to add; ``["king", "woman"]`` less ``["man"]`` asks for "queen".
            negative: Words to take away.
            k: The number of words; fewer if the table is smaller.

        Raises:
            InputError: There is no such word.
        """
        query = np.zeros(self.vectors.shape[1], np.float32)
        for words, sign in ((positive, 1), (negative, -1)):
            for word in words:
                query += sign * self.vector(word)
        given = {self.row(word) for word in (*positive, *negative)}
        (found,) = self.nearest(unit(query[None]), k + len(given))
        return [Similar(self.words[row], score) for row, score in found if row not in given][:k]

    def nearest(self, queries: Vectors, k: int) -> list[list[tuple[int, float]]]:
        """Return the rows nearest to each query, with their cosines, nearest first.

        Args:
            queries: Vectors of length 1, float32 [n, dimension].
            k: The number of rows.
        """
        count = min(k, len(self.words))
        scores = np.empty((len(queries), 0), np.float32)
        rows = np.empty((len(queries), 0), np.int64)
        for start in range(0, len(self.words), _BLOCK_WORDS):
            block = queries @ self.vectors[start : start + _BLOCK_WORDS].T
            numbers = np.arange(start, start + block.shape[1])
            scores = np.concatenate([scores, block], axis=1)
            rows = np.concatenate([rows, np.broadcast_to(numbers, block.shape)], axis=1)
            # Stable: of equal scores the first words stay, whatever the block.
            best = np.argsort(-scores, axis=1, kind="stable")[:, :count]
            scores = np.take_along_axis(scores, best, axis=1)
            rows = np.take_along_axis(rows, best, axis=1)
        return [
            list(zip(found, of_query, strict=True))
            for found, of_query in zip(rows.tolist(), scores.tolist(), strict=True)
        ]


def unit(vectors: Vectors) -> Vectors:
    """Return rows scaled to length 1; zeros stay zeros."""
    lengths: Vectors = np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float32)
    lengths[lengths == 0] = 1
    return vectors / lengths

"""Late interaction: texts of a vector for each token, and their comparison by MaxSim."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanner.errors import InputError
from lanner.vectors.similarity import (
    Vectors,
    matrix,
    require_same_length,
    require_same_width,
)

#: MaxSim: for each token of a query the largest dot product with a token of the document, summed;
#: the mean of them instead of the sum.
MAXSIM_NAMES = ("maxsim", "meanmaxsim")
#: Tokens of documents that are compared at once: with 32 tokens of a query, 4 MB of products.
_BLOCK_TOKENS = 32_768

#: The vectors of the tokens of several texts, float32 [tokens, dimension] each; a single array is
#: one text, or several of as many tokens, [texts, tokens, dimension].
ManyTokens = Sequence[Vectors] | NDArray[Any]


@dataclass(frozen=True)
class TokenVectors:
    """The vectors of the tokens of several texts.

    Attributes:
        rows: float32 [tokens, width] for each text.
        width: The width of a vector.
    """

    rows: Sequence[Vectors]
    width: int

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Vectors]:
        return iter(self.rows)


def maxsim(queries: ManyTokens, documents: ManyTokens, *, name: str = "maxsim") -> Vectors:
    """Compare every query with every document, float32 [queries, documents].

    Args:
        queries: The vectors of the tokens of each query.
        documents: The same of each document. A document without tokens gets 0.
        name: One of `MAXSIM_NAMES`.

    Raises:
        InputError: The widths differ, or there is no such similarity.
    """
    require_maxsim(name)
    left, right = token_matrices(queries, "a"), token_matrices(documents, "b")
    _require_width([*left, *right])
    scores = np.zeros((len(left), len(right)), np.float32)
    for columns, tokens, starts in _blocks(right):
        for row, query in enumerate(left):
            if len(query):
                best = np.maximum.reduceat(query @ tokens.T, starts, axis=1).sum(axis=0)
                scores[row, columns] = best / len(query) if name == "meanmaxsim" else best
    return scores


def maxsim_pairwise(queries: ManyTokens, documents: ManyTokens, *, name: str = "maxsim") -> Vectors:
    """Compare query i with document i, float32 [n]; see `maxsim`."""
    require_maxsim(name)
    left, right = token_matrices(queries, "a"), token_matrices(documents, "b")
    require_same_length(len(left), len(right))
    _require_width([*left, *right])
    scores = [float(maxsim([a], [b], name=name)[0, 0]) for a, b in zip(left, right, strict=True)]
    return np.array(scores, np.float32)


def token_matrices(texts: ManyTokens, name: str) -> list[Vectors]:
    """Return the vectors of each text, float32 [tokens, dimension].

    Args:
        texts: The vectors, in any of the forms of `ManyTokens`.
        name: Their name in messages.

    Raises:
        InputError: They have another shape.
    """
    if isinstance(texts, np.ndarray):
        texts = [texts] if texts.ndim == 2 else list(texts)
    found = [matrix(one, f"{name}[{index}]") for index, one in enumerate(texts)]
    for index, one in enumerate(texts):
        if np.ndim(one) != 2:
            shape = list(np.shape(one))
            msg = (
                f"{name}[{index}] must have the shape [tokens, dimension], not {shape}: pass what "
                "encode_tokens answers to a list of texts"
            )
            raise InputError(msg)
    return found


def require_maxsim(name: str) -> None:
    """Check the name of a similarity.

    Raises:
        InputError: It is not one of `MAXSIM_NAMES`.
    """
    if name not in MAXSIM_NAMES:
        msg = f"there is no similarity {name!r} of tokens: use {' or '.join(MAXSIM_NAMES)}"
        raise InputError(msg)


def _require_width(texts: Sequence[Vectors]) -> None:
    for one in texts:
        require_same_width(texts[0].shape[1], one.shape[1])


def _blocks(
    documents: Sequence[Vectors],
) -> Iterator[tuple[list[int], Vectors, NDArray[np.int64]]]:
    """Yield columns of documents with tokens, their tokens together, and where each begins."""
    columns: list[int] = []
    tokens = 0
    for column, document in enumerate(documents):
        if columns and tokens + len(document) > _BLOCK_TOKENS:
            yield _block(documents, columns)
            columns, tokens = [], 0
        if len(document):
            columns.append(column)
            tokens += len(document)
    if columns:
        yield _block(documents, columns)


def _block(
    documents: Sequence[Vectors], columns: list[int]
) -> tuple[list[int], Vectors, NDArray[np.int64]]:
    chosen = [documents[column] for column in columns]
    starts = np.cumsum([0, *map(len, chosen[:-1])])
    return columns, np.concatenate(chosen), starts

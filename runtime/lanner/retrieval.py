"""Search in two steps: a bi-encoder recalls candidates, a cross-encoder ranks them.

The method is "Retrieve & Re-Rank" of the documentation of sentence-transformers: the vectors of a
corpus are made once and compared fast, and the slower, more exact model sees only the best texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import ArrayLike

from lanner.artifact.heads import Head
from lanner.errors import HeadError, InputError, InputTypeError
from lanner.models.base import Model
from lanner.models.embedding import EmbeddingModel
from lanner.models.inputs import require_count, text_list
from lanner.models.scoring import ScoringModel


@dataclass(frozen=True)
class Hit:
    """One text that was found.

    Attributes:
        index: Its row in the corpus.
        text: The text.
        score: The cross-encoder's score of the text and the query.
        similarity: The bi-encoder's similarity of the two.
    """

    index: int
    text: str
    score: float
    similarity: float


@overload
def retrieve(  # type: ignore[overload-overlap]
    encoder: EmbeddingModel,
    scorer: ScoringModel,
    query: str,
    corpus: Sequence[str],
    k: int = 10,
    *,
    candidates: int = 100,
    corpus_vectors: ArrayLike | None = None,
) -> list[Hit]: ...


@overload
def retrieve(
    encoder: EmbeddingModel,
    scorer: ScoringModel,
    query: Sequence[str],
    corpus: Sequence[str],
    k: int = 10,
    *,
    candidates: int = 100,
    corpus_vectors: ArrayLike | None = None,
) -> list[list[Hit]]: ...


def retrieve(
    encoder: EmbeddingModel,
    scorer: ScoringModel,
    query: str | Sequence[str],
    corpus: Sequence[str],
    k: int = 10,
    *,
    candidates: int = 100,
    corpus_vectors: ArrayLike | None = None,
) -> list[Hit] | list[list[Hit]]:
    """Find the texts of a corpus that answer a query best.

    Args:
        encoder: A loaded artifact with the head `embed`; its prompts for queries and documents, if
            any, are used.
        scorer: A loaded artifact with the head `score`.
        query: One query, or several.
        corpus: The texts to search.
        k: The number of hits per query; fewer if the corpus is smaller.
        candidates: The number of texts that the encoder recalls for the scorer, at least `k`.
        corpus_vectors: ``encoder.encode_document(corpus)`` in any precision, [len(corpus), dim].
            Compute it once if there are many queries; None computes it in this call.

    Returns:
        Hits, best score first; a list of hits for each of several queries.

    Raises:
        HeadError: `encoder` or `scorer` has another head.
        InputError: `k` or `candidates` is less than 1, or the vectors do not fit the corpus.
    """
    for name, model, head in (("encoder", encoder, Head.EMBED), ("scorer", scorer, Head.SCORE)):
        given: object = model  # from callers that no type checker has seen
        if not isinstance(given, Model):
            msg = f"the {name} of retrieve must be a loaded model, not {type(given).__name__}"
            raise InputTypeError(msg)
        if model.manifest.head != head:
            msg = (
                f"the {name} of retrieve must have the head {head!r}, but "
                f"{model.manifest.name} has {model.manifest.head!r}"
            )
            raise HeadError(msg)
    for name, value in (("k", k), ("candidates", candidates)):
        require_count(name, value)
    # Hits index by position; the column of a table may have an index of its own.
    corpus = text_list(corpus, "retrieve", "a sequence of texts as its corpus")
    queries = [query] if isinstance(query, str) else text_list(query, "retrieve")
    if not queries or not corpus:
        none: list[list[Hit]] = [[] for _ in queries]
        return [] if isinstance(query, str) else none
    vectors = encoder.encode_document(corpus) if corpus_vectors is None else corpus_vectors
    if len(np.asarray(vectors)) != len(corpus):
        msg = f"corpus_vectors has {len(np.asarray(vectors))} rows for {len(corpus)} texts"
        raise InputError(msg)
    recalled = encoder.search(encoder.encode_query(queries), vectors, k=max(k, candidates))
    pairs = [
        (text, corpus[row])
        for text, rows in zip(queries, recalled.indices, strict=True)
        for row in rows
    ]
    scores = scorer.score(pairs).reshape(recalled.indices.shape)
    hits = []
    for row, of_query in enumerate(scores):
        best = np.argsort(-of_query, kind="stable")[:k]
        hits.append(
            [
                Hit(
                    index=int(recalled.indices[row, i]),
                    text=corpus[recalled.indices[row, i]],
                    score=float(of_query[i]),
                    similarity=float(recalled.scores[row, i]),
                )
                for i in best
            ]
        )
    return hits[0] if isinstance(query, str) else hits

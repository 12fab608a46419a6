"""Ranks of documents: common parts of the dialects, and the dialect of Jina, vLLM and infinity."""

import secrets
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from lanner.artifact.activation import sigmoid
from lanner.service.core.exchange import Request, Response
from lanner.service.core.pipeline import Pipeline
from lanner.service.core.refusal import Kind, Refusal
from lanner.service.core.served import ServedModel
from lanner.service.core.vectors import to_json
from lanner.service.dialects.dialect import Route, answered, decode, refusal_headers, report_cut
from lanner.text.cutting import Cut
from lanner.text.tokenization import Tokenizer


class Document(msgspec.Struct):
    """A document as an object."""

    text: str


class Rerank(msgspec.Struct):
    """The body of ``POST /v1/rerank`` and ``/rerank``."""

    query: str
    documents: list[str | Document]
    model: str | None = None
    top_n: int | None = None
    return_documents: bool | None = None
    max_tokens_per_doc: int | None = None
    truncate: bool | None = None


DECODER = msgspec.json.Decoder(Rerank)


def is_of_documents(request: Request) -> bool:
    """Return whether a body has documents, as in Jina and Cohere, and not texts, as in TEI."""
    return b'"documents"' in request.body and b'"texts"' not in request.body


async def scores(
    request: Request,
    pipeline: Pipeline,
    served: ServedModel,
    query: str,
    documents: Sequence[str],
    *,
    end: Cut = None,
    is_raw: bool = False,
) -> NDArray[np.float32]:
    """Return the relevance of each document to a query, float32 [n].

    Args:
        request: The request.
        pipeline: The pipeline.
        served: A model of the head `score`.
        query: The query.
        documents: The documents.
        end: The end that a long text loses.
        is_raw: True for the logits; else from 0 to 1, as the dialects have it.
    """
    pairs = [(query, document) for document in documents]
    logits, _ = await pipeline.rows(request, served, pairs, end=end)
    found = served.scores(logits, is_raw=is_raw)
    if not is_raw and served.manifest.activation == "identity":
        return sigmoid(found)
    return found


async def ranked(
    request: Request,
    pipeline: Pipeline,
    asked: Rerank,
) -> tuple[list[dict[str, object]], ServedModel]:
    """Return the documents of a request, best first."""
    if asked.top_n is not None and asked.top_n < 1:
        msg = f"top_n must be at least 1, not {asked.top_n}"
        raise Refusal(Kind.INVALID, msg, param="top_n")
    served, _ = pipeline.model(request, asked.model, "score")
    documents = texts_of(asked)
    read = documents
    if asked.max_tokens_per_doc is not None:
        read = await _shortened(documents, served, asked.max_tokens_per_doc)
    end: Cut = "no" if asked.truncate is False else None
    found = await scores(request, pipeline, served, asked.query, read, end=end)
    order = np.argsort(-found, kind="stable")[: asked.top_n]
    results: list[dict[str, object]] = [
        {"index": int(row), "relevance_score": float(found[row])} for row in order
    ]
    if asked.return_documents:
        for result, row in zip(results, order, strict=True):
            result["document"] = {"text": documents[row]}
    return results, served


async def rerank(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``POST /v1/rerank`` and ``/rerank``."""
    asked = decode(DECODER, request)
    results, served = await ranked(request, pipeline, asked)
    return answer(request, asked, served, results)


def texts_of(asked: Rerank) -> list[str]:
    """Return the documents of a request as texts."""
    return [one if isinstance(one, str) else one.text for one in asked.documents]


def answer(
    request: Request, asked: Rerank, served: ServedModel, results: list[dict[str, object]]
) -> Response:
    """Return the answer with these results."""
    content = {
        "id": new_id("rerank-"),
        "object": "rerank",
        "model": asked.model or served.name,
        "results": results,
        "usage": {"prompt_tokens": request.tokens, "total_tokens": request.tokens},
        "meta": {"api_version": {"version": "1"}, "billed_units": {"search_units": 1}},
    }
    return report_cut(request, answered(request, content))


async def _shortened(documents: list[str], served: ServedModel, most_tokens: int) -> list[str]:
    """Return documents of at most this many tokens each."""
    tokenizer = served.model.tokenizer
    if most_tokens < 1 or not isinstance(tokenizer, Tokenizer):
        msg = f"max_tokens_per_doc must be at least 1, not {most_tokens}"
        raise Refusal(Kind.INVALID, msg, param="max_tokens_per_doc")
    # A token has at least one character, so most documents are short enough without counting
    # tokens.
    long = [index for index, text in enumerate(documents) if len(text) > most_tokens]
    if not long:
        return documents
    read = [documents[index] for index in long]
    encodings = await served.in_thread(lambda: tokenizer.whole(read, add_special_tokens=False))
    shortened = list(documents)
    for index, text, one in zip(long, read, encodings, strict=True):
        if len(one.ids) > most_tokens:
            shortened[index] = text[: one.offsets[most_tokens - 1][1]]
    return shortened


def refuse(refusal: Refusal) -> Response:
    """Return a refusal with the fields that Jina's and Cohere's clients read."""
    content = {"detail": refusal.message, "message": refusal.message}
    return Response(to_json(content), refusal.kind.status, headers=refusal_headers(refusal))


def new_id(prefix: str = "") -> str:
    """Return a random id."""
    return prefix + secrets.token_hex(12)


ROUTES = (Route("POST", "/v1/rerank", rerank, refuse, Rerank),)

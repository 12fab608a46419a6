"""The dialect of OpenAI: embeddings and models."""

import asyncio
import time
from functools import partial
from typing import Literal, cast

import msgspec
import numpy as np

from lanner.service.core.exchange import Request, Response
from lanner.service.core.pipeline import Pipeline
from lanner.service.core.refusal import Kind, Refusal
from lanner.service.core.vectors import (
    base64_rows,
    has_unit_length,
    rows_of,
    shaped,
    to_json,
)
from lanner.service.dialects.dialect import Route, decode, ending, refusal_headers, report_cut

_IDS = (
    "input holds token ids, which are of another model's vocabulary: send texts instead, in "
    "LangChain with OpenAIEmbeddings(check_embedding_ctx_length=False)"
)
#: Fewer ids than this are decoded on the event loop, more in a thread.
_IDS_HERE = 4_000
_CREATED = int(time.time())
_RAW = "application/octet-stream"


Input = str | list[str | int | list[int]]


class Embeddings(msgspec.Struct):
    """The body of ``POST /v1/embeddings``; fields that are not named here are ignored."""

    input: Input
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    user: str | None = None
    prompt_name: str | None = None
    truncate: bool | None = None
    truncation_direction: Literal["left", "right", "Left", "Right"] | None = None


DECODER = msgspec.json.Decoder(Embeddings)


async def embeddings(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``POST /v1/embeddings``."""
    return await embedded(request, pipeline, decode(DECODER, request))


async def embedded(request: Request, pipeline: Pipeline, asked: Embeddings) -> Response:
    """Return the answer with the vectors that a body requests."""
    texts = await _texts(asked.input, pipeline)
    served, alias = pipeline.model(request, asked.model, "embed")
    name = asked.prompt_name if alias is None else alias
    rows, tokens = await pipeline.rows(
        request,
        served.way(name),
        texts,
        prompt=served.prompt(name),
        end=ending(asked.truncate, asked.truncation_direction),
    )
    with request.part("encode"):
        vectors = shaped(
            rows, served, dimensions=asked.dimensions, is_normalized=has_unit_length(served)
        )
        if request.accepts(_RAW.encode()):
            shape = ",".join(map(str, vectors.shape))
            body = np.ascontiguousarray(vectors, "<f4").tobytes()
            answer = Response(body, media_type=_RAW, headers={"x-lanner-shape": shape})
            return report_cut(request, answer)
        is_text = asked.encoding_format == "base64"
        listed = base64_rows(vectors) if is_text else rows_of(vectors)
        content: dict[str, object] = {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": vector}
                for index, vector in enumerate(listed)
            ],
            "model": asked.model or served.name,
            "usage": {"prompt_tokens": tokens.count, "total_tokens": tokens.count},
        }
        if tokens.cut:
            content["truncated"] = tokens.cut
        return report_cut(request, Response(to_json(content)))


async def _texts(given: Input, pipeline: Pipeline) -> list[str]:
    """Return inputs as texts; ids are decoded if the service knows their vocabulary."""
    if isinstance(given, str):
        return [given]
    kinds = set(map(type, given))
    if kinds <= {str}:
        return cast("list[str]", given)
    if pipeline.vocabulary is None:
        raise Refusal(Kind.INVALID, _IDS, param="input")
    if len(kinds) > 1:
        msg = "input must be a text, a list of token ids, or a list of texts or of such lists"
        raise Refusal(Kind.INVALID, msg, param="input")
    lists = cast("list[list[int]]", [given] if kinds == {int} else given)
    decoded = partial(pipeline.vocabulary.texts, lists)
    is_short = sum(map(len, lists)) < _IDS_HERE
    return decoded() if is_short else await asyncio.to_thread(decoded)


async def models(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``GET /v1/models``."""
    del request
    names = [*pipeline.catalogue.models, *pipeline.catalogue.aliases]
    return Response(to_json({"object": "list", "data": [_model(name) for name in names]}))


async def model(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``GET /v1/models/{id}``."""
    (name,) = request.values
    pipeline.model(request, name)
    return Response(to_json(_model(name)))


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "lanner"}


#: The types of errors by status; others are of the type of their nearest neighbour.
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_CODES = {
    Kind.NO_KEY: "invalid_api_key",
    Kind.NO_MODEL: "model_not_found",
    Kind.RATE_LIMITED: "rate_limit_exceeded",
    Kind.TOO_LONG: "context_length_exceeded",
}


def refuse(refusal: Refusal) -> Response:
    """Return a refusal in the shape of OpenAI."""
    status = refusal.kind.status
    usual = "invalid_request_error" if status < 500 else "server_error"
    error = {
        "message": refusal.message,
        "type": _TYPES.get(status, usual),
        "param": refusal.param,
        "code": _CODES.get(refusal.kind, refusal.kind.word),
    }
    headers = refusal_headers(refusal)
    if refusal.retry_after_s is not None:
        headers["retry-after-ms"] = str(max(1, round(refusal.retry_after_s * 1e3)))
    elif status >= 500:
        headers["x-should-retry"] = "false"
    return Response(to_json({"error": error}), status, headers=headers)


ROUTES = (
    Route("POST", "/v1/embeddings", embeddings, refuse, Embeddings),
    Route("GET", "/v1/models", models, refuse),
    Route("GET", "/v1/models/{*}", model, refuse),
)

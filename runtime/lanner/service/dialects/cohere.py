"""The dialect of Cohere: ranks and embeddings."""

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from lanner.service.core.exchange import Request, Response
from lanner.service.core.pipeline import Pipeline
from lanner.service.core.refusal import Kind, Refusal
from lanner.service.core.served import ServedModel
from lanner.service.core.vectors import (
    base64_rows,
    has_unit_length,
    quantized,
    rows_of,
    shaped,
    to_json,
)
from lanner.service.dialects import ranking
from lanner.service.dialects.dialect import Route, answered, decode, refusal_headers, report_cut
from lanner.text.cutting import Cut

InputType = Literal["search_document", "search_query", "classification", "clustering", "image"]
EmbeddingType = Literal["float", "int8", "uint8", "binary", "ubinary", "base64"]
#: The names of a checkpoint's prompts for each type of input, the likeliest first.
_PROMPTS = {
    "search_query": ("query", "search_query"),
    "search_document": ("document", "passage", "corpus", "search_document"),
    "classification": ("classification",),
    "clustering": ("clustering",),
}
_ENDS: dict[str | None, Cut] = {None: "right", "NONE": "no", "START": "left", "END": "right"}


class Content(msgspec.Struct):
    """A piece of an input."""

    type: str
    text: str | None = None


class Input(msgspec.Struct):
    """An input of several pieces."""

    content: list[Content]


class Embed(msgspec.Struct):
    """The body of ``POST /v2/embed`` and ``/v1/embed``."""

    model: str | None = None
    texts: list[str] | None = None
    inputs: list[Input] | None = None
    images: list[str] | None = None
    input_type: InputType | None = None
    embedding_types: list[EmbeddingType] | None = None
    output_dimension: int | None = None
    max_tokens: int | None = None
    truncate: Literal["NONE", "START", "END"] | None = None


_EMBED = msgspec.json.Decoder(Embed)


async def embed(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``POST /v2/embed``."""
    asked = decode(_EMBED, request)
    return await _embedded(request, pipeline, asked, asked.embedding_types or ["float"])


async def embed_v1(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``POST /v1/embed``: a list of vectors if no types are asked for."""
    asked = decode(_EMBED, request)
    return await _embedded(request, pipeline, asked, asked.embedding_types)


async def _embedded(
    request: Request, pipeline: Pipeline, asked: Embed, types: list[EmbeddingType] | None
) -> Response:
    texts = _texts(asked)
    served, alias = pipeline.model(request, asked.model, "embed")
    task, prompt = (alias, alias) if alias is not None else _task(served, asked.input_type)
    rows, tokens = await pipeline.rows(
        request,
        served.way(task),
        texts,
        prompt=served.prompt(prompt),
        end=_ENDS[asked.truncate],
    )
    with request.part("encode"):
        is_unit = has_unit_length(served)
        vectors = shaped(rows, served, dimensions=asked.output_dimension, is_normalized=is_unit)
        listed: object
        if types is None:
            listed = rows_of(vectors)
        else:
            listed = {one: _typed(vectors, served, one, is_unit=is_unit) for one in types}
        content = {
            "id": ranking.new_id(),
            "response_type": "embeddings_floats" if types is None else "embeddings_by_type",
            "embeddings": listed,
            "texts": texts,
            "meta": {
                "api_version": {"version": "1" if types is None else "2"},
                "billed_units": {"input_tokens": tokens.count},
                **_warnings(tokens.cut),
            },
        }
        return report_cut(request, Response(to_json(content)))


def _typed(
    vectors: NDArray[np.float32], served: ServedModel, kind: EmbeddingType, *, is_unit: bool
) -> object:
    if kind == "float":
        return rows_of(vectors)
    if kind == "base64":
        return base64_rows(vectors)
    return rows_of(quantized(vectors, served, kind, is_normalized=is_unit))


def _texts(asked: Embed) -> list[str]:
    is_image = asked.images or asked.input_type == "image"
    given = [piece for one in asked.inputs or () for piece in one.content]
    if is_image or any(piece.text is None for piece in given):
        msg = "the models of this service read texts, not images"
        raise Refusal(Kind.INVALID, msg, param="images")
    if asked.max_tokens is not None:
        msg = "max_tokens is not supported: long texts are cut at the model's own limit"
        raise Refusal(Kind.INVALID, msg, param="max_tokens")
    of_inputs = [" ".join(piece.text or "" for piece in one.content) for one in asked.inputs or ()]
    return [*(asked.texts or ()), *of_inputs]


def _task(served: ServedModel, input_type: str | None) -> tuple[str | None, str | None]:
    """Return the task for a type of input, and the name of the checkpoint's prompt, or None."""
    known = served.manifest.prompts
    names = _PROMPTS.get(input_type or "", ())
    return next(iter(names), None), next((name for name in names if name in known), None)


def _warnings(cut: list[int]) -> dict[str, object]:
    if not cut:
        return {}
    listed = ", ".join(map(str, cut[:100]))
    return {"warnings": [f"texts were cut to the model's limit, those at index {listed}"]}


async def rerank(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``POST /v2/rerank``."""
    asked = decode(ranking.DECODER, request)
    results, _ = await ranking.ranked(request, pipeline, asked)
    content = {
        "id": ranking.new_id(),
        "results": results,
        "meta": {
            "api_version": {"version": "2"},
            "billed_units": {"search_units": 1},
            **_warnings(request.cut),
        },
    }
    return report_cut(request, answered(request, content))


def refuse(refusal: Refusal) -> Response:
    """Return a refusal in the shape of Cohere."""
    content = {"message": refusal.message}
    return Response(to_json(content), refusal.kind.status, headers=refusal_headers(refusal))


ROUTES = (
    Route("POST", "/v2/embed", embed, refuse, Embed),
    Route("POST", "/v1/embed", embed_v1, refuse, Embed),
    Route("POST", "/v2/rerank", rerank, refuse, ranking.Rerank),
)

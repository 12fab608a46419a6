"""The route ``/`` of TEI: the task of the model, as Hugging Face's clients send it."""

from dataclasses import replace
from typing import Literal

import msgspec

from lanner.service.core.exchange import Request, Response
from lanner.service.core.pipeline import Pipeline
from lanner.service.dialects import tei, tei_heads
from lanner.service.dialects.dialect import Route, answered, decode
from lanner.service.dialects.tei_answers import refuse


class TagParameters(msgspec.Struct):
    """The parameters of a token classification."""

    aggregation_strategy: Literal["simple", "first", "average", "max"] = "simple"
    ignore_labels: list[str] = []


class Tag(msgspec.Struct):
    """The body of ``POST /`` for the head `tag`, and of ``POST /tag``."""

    inputs: str | list[str]
    parameters: TagParameters | None = None
    model: str | None = None


_TAG = msgspec.json.Decoder(Tag)


async def root(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``POST /``: embeddings, similarities, ranks, labels or entities, by the model."""
    served = tei.first_model(request, pipeline)
    request.values = (served.name,)
    answers = {
        "embed": tei.embed,
        "score": tei.rerank,
        "classify": tei.predict,
        "sparse": tei_heads.embed_sparse,
        "tokens": tei_heads.embed_all,
    }
    answer = answers.get(served.head, tag)
    # Hugging Face's clients send sentences to compare to the same address.
    if (
        answer is tei.embed
        and b'"source_sentence"' in request.body
        and b'"sentences"' in request.body
    ):
        answer = tei.similarity
    return await answer(request, pipeline)


async def tag(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``POST /tag``: entities in the shape of a transformers pipeline."""
    asked = decode(_TAG, request)
    given = asked.parameters or TagParameters()
    name = request.values[0] if request.values else asked.model
    served, _ = pipeline.model(request, name, "tag")
    is_single = isinstance(asked.inputs, str)
    texts = [asked.inputs] if isinstance(asked.inputs, str) else asked.inputs
    found = await pipeline.entities(request, served, texts, strategy=given.aggregation_strategy)
    answers = [
        [
            {
                "entity_group": entity.label,
                "score": entity.score,
                "word": entity.text,
                "start": entity.start,
                "end": entity.end,
            }
            for entity in entities
            if entity.label not in given.ignore_labels
        ]
        for entities in found
    ]
    return tei.timed(request, answered(request, answers[0] if is_single else answers))


_OWN = (
    Route("POST", "/tag", tag, refuse, Tag),
    *tei.ROUTES,
    *tei_heads.ROUTES,
)
#: The routes of TEI, and the same below the name of a model: ``/models/minilm/embed``.
ROUTES = (
    Route("POST", "/", root, refuse),
    Route("POST", "/models/{}", root, refuse),
    *_OWN,
    *(replace(route, path=f"/models/{{}}{route.path}") for route in _OWN),
)

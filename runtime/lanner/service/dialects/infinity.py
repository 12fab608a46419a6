"""The dialect of infinity, where it differs from those of OpenAI and Jina."""

from typing import cast

import msgspec
import numpy as np

from lanner.service.core.exchange import Request, Response
from lanner.service.core.pipeline import Pipeline
from lanner.service.core.vectors import to_json
from lanner.service.dialects import openai, ranking
from lanner.service.dialects.dialect import Route, answered, decode, report_cut
from lanner.text.tokenization import Pair

_CAPABILITIES = {"embed": "embed", "score": "rerank", "classify": "classify"}


class Classify(msgspec.Struct):
    """The body of ``POST /classify``."""

    input: list[str]
    model: str | None = None
    raw_scores: bool = False


_CLASSIFY = msgspec.json.Decoder(Classify)


async def embeddings(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``POST /embeddings``, in which 0 dimensions mean all."""
    asked = decode(openai.DECODER, request)
    asked.dimensions = asked.dimensions or None
    return await openai.embedded(request, pipeline, asked)


async def models(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``GET /models``: the models and what each can do."""
    del request
    listed = [
        {
            "id": one.name,
            "object": "model",
            "backend": one.model.runner.engine.name,
            "capabilities": [_CAPABILITIES.get(one.head, str(one.head))],
            "stats": {},
        }
        for one in pipeline.catalogue
    ]
    return Response(to_json({"object": "list", "data": listed}))


async def rerank(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``POST /infinity/rerank``: a document is a text, not an object."""
    asked = decode(ranking.DECODER, request)
    results, served = await ranking.ranked(request, pipeline, asked)
    if asked.return_documents:
        documents = ranking.texts_of(asked)
        for result in results:
            result["document"] = documents[cast("int", result["index"])]
    return ranking.answer(request, asked, served, results)


async def classify(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``POST /classify``: the labels of each text, best first."""
    asked = decode(_CLASSIFY, request)
    served, _ = pipeline.model(request, asked.model, "classify")
    inputs: list[str | Pair] = [*asked.input]
    logits, tokens = await pipeline.rows(request, served, inputs)
    scores = logits if asked.raw_scores else served.activated(logits)
    labels = served.manifest.labels
    content = {
        "object": "classify",
        "data": [
            [{"score": float(row[i]), "label": labels[i]} for i in np.argsort(-row, kind="stable")]
            for row in scores
        ],
        "model": asked.model or served.name,
        "usage": {"prompt_tokens": tokens.count, "total_tokens": tokens.count},
    }
    return report_cut(request, answered(request, content))


#: The routes without a version are infinity's defaults, except `/rerank`, which TEI and vLLM also
#: have.
ROUTES = (
    Route("POST", "/infinity/rerank", rerank, openai.refuse, ranking.Rerank),
    *(
        route
        for prefix in ("", "/infinity")
        for route in (
            Route("POST", f"{prefix}/embeddings", embeddings, openai.refuse, openai.Embeddings),
            Route("POST", f"{prefix}/classify", classify, openai.refuse, Classify),
            Route("GET", f"{prefix}/models", models, openai.refuse),
        )
    ),
)

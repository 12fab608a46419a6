"""The dialect of Text Embeddings Inference (TEI)."""

from typing import Literal

import msgspec
import numpy as np

from lanner.service.core.exchange import Request, Response
from lanner.service.core.pipeline import Pipeline
from lanner.service.core.refusal import Kind, Refusal
from lanner.service.core.served import ServedModel
from lanner.service.core.vectors import rows_of, shaped, to_json
from lanner.service.dialects import ranking, tei_answers, tei_tokens
from lanner.service.dialects.dialect import Route, answered, decode, ending, report_cut
from lanner.vectors.similarity import normalize

Direction = Literal["Left", "Right", "left", "right"]
Texts = str | list[str | int | list[int]]


class Embed(msgspec.Struct):
    """The body of ``POST /embed``."""

    inputs: Texts
    normalize: bool = True
    truncate: bool | None = None
    truncation_direction: Direction = "Right"
    prompt_name: str | None = None
    dimensions: int | None = None
    model: str | None = None


class SentencePairs(msgspec.Struct):
    """The inputs of ``POST /similarity``."""

    source_sentence: str
    sentences: list[str]


class SimilarityParameters(msgspec.Struct):
    """The parameters of ``POST /similarity``."""

    truncate: bool | None = None
    truncation_direction: Direction = "Right"
    prompt_name: str | None = None


class Similarity(msgspec.Struct):
    """The body of ``POST /similarity``."""

    inputs: SentencePairs
    parameters: SimilarityParameters | None = None
    model: str | None = None


class Rerank(msgspec.Struct):
    """The body of ``POST /rerank``."""

    query: str
    texts: list[str]
    truncate: bool | None = None
    truncation_direction: Direction = "Right"
    raw_scores: bool = False
    return_text: bool = False
    model: str | None = None


class Predict(msgspec.Struct):
    """The body of ``POST /predict``."""

    inputs: str | list[str | list[str]]
    truncate: bool | None = None
    truncation_direction: Direction = "Right"
    raw_scores: bool = False
    model: str | None = None


_EMBED, _SIMILARITY = msgspec.json.Decoder(Embed), msgspec.json.Decoder(Similarity)
_RERANK, _PREDICT = msgspec.json.Decoder(Rerank), msgspec.json.Decoder(Predict)


async def embed(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``POST /embed``."""
    asked = decode(_EMBED, request)
    served, alias = pipeline.model(request, _name(request, asked.model), "embed")
    name = asked.prompt_name if alias is None else alias
    texts = tei_tokens.texts_of(asked.inputs, served.way(name))
    rows, _ = await pipeline.rows(
        request,
        served.way(name),
        texts,
        prompt=served.prompt(name),
        end=ending(asked.truncate, asked.truncation_direction),
    )
    with request.part("encode"):
        vectors = shaped(rows, served, dimensions=asked.dimensions, is_normalized=asked.normalize)
        if request.accepts(b"application/octet-stream"):
            shape = ",".join(map(str, vectors.shape))
            body = np.ascontiguousarray(vectors, "<f4").tobytes()
            answer = Response(
                body, media_type="application/octet-stream", headers={"x-lanner-shape": shape}
            )
        else:
            answer = Response(to_json(rows_of(vectors)))
    return timed(request, answer)


async def similarity(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``POST /similarity``."""
    asked = decode(_SIMILARITY, request)
    given = asked.parameters or SimilarityParameters()
    served, alias = pipeline.model(request, _name(request, asked.model), "embed")
    name = given.prompt_name if alias is None else alias
    if not asked.inputs.sentences:
        msg = "the request has no sentences to compare with"
        raise Refusal(Kind.EMPTY, msg, param="inputs")
    rows, _ = await pipeline.rows(
        request,
        served.way(name),
        [asked.inputs.source_sentence, *asked.inputs.sentences],
        prompt=served.prompt(name),
        end=ending(given.truncate, given.truncation_direction),
    )
    vectors = normalize(rows)
    return timed(request, answered(request, vectors[1:] @ vectors[0]))


async def rerank(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``POST /rerank``; Jina's clients send their requests to the same path."""
    if ranking.is_of_documents(request):
        return await ranking.rerank(request, pipeline)
    asked = decode(_RERANK, request)
    served, _ = pipeline.model(request, _name(request, asked.model), "score")
    scores = await ranking.scores(
        request,
        pipeline,
        served,
        asked.query,
        asked.texts,
        end=ending(asked.truncate, asked.truncation_direction),
        is_raw=asked.raw_scores,
    )
    order = np.argsort(-scores, kind="stable")
    ranks: list[dict[str, object]] = [
        {"index": int(row), "score": float(scores[row])} for row in order
    ]
    if asked.return_text:
        for rank, row in zip(ranks, order, strict=True):
            rank["text"] = asked.texts[row]
    return timed(request, answered(request, ranks))


async def predict(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``POST /predict``: ``["a", "b"]`` is one pair, and ``[["a"], ["a", "b"]]`` a batch."""
    asked = decode(_PREDICT, request)
    served, _ = pipeline.model(request, _name(request, asked.model), "classify")
    inputs, is_single = _predicted(asked.inputs)
    logits, _ = await pipeline.rows(
        request, served, inputs, end=ending(asked.truncate, asked.truncation_direction)
    )
    scores = logits if asked.raw_scores else served.activated(logits)
    labels = served.manifest.labels
    answers = [
        [{"score": float(row[i]), "label": labels[i]} for i in np.argsort(-row, kind="stable")]
        for row in scores
    ]
    return timed(request, answered(request, answers[0] if is_single else answers))


def _predicted(inputs: str | list[str | list[str]]) -> tuple[list[str | tuple[str, str]], bool]:
    """Return the texts and pairs to classify, and True if there is only one."""
    if isinstance(inputs, str):
        return [inputs], True
    if inputs and all(isinstance(one, str) for one in inputs):
        return [_text_or_pair(inputs)], True
    return [_text_or_pair(one) for one in inputs], False


def _text_or_pair(item: str | list[str] | list[str | list[str]]) -> str | tuple[str, str]:
    if isinstance(item, list) and len(item) in (1, 2):
        first, last = item[0], item[-1]
        if isinstance(first, str) and isinstance(last, str):
            return first if len(item) == 1 else (first, last)
    msg = "inputs must be a text, a pair of texts, or a list of lists of one or two texts"
    raise Refusal(Kind.INVALID, msg, param="inputs")


async def info(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``GET /info``."""
    served = first_model(request, pipeline)
    return Response(to_json(tei_answers.info(served, pipeline)))


def first_model(request: Request, pipeline: Pipeline) -> ServedModel:
    """Return the model that the path names, or the first of the service."""
    name = _name(request, None) or next(iter(pipeline.catalogue)).name
    return pipeline.model(request, name)[0]


def _name(request: Request, given: str | None) -> str | None:
    """Return the name of the model in the path or, without one, in the body."""
    return request.values[0] if request.values else given


def timed(request: Request, answer: Response) -> Response:
    """Return an answer with TEI's times, and the texts that were cut, in its headers."""
    tei_answers.add_times(request, answer)
    return report_cut(request, answer)


ROUTES = (
    Route("POST", "/embed", embed, tei_answers.refuse, Embed),
    Route("POST", "/similarity", similarity, tei_answers.refuse, Similarity),
    Route("POST", "/rerank", rerank, tei_answers.refuse, Rerank),
    Route("POST", "/predict", predict, tei_answers.refuse, Predict),
    Route("POST", "/tokenize", tei_tokens.tokenize, tei_answers.refuse, tei_tokens.Tokenize),
    Route("POST", "/decode", tei_tokens.decode_ids, tei_answers.refuse, tei_tokens.Decode),
    Route("GET", "/info", info, tei_answers.refuse),
)

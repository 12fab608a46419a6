"""The routes of TEI for the heads `sparse` and `tokens`: ``/embed_sparse`` and ``/embed_all``."""

from typing import cast

import msgspec

from lanner.models.sparse import SparseModel
from lanner.models.tokens import DOCUMENT, QUERY, Reading, TokensModel
from lanner.service.core.exchange import Request, Response
from lanner.service.core.pipeline import Pipeline
from lanner.service.core.refusal import Kind, Refusal
from lanner.service.core.vectors import rows_of
from lanner.service.dialects import tei_tokens
from lanner.service.dialects.dialect import Route, answered, decode, ending
from lanner.service.dialects.tei import Direction, Texts, timed
from lanner.service.dialects.tei_answers import refuse
from lanner.text.cutting import Cut, Cutter
from lanner.vectors.similarity import Vectors
from lanner.vectors.sparse import SparseRow

#: Texts whose dense vectors are in memory at a time: 8 MB with a vocabulary of 30,522 terms.
_TEXTS_AT_ONCE = 64


class EmbedOther(msgspec.Struct):
    """The body of ``POST /embed_sparse`` and ``/embed_all``."""

    inputs: Texts
    truncate: bool | None = None
    truncation_direction: Direction = "Right"
    prompt_name: str | None = None
    model: str | None = None


_DECODER = msgspec.json.Decoder(EmbedOther)


async def embed_sparse(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``POST /embed_sparse``: the terms of each text with their weights."""
    asked = decode(_DECODER, request)
    name = request.values[0] if request.values else asked.model
    served, alias = pipeline.model(request, name, "sparse")
    texts = tei_tokens.texts_of(asked.inputs, served)
    pipeline.check(texts)
    most = cast("SparseModel", served.model).max_active_dims
    prompt = served.prompt(asked.prompt_name if alias is None else alias)
    found, cut, tokens = list[list[dict[str, float]]](), list[int](), 0
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        rows, of_part = await pipeline.rows(
            request,
            served,
            texts[start : start + _TEXTS_AT_ONCE],
            prompt=prompt,
            end=ending(asked.truncate, asked.truncation_direction),
        )
        with request.part("encode"):
            found += [_terms(SparseRow.of(row, most)) for row in rows]
        cut += [start + index for index in of_part.cut]
        tokens += of_part.count
        request.texts, request.tokens, request.cut = start + len(rows), tokens, cut
        pipeline.check_tokens(tokens)
    return timed(request, answered(request, found))


def _terms(row: SparseRow) -> list[dict[str, float]]:
    pairs = zip(row.indices.tolist(), row.values.tolist(), strict=True)
    return [{"index": index, "value": value} for index, value in pairs]


async def embed_all(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``POST /embed_all``: the vectors of each text's tokens, as a query or a document."""
    asked = decode(_DECODER, request)
    name = request.values[0] if request.values else asked.model
    served, alias = pipeline.model(request, name, "tokens")
    texts = tei_tokens.texts_of(asked.inputs, served)
    model = cast("TokensModel", served.model)
    prompt_name = asked.prompt_name if alias is None else alias
    task = QUERY if prompt_name == QUERY else DOCUMENT
    # The prompt of the task needs no name; any other must be one of the checkpoint's.
    of_task = model.prompt_of_task(task) if prompt_name in (None, QUERY, DOCUMENT) else prompt_name
    prompt = "" if of_task is None else served.prompt(of_task)
    own = tei_tokens.own_tokenizer(served)
    end = ending(asked.truncate, asked.truncation_direction)
    _require_side(end, "left" if own.cuts_left else "right")
    reading = Reading(model.manifest.late_interaction, task)
    cutter = Cutter(reading.tokenizer(own))

    def encode(some: list[str], timeout_ms: float | None) -> list[Vectors]:
        return model.encode_tokens(some, prompt=prompt, task=task, timeout_ms=timeout_ms)

    found = await pipeline.encoded(
        request,
        served,
        texts,
        cut=lambda some: cutter.cut([prompt + text for text in some], end=end),
        encode=encode,
    )
    return timed(request, answered(request, list(map(rows_of, found))))


def _require_side(end: Cut, side: str) -> None:
    """Check that long texts are to lose the end that the checkpoint takes.

    Raises:
        Refusal: They are to lose the other.
    """
    if end not in (None, "no", side):
        msg = f"the model cuts long texts on the {side}: leave truncation_direction out"
        raise Refusal(Kind.INVALID, msg, param="truncation_direction")


ROUTES = (
    Route("POST", "/embed_all", embed_all, refuse, EmbedOther),
    Route("POST", "/embed_sparse", embed_sparse, refuse, EmbedOther),
)

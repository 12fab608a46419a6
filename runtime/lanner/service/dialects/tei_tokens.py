"""The routes of TEI that tokenize: texts to tokens and back."""

import msgspec

from lanner.service.core.exchange import Request, Response
from lanner.service.core.pipeline import Pipeline
from lanner.service.core.refusal import Kind, Refusal
from lanner.service.core.served import ServedModel
from lanner.service.core.vectors import to_json
from lanner.service.dialects.dialect import decode
from lanner.text.tokenization import Tokenizer


class Tokenize(msgspec.Struct):
    """The body of ``POST /tokenize``."""

    inputs: str | list[str]
    add_special_tokens: bool = True
    prompt_name: str | None = None
    model: str | None = None


class Decode(msgspec.Struct):
    """The body of ``POST /decode``."""

    ids: list[int | list[int]]
    skip_special_tokens: bool = True
    model: str | None = None


_TOKENIZE, _DECODE = msgspec.json.Decoder(Tokenize), msgspec.json.Decoder(Decode)


async def tokenize(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``POST /tokenize``: the tokens of each text, uncut."""
    asked = decode(_TOKENIZE, request)
    served, tokenizer = _tokenizer(request, pipeline, asked.model)
    given = [asked.inputs] if isinstance(asked.inputs, str) else asked.inputs
    pipeline.check(given)
    if asked.prompt_name is not None:
        tokenizer = own_tokenizer(served.way(asked.prompt_name))
    prompt = "" if asked.prompt_name is None else served.prompt(asked.prompt_name)
    texts = [prompt + text for text in given]
    encodings = await served.in_thread(
        lambda: tokenizer.whole(texts, add_special_tokens=asked.add_special_tokens)
    )
    request.texts, request.tokens = len(texts), sum(map(len, encodings))
    answers = [
        [
            {
                "id": number,
                "text": token if is_special else text[start:end],
                "special": bool(is_special),
                "start": None if is_special else start,
                "stop": None if is_special else end,
            }
            for number, token, is_special, (start, end) in zip(
                one.ids, one.tokens, one.special_tokens_mask, one.offsets, strict=True
            )
        ]
        for text, one in zip(texts, encodings, strict=True)
    ]
    return Response(to_json(answers))


async def decode_ids(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``POST /decode``: the text of each list of token ids."""
    asked = decode(_DECODE, request)
    _, tokenizer = _tokenizer(request, pipeline, asked.model)
    lists = [one for one in asked.ids if isinstance(one, list)]
    if lists and len(lists) < len(asked.ids):
        msg = "ids must be a list of token ids, or a list of such lists"
        raise Refusal(Kind.INVALID, msg, param="ids")
    if not asked.ids:
        msg = "the request holds no token id"
        raise Refusal(Kind.EMPTY, msg, param="ids")
    ids = lists or [[one for one in asked.ids if isinstance(one, int)]]
    request.texts, request.tokens = len(ids), sum(map(len, ids))
    texts = tokenizer.decode(ids, skip_special_tokens=asked.skip_special_tokens)
    return Response(to_json(texts))


def texts_of(inputs: str | list[str | int | list[int]], served: ServedModel) -> list[str]:
    """Return inputs as texts: lists of token ids of the model's own vocabulary are decoded.

    Raises:
        Refusal: Texts and ids are mixed in another way, or the tokenizer has no ids.
    """
    if isinstance(inputs, str):
        return [inputs]
    if inputs and all(isinstance(one, int) for one in inputs):
        inputs = [[one for one in inputs if isinstance(one, int)]]
    if any(isinstance(one, int) for one in inputs):
        msg = "inputs must be a text, a list of token ids, or a list of these"
        raise Refusal(Kind.INVALID, msg, param="inputs")
    ids = [one for one in inputs if isinstance(one, list)]
    decoded = iter(own_tokenizer(served).decode(ids) if ids else [])
    return [one if isinstance(one, str) else next(decoded) for one in inputs]


def own_tokenizer(served: ServedModel) -> Tokenizer:
    """Return a model's tokenizer.

    Raises:
        Refusal: It is not of the `tokenizers` library.
    """
    tokenizer = served.model.tokenizer
    if isinstance(tokenizer, Tokenizer):
        return tokenizer
    msg = f"the model {served.name} looks up words, and has no tokens with characters"
    raise Refusal(Kind.WRONG_HEAD, msg)


def _tokenizer(
    request: Request, pipeline: Pipeline, given: str | None
) -> tuple[ServedModel, Tokenizer]:
    name = request.values[0] if request.values else given
    served, _ = pipeline.model(request, name or next(iter(pipeline.catalogue)).name)
    return served, own_tokenizer(served)

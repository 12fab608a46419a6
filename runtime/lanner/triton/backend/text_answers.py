"""Requests of a text model, answered together."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.heads import InputKind
from lanner.artifact.manifest import Manifest
from lanner.errors import InputError
from lanner.models.base import Model
from lanner.models.prompts import PROMPTS_OF_TASK, PromptedModel
from lanner.models.tagging import TaggingModel
from lanner.models.tokens import DOCUMENT, TokensModel
from lanner.text.tokenization import Pair
from lanner.triton.contract.tensors import (
    CONTINUES,
    OFFSETS,
    PROMPT_NAME,
    TEXT,
    TEXT_PAIR,
    TOKEN_MASK,
)

Tensors = dict[str, NDArray[Any]]
#: Triton joins requests; only the token budget limits batches.
_ANY_NUMBER = 1 << 30


@dataclass(frozen=True)
class TextRequest:
    """The content of a request: texts, or pairs of them.

    Attributes:
        texts: The texts or pairs.
        prompt_names: The name of each text's prompt, "" for none; empty for the default prompt.
    """

    texts: list[str | Pair]
    prompt_names: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        texts: NDArray[Any] | None,
        pairs: NDArray[Any] | None,
        manifest: Manifest,
        prompt_names: NDArray[Any] | None = None,
    ) -> Self:
        """Read the tensors of a request, BYTES [texts, 1] of UTF-8.

        Raises:
            InputError: A tensor is missing, has another shape or is not UTF-8, the head takes no
                pairs, or there is no such prompt.
        """
        if texts is None:
            msg = f"{manifest.name} takes {TEXT}, and the request lacks it"
            raise InputError(msg)
        left = _decoded(texts, TEXT)
        if pairs is None:
            if manifest.head_record.inputs is InputKind.PAIRS:
                msg = f"{manifest.name} scores pairs: give {TEXT_PAIR} beside {TEXT}"
                raise InputError(msg)
            return cls([*left], _prompt_names(prompt_names, len(left), manifest))
        if not manifest.head_record.takes_pairs:
            msg = f"{manifest.name} has the head {manifest.head!r}, which takes no {TEXT_PAIR}"
            raise InputError(msg)
        right = _decoded(pairs, TEXT_PAIR)
        if len(left) != len(right):
            msg = f"{TEXT} has {len(left)} texts and {TEXT_PAIR} {len(right)}: give as many"
            raise InputError(msg)
        return cls(list(zip(left, right, strict=True)))


def answer_texts(requests: Sequence[TextRequest], model: Model) -> list[Tensors]:
    """Return the output tensors of each request.

    Raises:
        LannerError: See the methods of the model's head.
    """
    texts = [text for request in requests for text in request.texts]
    record = model.manifest.head_record
    if record.by_token and record.answers_vectors:
        return _token_vectors(requests, cast("TokensModel", model))
    if record.by_token:
        return _tagged(requests, cast("TaggingModel", model), texts)
    if any(request.prompt_names for request in requests):
        output = _prompted(requests, cast("PromptedModel", model))
    else:
        output = model.outputs(texts, batch_size=_ANY_NUMBER)
    ends = np.cumsum([len(request.texts) for request in requests])
    name = model.manifest.outputs[0]
    return [{name: part} for part in np.split(output, ends[:-1])]


def _tagged(
    requests: Sequence[TextRequest], model: TaggingModel, texts: list[Any]
) -> list[Tensors]:
    found = iter(model.token_scores(texts, _ANY_NUMBER))
    answers: list[Tensors] = []
    for request in requests:
        tokens = [next(found) for _ in request.texts]
        longest = max((len(one.offsets) for one in tokens), default=0)
        count = len(tokens)
        # Padding has logits of 0 and offsets that no token has.
        logits = np.zeros((count, longest, model.manifest.dimension), np.float32)
        offsets = np.full((count, longest, 2), -1, np.int64)
        continues = np.zeros((count, longest), np.int64)
        for row, one in enumerate(tokens):
            end = len(one.offsets)
            # Joined windows are probabilities; their logarithms are logits of the same softmax.
            with np.errstate(divide="ignore"):
                logits[row, :end] = np.log(one.scores)
            offsets[row, :end] = one.offsets
            continues[row, :end] = one.continues
        answers.append({model.manifest.outputs[0]: logits, OFFSETS: offsets, CONTINUES: continues})
    return answers


def _token_vectors(requests: Sequence[TextRequest], model: TokensModel) -> list[Tensors]:
    """Return the vectors of the tokens of all texts, each read as its task says."""
    places: dict[str, list[tuple[int, int]]] = {}
    for number, request in enumerate(requests):
        tasks = request.prompt_names or [""] * len(request.texts)
        for row, task in enumerate(tasks):
            places.setdefault(task or DOCUMENT, []).append((number, row))
    found: list[list[Any]] = [[None] * len(request.texts) for request in requests]
    for task, of_task in places.items():
        texts = [cast("str", requests[number].texts[row]) for number, row in of_task]
        vectors = model.encode_tokens(texts, batch_size=_ANY_NUMBER, task=task)
        for (number, row), one in zip(of_task, vectors, strict=True):
            found[number][row] = one
    answers: list[Tensors] = []
    for of_request in found:
        longest = max(map(len, of_request), default=0)
        output = np.zeros((len(of_request), longest, model.manifest.dimension), np.float32)
        mask = np.zeros((len(of_request), longest), np.int64)
        for row, one in enumerate(of_request):
            output[row, : len(one)], mask[row, : len(one)] = one, 1
        answers.append({model.manifest.outputs[0]: output, TOKEN_MASK: mask})
    return answers


def _prompt_names(values: NDArray[Any] | None, count: int, manifest: Manifest) -> list[str]:
    if values is None:
        return []
    names = _decoded(values, PROMPT_NAME)
    if len(names) != count:
        msg = f"{TEXT} has {count} texts and {PROMPT_NAME} {len(names)}: give as many"
        raise InputError(msg)
    # Of the head `tokens`, they are the tasks.
    prompts = manifest.prompts if manifest.late_interaction is None else PROMPTS_OF_TASK
    for name in names:
        if name and name not in prompts:
            known = ", ".join(map(repr, prompts)) or "none"
            msg = f"{manifest.name} has no prompt {name!r}: it has {known}"
            raise InputError(msg)
    return names


def _prompted(requests: Sequence[TextRequest], model: PromptedModel) -> NDArray[np.float32]:
    """Return the vectors of all texts, each with its own prompt."""
    rows_of: dict[str | None, list[int]] = {}
    texts: list[str] = []
    for request in requests:
        names: list[str | None] = [*request.prompt_names] or [None] * len(request.texts)
        for text, name in zip(cast("list[str]", request.texts), names, strict=True):
            rows_of.setdefault(name, []).append(len(texts))
            texts.append(text)
    output = np.empty((len(texts), model.manifest.dimension), np.float32)
    for name, rows in rows_of.items():
        output[rows] = model.outputs(
            [texts[row] for row in rows],
            prompt_name=name or None,
            prompt="" if name == "" else None,
            batch_size=_ANY_NUMBER,
        )
    return output


def _decoded(values: NDArray[Any], name: str) -> list[str]:
    if values.ndim != 2 or values.shape[1] != 1:
        msg = f"{name} must be [texts, 1], not {list(values.shape)}"
        raise InputError(msg)
    try:
        return [bytes(value).decode() for value in values[:, 0]]
    except UnicodeDecodeError as error:
        msg = f"{name} holds what is no UTF-8 ({error.reason} at byte {error.start}): encode it so"
        raise InputError(msg) from None

"""Texts that the server tokenises: a stand-in for the tokenizer and its tokens in the client."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.activation import softmax
from lanner.artifact.manifest import Manifest
from lanner.errors import EngineError, UnsupportedError
from lanner.models.base import finite_answers
from lanner.models.embedding import EmbeddingModel
from lanner.models.prompts import PromptedModel
from lanner.models.sparse import SparseModel
from lanner.models.tagging import TaggingModel
from lanner.models.tokens import TokensModel
from lanner.running.runner import NotFiniteError, Part, Runner, Sequences
from lanner.text.entities import TokenScores
from lanner.text.tokenization import Pair, check_texts, check_texts_or_pairs
from lanner.triton.client.triton_engine import TritonEngine
from lanner.triton.contract.tensors import (
    CONTINUES,
    OFFSETS,
    PROMPT_NAME,
    TEXT,
    TEXT_PAIR,
    TOKEN_MASK,
)
from lanner.vectors.similarity import Vectors


@dataclass(frozen=True, slots=True)
class ServerText:
    """A text or a pair in UTF-8, which the server tokenises.

    It counts as one token per byte, which bounds and sorts requests like tokens do, plus one for
    the end of each text, so that an empty text is sent like any other.

    Attributes:
        texts: One text, or the two of a pair.
        prompt_name: The name of the prompt that the server puts before it, "" for none; None if the
            server puts its default one there, or has no prompts.
    """

    texts: tuple[bytes, ...]
    prompt_name: str | None = None

    def __len__(self) -> int:
        return sum(map(len, self.texts)) + len(self.texts)


class EncodedText(NamedTuple):
    """A text or a pair in the fields of `lanner.text.tokenization.Encoded`."""

    ids: ServerText
    type_ids: tuple[int, ...] = ()


class ServerTokenizer:
    """A stand-in for a tokenizer that passes texts on unchanged.

    The server adds a prompt: the default one, or one that a request names.

    Args:
        manifest: The manifest of the model.
        takes_prompts: True if the model has the input for names of prompts.
    """

    def __init__(self, manifest: Manifest, *, takes_prompts: bool = False) -> None:
        self._manifest = manifest
        self._takes_prompts = takes_prompts
        name = manifest.default_prompt_name
        self._prompt = "" if name is None else manifest.prompts.get(name, "")

    def encode(self, texts: Sequence[str]) -> list[ServerText]:
        """See `lanner.text.tokenization.TextTokenizer.encode`.

        Raises:
            UnsupportedError: A text lacks the prompt that the server would add.
        """
        check_texts(texts)
        if not all(text.startswith(self._prompt) for text in texts):
            msg = (
                f"the text model of {self._manifest.name} puts the prompt {self._prompt!r} before "
                "every text: connect to the token model for another one, or for none"
            )
            raise UnsupportedError(msg)
        return [ServerText((text[len(self._prompt) :].encode(),)) for text in texts]

    def encode_with_prompt(self, texts: Sequence[str], prompt: str) -> list[ServerText]:
        """Return texts with the name of the prompt that the server puts before them.

        Raises:
            InputTypeError: An item is not a string.
            UnsupportedError: The server cannot put this prompt before a text.
        """
        check_texts(texts)
        if not self._takes_prompts:
            if prompt and not self._manifest.pools_prompt:
                self.count_prompt_tokens(prompt)
            return self.encode([prompt + text for text in texts])
        names = [name for name, own in self._manifest.prompts.items() if own == prompt]
        if prompt and not names:
            if not self._manifest.pools_prompt:
                self.count_prompt_tokens(prompt)
            texts = [prompt + text for text in texts]
        name = names[0] if prompt and names else ""
        return [ServerText((text.encode(),), name) for text in texts]

    def encode_pairs(
        self, inputs: Sequence[str | Pair], *, with_types: bool = False
    ) -> list[EncodedText]:
        """See `lanner.text.tokenization.Tokenizer.encode_pairs`."""
        check_texts_or_pairs(inputs)
        texts = [(one,) if isinstance(one, str) else one for one in inputs]
        return [EncodedText(ServerText(tuple(text.encode() for text in item))) for item in texts]

    def count_prompt_tokens(self, prompt: str) -> int:
        """See `lanner.text.tokenization.TextTokenizer.count_prompt_tokens`.

        The server counts its own.

        Raises:
            UnsupportedError: The server would pool any other prompt.
        """
        if prompt == self._prompt:
            return 0
        msg = (
            f"{self._manifest.name} reads its prompts without pooling them, which the text model "
            f"does with its own prompts alone: connect to the token model for {prompt!r}"
        )
        raise UnsupportedError(msg)


def feed_texts(parts: Sequence[Part[ServerText]]) -> Mapping[str, NDArray[Any]]:
    """Return the tensors of texts, BYTES [texts, 1] each; see `lanner.running.runner.feed`.

    A missing second text is None; `TextEngine` sends such texts in a separate request.
    """
    items = [some.items[row] for some, rows in parts for row in rows]
    inputs = [item.texts for item in items]
    tensors = {TEXT: _column([texts[0] for texts in inputs])}
    names = [item.prompt_name for item in items]
    if any(name is not None for name in names):
        tensors[PROMPT_NAME] = _column([(name or "").encode() for name in names])
    if any(len(texts) > 1 for texts in inputs):
        tensors[TEXT_PAIR] = _column([texts[1] if len(texts) > 1 else None for texts in inputs])
    return tensors


class TextEngine(TritonEngine):
    """An engine that sends texts to a model that tokenises them."""

    def run(
        self,
        inputs: Mapping[str, NDArray[Any]],
        *,
        is_alone: bool = False,
        deadline_s: float | None = None,
    ) -> NDArray[np.float32]:
        """See `TritonEngine.run`. A request holds texts or pairs, so a mixture becomes two."""
        if TEXT_PAIR not in inputs:
            return super().run(inputs, is_alone=is_alone, deadline_s=deadline_s)
        is_pair = np.array([pair is not None for pair in inputs[TEXT_PAIR][:, 0]])
        if is_pair.all():
            return super().run(inputs, is_alone=is_alone, deadline_s=deadline_s)
        pairs = {name: column[is_pair] for name, column in inputs.items()}
        of_pairs = super().run(pairs, deadline_s=deadline_s)
        of_texts = super().run({TEXT: inputs[TEXT][~is_pair]}, deadline_s=deadline_s)
        output = np.empty((len(is_pair), *of_pairs.shape[1:]), np.float32)
        output[is_pair], output[~is_pair] = of_pairs, of_texts
        return output


class ServerPromptedModel(PromptedModel):
    """A model on a server that tokenizes and puts prompts before texts."""

    def _sequences(self, texts: list[str], prompt: str) -> Sequences[Any]:
        tokenizer = cast("ServerTokenizer", self.tokenizer)
        return Sequences(tokenizer.encode_with_prompt(texts, prompt))


class ServerEmbeddingModel(ServerPromptedModel, EmbeddingModel):
    """The head `embed` on such a server."""


class ServerSparseModel(ServerPromptedModel, SparseModel):
    """The head `sparse` on such a server."""


class ServerTokensModel(TokensModel):
    """The head `tokens` on a server that tokenizes, and reads texts as their task says."""

    def _encode_tokens(
        self,
        texts: list[str],
        task: str,
        prompt_name: str | None,
        prompt: str | None,
        *,
        batch_size: int,
        is_shown: bool,
        deadline_s: float | None,
    ) -> list[Vectors]:
        if prompt is not None or prompt_name != self.prompt_of_task(task):
            msg = (
                f"the text model of {self.manifest.name} puts the prompt of the task before each "
                "text: connect to the token model for another one, or for none"
            )
            raise UnsupportedError(msg)
        check_texts(texts)

        def answer(runner: Runner) -> list[Vectors]:
            engine = cast("TritonEngine", runner.engine)
            most = min(batch_size, engine.served.max_batch_size or batch_size)
            found: list[Vectors] = []
            for start in range(0, len(texts), most):
                found += self._ask(engine, texts[start : start + most], task, deadline_s)
            return found

        return self.of_one_version(answer)

    def _ask(
        self, engine: TritonEngine, texts: Sequence[str], task: str, deadline_s: float | None
    ) -> list[Vectors]:
        names = (self.manifest.outputs[0], TOKEN_MASK)
        inputs = {TEXT: _column([text.encode() for text in texts])}
        if self.manifest.late_interaction is not None:
            inputs[PROMPT_NAME] = _column([task.encode()] * len(texts))
        answer = engine.answer(inputs, names, deadline_s)
        vectors, mask = (answer[name] for name in names)
        wanted = (*mask.shape, self.manifest.dimension)
        is_whole = mask.ndim == 2 and len(mask) == len(texts) and vectors.shape == wanted
        if not is_whole or vectors.dtype != np.float32 or mask.dtype.kind not in "iub":
            msg = (
                f"{self.manifest.name} answered tensors of the shapes {vectors.shape} and "
                f"{mask.shape} to {len(texts)} texts: its server runs another model, make its "
                "repository with 'lanner repository'"
            )
            raise EngineError(msg)
        found = [row[kept != 0] for row, kept in zip(vectors, mask, strict=True)]
        for index, row in enumerate(found):
            if not np.isfinite(row).all():
                with finite_answers(self.manifest.name, lambda row: row):
                    raise NotFiniteError(engine.name, index)
        return found


class ServerTaggingModel(TaggingModel):
    """The head `tag` on a server that tokenises and returns the characters of each token."""

    def token_scores(
        self, texts: Sequence[str], batch_size: int = 32, *, first: int = 0, **options: Any
    ) -> list[TokenScores]:
        """See `TaggingModel.token_scores`."""
        deadline_s = options.get("deadline_s")

        def answer(runner: Runner) -> list[TokenScores]:
            engine = cast("TritonEngine", runner.engine)
            most = min(batch_size, engine.served.max_batch_size or batch_size)
            return [
                tokens
                for start in range(0, len(texts), most)
                for tokens in self._ask(
                    engine, texts[start : start + most], deadline_s, first + start
                )
            ]

        return self.of_one_version(answer)

    def _ask(
        self, engine: TritonEngine, texts: Sequence[str], deadline_s: float | None, first: int
    ) -> list[TokenScores]:
        names = (self.manifest.outputs[0], OFFSETS, CONTINUES)
        inputs = {TEXT: _column([text.encode() for text in texts])}
        found = engine.answer(inputs, names, deadline_s)
        self._require_shapes([found[name] for name in names], len(texts))
        answers = []
        columns = zip(texts, *(found[name] for name in names), strict=True)
        for index, (text, logits, offsets, continues) in enumerate(columns):
            is_token = offsets[:, 0] >= 0  # the others are padding
            starts, ends = offsets[is_token].T
            if ((starts > ends) | (ends > len(text))).any():
                msg = (
                    f"{self.manifest.name} answered tokens outside of the text at index "
                    f"{first + index}: its server runs another model"
                )
                raise EngineError(msg)
            if not np.isfinite(logits[is_token]).all():
                with finite_answers(self.manifest.name, lambda row: row):
                    raise NotFiniteError(engine.name, first + index)
            scores = softmax(logits[is_token]) if is_token.any() else logits[:0]
            answers.append(TokenScores(offsets[is_token], scores, continues[is_token] != 0))
        return answers

    def _require_shapes(self, outputs: Sequence[NDArray[Any]], count: int) -> None:
        logits, offsets, continues = outputs
        length = offsets.shape[1] if offsets.ndim == 3 else -1
        found = [logits.shape, offsets.shape, continues.shape]
        wanted = [(count, length, self.manifest.dimension), (count, length, 2), (count, length)]
        kinds = [output.dtype.kind for output in outputs]
        if found != wanted or kinds[0] != "f" or not set(kinds[1:]) <= set("iub"):
            msg = (
                f"{self.manifest.name} answered tensors of the shapes {found} to {count} texts: "
                "its server runs another model, make its repository with 'lanner repository'"
            )
            raise EngineError(msg)


def _column(texts: Sequence[bytes | None]) -> NDArray[np.object_]:
    column = np.empty((len(texts), 1), dtype=np.object_)
    column[:, 0] = texts
    return column

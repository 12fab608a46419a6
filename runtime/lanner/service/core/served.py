"""A model that the service serves: texts to rows of numbers, awaited, with their tokens counted."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.activation import ACTIVATIONS
from lanner.artifact.artifact import Artifact
from lanner.artifact.empty_answers import empty_answers
from lanner.artifact.heads import InputKind
from lanner.artifact.manifest import Manifest
from lanner.errors import ModelChangedError
from lanner.models.base import Model, of_text
from lanner.models.prompts import TASK_NAMED, PromptedModel
from lanner.models.scoring import ScoringModel
from lanner.models.tagging import TaggingModel
from lanner.monitoring.models import Models
from lanner.running.awaited import run_awaited
from lanner.running.call import Output, Rows
from lanner.running.cancellation import Cancellation, current_cancellation
from lanner.running.runner import (
    TYPE_IDS,
    NotFiniteError,
    Runner,
    Sequences,
    UnknownTokenError,
)
from lanner.service.core.refusal import Kind, Refusal
from lanner.text.cutting import Cut, Cutter, TooLongError
from lanner.text.entities import Entity
from lanner.text.long_texts import current_deadline_s
from lanner.text.tokenization import Pair
from lanner.triton.contract.served_model import carried_files

#: Texts of fewer characters than this are tokenised on the event loop, in less time than a thread
#: takes to begin; more are tokenised in a thread, which lets the loop go on.
_CHARACTERS_HERE = 4_000

Answer = TypeVar("Answer")


@dataclass
class Tokens:
    """The tokens of the texts of a request.

    Attributes:
        sequences: The tokens.
        cut: Indices of the texts that were cut.
        count: The number of all tokens.
    """

    sequences: Sequences[Sequence[int]]
    cut: list[int]
    count: int = field(init=False)

    def __post_init__(self) -> None:
        self.count = sum(map(len, self.sequences.items))


class ServedModel:
    """A model of the service, in process or on a Triton server.

    Args:
        name: The name that clients ask for.
        model: The model.
        threads: Threads for what takes long: many texts to tokenise, and entities to join.
        directory: The directory of its artifact; None for a model on a Triton server.
        version: The number of its version, which grows when its artifact is replaced.
        models: The models in whose figures its batches count; None for those of this process.
    """

    def __init__(
        self,
        name: str,
        model: Model,
        *,
        threads: ThreadPoolExecutor,
        directory: Path | None = None,
        version: int = 1,
        models: Models | None = None,
    ) -> None:
        if models is not None:
            model.count_in(models, name, str(version))
        self.name, self.model, self.version = name, model, version
        self._directory = directory
        self._threads = threads
        self._cutter = Cutter(model.tokenizer)
        self.ways = {
            task: ServedModel(name, way, threads=threads, directory=directory, version=version)
            for task, way in model.parts().items()
            if isinstance(way, Model)
        }

    def __str__(self) -> str:
        model = self.model
        return f"{self.name}: {self.head}, {model.variant.name} in {model.runner.engine.name}"

    @property
    def manifest(self) -> Manifest:
        """The manifest of its artifact."""
        return self.model.manifest

    @property
    def head(self) -> str:
        """The name of its head."""
        return self.model.manifest.head

    def require_head(self, *heads: str) -> None:
        """Check that the model has one of the heads.

        Raises:
            Refusal: It has another.
        """
        if self.head not in heads:
            msg = f"the model {self.name} has the head {self.head}, and this route needs " + (
                " or ".join(heads)
            )
            raise Refusal(Kind.WRONG_HEAD, msg, param="model")

    async def tokens(
        self,
        inputs: Sequence[str | Pair],
        *,
        prompt: str = "",
        end: Cut = None,
        deadline_s: float | None = None,
    ) -> Tokens:
        """Tokenise texts or pairs.

        Args:
            inputs: The texts or pairs.
            prompt: The prompt to put before each text.
            end: The end that a long text loses; see `lanner.text.cutting.Cutter.cut`.
            deadline_s: The time by `time.monotonic` at which to give up a long text, or None.

        Raises:
            DeadlineError: The deadline passes.
            Refusal: A text is too long and must not be cut, or is not valid Unicode.
        """
        size = texts = 0
        for one in inputs:
            if isinstance(one, str):
                size += len(one)
                texts += 1
            else:
                size += len(one[0]) + len(one[1])
        kinds = self.manifest.head_record
        if texts < len(inputs) and not kinds.takes_pairs:
            msg = f"the model {self.name} takes texts, not pairs"
            raise Refusal(Kind.INVALID, msg)
        if texts and kinds.inputs is InputKind.PAIRS:
            msg = f"the model {self.name} scores pairs of texts, not single texts"
            raise Refusal(Kind.INVALID, msg)
        cut = partial(self._tokens, inputs, prompt, end, deadline_s)
        try:
            return cut() if size < _CHARACTERS_HERE else await self.in_thread(cut)
        except TooLongError as error:
            raise Refusal(Kind.TOO_LONG, str(error)) from None

    def _tokens(
        self, inputs: Sequence[str | Pair], prompt: str, end: Cut, deadline_s: float | None
    ) -> Tokens:
        with_types = TYPE_IDS in self.manifest.inputs and self.manifest.head_record.takes_pairs
        if self._cutter.tokenizer is not self.model.tokenizer:  # the server has another version
            self._cutter = Cutter(self.model.tokenizer)
        cutter = self._cutter
        texts = [prompt + cast("str", text) for text in inputs] if prompt else inputs
        before = current_deadline_s.set(deadline_s)
        try:
            found = cutter.cut(texts, with_types=with_types, end=end)
        finally:
            current_deadline_s.reset(before)
        unpooled = 0
        if prompt and not self.manifest.pools_prompt:
            unpooled = self.model.tokenizer.count_prompt_tokens(prompt)
        return Tokens(Sequences(found.token_ids, found.type_ids, unpooled), found.cut)

    async def rows(
        self, tokens: Tokens, *, deadline_s: float | None = None, is_only: bool = False
    ) -> NDArray[np.float32]:
        """Return the graph's row for each text or pair, float32 [n, dimension].

        Args:
            tokens: The tokens.
            deadline_s: The time by `time.monotonic` at which to give up, or None.
            is_only: True if the service has no other request.

        Raises:
            ModelChangedError: The server runs another version by now: `renew` the model, and
                tokenise the texts again.
            LannerError: See `lanner.running.awaited.run_awaited`.
        """
        blocks = await self.blocks(tokens.sequences, deadline_s=deadline_s, is_only=is_only)
        count = len(tokens.sequences.items)
        if count == 1 and blocks:
            return blocks[0][1]
        output = empty_answers(self.manifest, count)
        for rows, block in blocks:
            output[rows] = block
        return output

    async def blocks(
        self,
        sequences: Sequences[Sequence[int]],
        *,
        deadline_s: float | None = None,
        is_only: bool = False,
    ) -> list[tuple[Rows, Output]]:
        """Return the answers batch by batch; see `lanner.running.awaited.run_awaited`."""
        try:
            return await run_awaited(
                self.model.runner,
                sequences,
                deadline_s=deadline_s,
                # A server's answer is awaited, however short the batch is.
                is_only=is_only and self._directory is not None,
            )
        except (UnknownTokenError, NotFiniteError) as error:
            raise of_text(error, self.manifest.name, error.row) from None

    async def renew(self) -> None:
        """Follow the server to the version that it runs by now; see `Model.of_one_version`."""
        reasons = [ModelChangedError("another version answered")]

        def once(_: Runner) -> None:
            if reasons:
                raise reasons.pop()

        await self.in_thread(lambda: self.model.of_one_version(once))

    async def tag(
        self, texts: list[str], *, strategy: str = "simple", timeout_ms: float | None = None
    ) -> list[list[Entity]]:
        """Return the entities of each text; see `lanner.models.tagging.TaggingModel.tag`."""
        model = cast("TaggingModel", self.model)
        return await self.in_thread(
            lambda: model.tag(texts, aggregation_strategy=strategy, timeout_ms=timeout_ms)
        )

    def scores(self, logits: NDArray[np.float32], *, is_raw: bool = False) -> NDArray[np.float32]:
        """Return the score of each row of logits, float32 [n].

        Args:
            logits: The rows of the head `score`.
            is_raw: True for the logits themselves, before the activation.
        """
        model = cast("ScoringModel", self.model)
        if not is_raw:
            return model.scores_of(logits)
        label = self.manifest.scored_label
        return logits[:, 0 if label is None else self.manifest.labels.index(label)]

    def activated(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the score of each label, float32 of the shape of the logits."""
        return ACTIVATIONS[self.manifest.activation](logits)

    def prompt(self, name: str | None) -> str:
        """Return the prompt of that name, or the default one for None.

        Raises:
            Refusal: There is no such prompt.
        """
        model = self.model
        if not isinstance(model, PromptedModel):
            if name is None:
                return ""
            msg = f"the model {self.name} has no prompts"
            raise Refusal(Kind.INVALID, msg, param="prompt_name")
        wanted = model.default_prompt_name if name is None else name
        if wanted is None:
            return ""
        task = None if self.manifest.task is None else TASK_NAMED.get(wanted)
        if wanted not in model.prompts and task is not None:
            named = model.prompt_of_task(task)
            return "" if named is None else model.prompts[named]
        if wanted not in model.prompts:
            # In the words of TEI, which one of its clients looks for.
            known = ", ".join(f'"{one}"' for one in model.prompts)
            msg = f"the model {self.name} has no such prompt. Available prompts: [{known}]"
            raise Refusal(Kind.INVALID, msg, param="prompt_name")
        return model.prompts[wanted]

    def way(self, name: str | None) -> "ServedModel":
        """Return the model that reads the texts with a prompt: its way, if there are several.

        Args:
            name: The name of the prompt, or a task; None for the default way.
        """
        return self.ways.get(TASK_NAMED.get(name or "", ""), self)

    def every_way(self) -> list["ServedModel"]:
        """Return the models of all ways, its own first."""
        return [self, *self.ways.values()]

    def carried_files(self) -> dict[str, str]:
        """Return the files that a client needs to tokenise, as parameters of a configuration.

        Raises:
            Refusal: The model is on another server, which its clients ask themselves.
        """
        if self._directory is None:
            msg = f"the model {self.name} is on a server of its own: ask that for its configuration"
            raise Refusal(Kind.NOT_FOUND, msg)
        artifact, own = Artifact.open(self._directory), self.manifest
        if own.task is not None and own.task in artifact.manifest.tasks:
            artifact, own = artifact.way(own.task), own.of_way(own.task)
        if artifact.manifest != own:
            msg = f"the artifact of {self.name} is being replaced: try again in a moment"
            raise Refusal(Kind.UNAVAILABLE, msg)
        return carried_files(artifact, self.version)

    async def in_thread(self, work: Callable[[], Answer]) -> Answer:
        """Return what a function returns, from a thread; a cancelled task cancels its calls."""
        cancellation, context = Cancellation(), copy_context()
        context.run(current_cancellation.set, cancellation)
        running: Any = asyncio.wrap_future(self._threads.submit(partial(context.run, work)))
        try:
            return cast("Answer", await running)
        except asyncio.CancelledError:
            cancellation.cancel()
            raise

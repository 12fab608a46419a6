"""The prompts that a model puts before texts, and the ways that texts take by their task."""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lanner.errors import InputError, UnsupportedError
from lanner.models.base import Model
from lanner.models.inputs import require_str, text_list
from lanner.running.monitored import Monitored
from lanner.running.runner import Sequences
from lanner.text.tokenization import Pair, check_texts

#: Task -> the names of its prompt, of which a model's first counts; as in sentence-transformers.
PROMPTS_OF_TASK = {"query": ("query",), "document": ("document", "passage", "corpus")}
#: The name of a prompt or of a way -> its task.
TASK_NAMED = {name: task for task, names in PROMPTS_OF_TASK.items() for name in (task, *names)}
TASK_NAMED["doc"] = "document"  # in the examples of Asym

#: The lengths in tokens of the texts that a call reads, if its caller asks for them.
seen_lengths: ContextVar[list[int] | None] = ContextVar("seen_lengths", default=None)


def with_prompt(texts: list[str], prompt: str) -> list[str]:
    """Return texts with a prompt before each."""
    if not prompt:
        return texts
    # Leave wrong types alone: the tokenizer's error names their index, str's "+" does not.
    return [prompt + text if isinstance(text, str) else text for text in texts]


class PromptedModel(Model):
    """A model that puts prompts before texts: by default that of `default_prompt_name`, if any."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self.prompts = dict(self.manifest.prompts)
        self.default_prompt_name = self.manifest.default_prompt_name

    def _settings(self) -> dict[str, Any]:
        return {"prompts": self.prompts, "default_prompt_name": self.default_prompt_name}

    def outputs(
        self,
        inputs: Sequence[str | Pair],
        *,
        batch_size: int = 32,
        prompt_name: str | None = None,
        prompt: str | None = None,
    ) -> NDArray[np.float32]:
        """See `Model.outputs`; with a prompt before each text."""
        before = self._prompt(prompt_name, prompt)
        return self._rows(
            text_list(inputs, self.manifest.head_record.methods[0]),
            lambda some: self._sequences(some, before),
            check_texts,
            batch_size=batch_size,
            show_progress_bar=None,
        )

    def prompt_of_task(self, task: str | None) -> str | None:
        """Return the name of the prompt for a task, or None; refuse other tasks."""
        if task is None:
            return None
        require_str(task=task)
        if task not in PROMPTS_OF_TASK:
            msg = f"there is no task {task!r}: use {' or '.join(map(repr, PROMPTS_OF_TASK))}"
            raise InputError(msg)
        return next((name for name in PROMPTS_OF_TASK[task] if name in self.prompts), None)

    def _prompt(self, prompt_name: str | None, prompt: str | None) -> str:
        if prompt is not None:
            require_str(prompt=prompt)
            return prompt
        name = prompt_name if prompt_name is not None else self.default_prompt_name
        if name is None:
            return ""
        require_str(prompt_name=name)
        if name not in self.prompts:
            known = ", ".join(map(repr, self.prompts)) or "none"
            msg = f"{self.manifest.name} has no prompt {name!r}: it has {known}"
            raise InputError(msg)
        return self.prompts[name]

    def _sequences(self, texts: list[str], prompt: str) -> Sequences[Any]:
        """Tokenize texts with a prompt before each."""
        tokenizer = self.tokenizer
        texts = with_prompt(texts, prompt)
        is_pooled = self.manifest.pools_prompt or not prompt
        unpooled_tokens = 0 if is_pooled else tokenizer.count_prompt_tokens(prompt)
        items = tokenizer.encode(texts)
        if (seen := seen_lengths.get()) is not None:
            seen += map(len, items)
        return Sequences(items, unpooled_tokens=unpooled_tokens)


class RoutedModel(PromptedModel):
    """A model that may read the texts of a task by another model, their way.

    sentence-transformers has such models as `Router`, and before version 5 as `Asym`.

    Args:
        ways: The models of other tasks, by task; None if one model reads all texts.
    """

    def __init__(self, *, ways: Mapping[str, Self] | None = None, **parts: Any) -> None:
        super().__init__(**parts)
        self._ways = dict(ways or {})

    def way(self, task: str | None = None) -> Self:
        """Return the model that reads the texts of a task: this one, if it reads all texts.

        Args:
            task: ``"query"``, ``"document"`` or another name of these; None for the default way.

        Raises:
            InputError: There is no such task.
            UnsupportedError: This model is one way alone, and that of another task.
        """
        if task is None:
            return self
        require_str(task=task)
        known, own = TASK_NAMED.get(task), self.manifest.task
        if known is None:
            msg = f"there is no task {task!r}: use {' or '.join(map(repr, PROMPTS_OF_TASK))}"
            raise InputError(msg)
        if own in (None, known):
            return self
        if known not in self._ways:
            msg = (
                f"{self.manifest.name} reads the texts of the task {own!r} alone, and a {known} "
                "takes another way: open the model of that way, or the artifact with lanner.load"
            )
            raise UnsupportedError(msg)
        return self._ways[known]

    def close(self) -> None:
        """See `Model.close`."""
        super().close()
        for way in self._ways.values():
            way.close()

    def parts(self) -> Mapping[str, Monitored]:
        """See `Monitored.parts`."""
        return self._ways

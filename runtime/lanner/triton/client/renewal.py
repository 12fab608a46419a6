"""Calls of a model that follows its server from version to version."""

from collections.abc import Callable
from typing import TypeVar

from lanner.errors import ModelChangedError
from lanner.models.base import Model
from lanner.running.runner import Runner

#: The most times that a call is restarted because its server exchanged the model meanwhile.
MOST_RENEWALS = 3

Answer = TypeVar("Answer")


class Renewal:
    """The calls of a model that is renewed when its server runs another version.

    All texts of a call are answered by one version; see `lanner.models.base.Calls`.

    Args:
        renew: Gives a model the tokenizer and then the runner of the server's version.
    """

    def __init__(self, renew: Callable[[Model], None]) -> None:
        self._renew = renew

    def __call__(self, model: Model, answer: Callable[[Runner], Answer]) -> Answer:
        """Return `answer(runner)`, repeating the call if the server exchanged the model."""
        for _ in range(MOST_RENEWALS):
            runner = (
                model.runner
            )  # before the tokenizer: `_renew` writes them in the opposite order
            try:
                return answer(runner)
            except ModelChangedError:
                self._renew(model)
        msg = (
            f"the server exchanged {model.manifest.name} {MOST_RENEWALS} times during one call: "
            "try again when its deployment has finished"
        )
        raise ModelChangedError(msg)

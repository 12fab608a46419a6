"""A server whose answers a test replaces, and the limits of a call to it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

import pytest
from tests.support.bounds import limited_memory, use
from tests.support.served_words import ANSWERS, configuration, connected

from lanner.errors import LannerError

Given = TypeVar("Given")


class ForgedServer(Generic[Given]):
    """The answers to the three requests of a first call, and the server's port.

    Args:
        scheme: The scheme of its address.
        directory: The directory for its artifacts.
        whole: Returns Triton's answers as bytes by route, for a configuration and a head.
        saying: Makes an answer from bytes.
    """

    def __init__(
        self,
        scheme: str,
        directory: Path,
        whole: Callable[[dict[str, Any], str], dict[str, bytes]],
        saying: Callable[[bytes], Given],
    ) -> None:
        self.configs = {head: configuration(directory / head, head) for head in ANSWERS}
        self.port = 0
        self.answers: dict[str, Given] = {}
        self._scheme, self._whole, self._saying = scheme, whole, saying

    def whole(self, head: str) -> dict[str, bytes]:
        """Return Triton's answers, by route."""
        return self._whole(self.configs[head], head)

    def become(self, head: str) -> None:
        """Answer as Triton does."""
        self.answers |= {route: self._saying(one) for route, one in self.whole(head).items()}

    def ask(self) -> LannerError | None:
        """Connect and ask, within the bounds of `use`; return the error."""
        return use(lambda: connected(f"{self._scheme}://127.0.0.1:{self.port}"))


@contextmanager
def bounded(transport: ModuleType, **limits: object) -> Iterator[None]:
    """Limit answers in the block to three seconds and some gigabytes; set a transport's limits."""
    with limited_memory(), pytest.MonkeyPatch.context() as patch:
        for name, value in {"METADATA_S": 3.0, "ANSWER_S": 3.0, **limits}.items():
            patch.setattr(transport, name, value)
        yield

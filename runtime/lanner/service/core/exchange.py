"""One request on its way: what came, and what is counted and logged of it."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from lanner.service.access.keys import Key


@dataclass(slots=True)
class Request:
    """A request whose head and body were read.

    Attributes:
        id: Its id, from the client or made here.
        method: The method of HTTP.
        path: The path, without the query.
        headers: The headers by their names in lower case.
        body: The body.
        values: The variable parts of the path, such as a model's name.
        key: The key that it carries, once it is known to be valid.
        start_s: The time by `time.perf_counter` at which its head was read.
        deadline_s: The time by `time.monotonic` at which the answer is late.
        route: The route that answers, for logs and metrics.
        model: The name of the model, once it is known.
        texts: The number of texts.
        tokens: The number of tokens.
        cut: Indices of the texts that were cut.
        masked: What was masked: the number of each kind.
        parts_ms: Milliseconds of each part: ``read``, ``decode``, ``tokenize``, ``model``...
    """

    id: str
    method: str
    path: str
    headers: Mapping[bytes, bytes]
    body: bytes = b""
    values: tuple[str, ...] = ()
    key: Key | None = None
    start_s: float = field(default_factory=time.perf_counter)
    deadline_s: float = math.inf
    route: str = ""
    model: str = ""
    texts: int = 0
    tokens: int = 0
    cut: list[int] = field(default_factory=list)
    masked: dict[str, int] = field(default_factory=dict)
    parts_ms: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a part of the work; times of the same name add up."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent_ms = (time.perf_counter() - start) * 1e3
            self.parts_ms[name] = self.parts_ms.get(name, 0.0) + spent_ms

    def accepts(self, media_type: bytes) -> bool:
        """Return whether the client names a media type in its `Accept` header."""
        return media_type in self.headers.get(b"accept", b"").lower()


@dataclass(slots=True)
class Response:
    """An answer.

    Attributes:
        body: The body.
        status: The status of HTTP.
        media_type: The media type.
        headers: Further headers.
    """

    body: bytes = b""
    status: int = 200
    media_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

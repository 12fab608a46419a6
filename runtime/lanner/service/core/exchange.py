"""One request on its way: its content, and its figures for metrics and logs."""

import math
import time
from collections.abc import Mapping, Sized
from dataclasses import dataclass, field

from lanner.monitoring.traces import Trace
from lanner.running.beginning import Beginning, current_beginning
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
        body_bytes: Its size, as far as it has arrived.
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
        masked_texts: The number of texts in which something was masked.
        running: The tasks of all requests that came and are not answered, this one among them.
        parts_ms: Milliseconds of each part: ``read``, ``decode``, ``mask``, ``tokenize``,
            ``queue``, ``model`` and ``encode``.
        trace: Its trace, or None if it is not traced.
    """

    id: str
    method: str
    path: str
    headers: Mapping[bytes, bytes]
    body: bytes = b""
    body_bytes: int = 0
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
    masked_texts: int = 0
    running: Sized = ()
    parts_ms: dict[str, float] = field(default_factory=dict)
    trace: Trace | None = None

    @property
    def is_only(self) -> bool:
        """True if the service has no other request."""
        return len(self.running) == 1

    def part(self, name: str) -> "Part":
        """Return a context that times a part of the work; times of the same name add up."""
        return Part(self, name)

    def note_part(self, name: str, start_s: float, end_s: float) -> None:
        """Note a part of the work, from its start to its end by `time.perf_counter`."""
        self.parts_ms[name] = self.parts_ms.get(name, 0.0) + (end_s - start_s) * 1e3
        if self.trace is not None:
            self.trace.part(name, start_s, end_s)

    def accepts(self, media_type: bytes) -> bool:
        """Return whether the client names a media type in its `Accept` header."""
        return media_type in self.headers.get(b"accept", b"").lower()


class Part:
    """A context that times a part of the work; a generator would take several times as long.

    Args:
        request: The request.
        name: The name of the part.
    """

    __slots__ = ("_name", "_request", "_start_s")

    def __init__(self, request: Request, name: str) -> None:
        self._request, self._name = request, name

    def __enter__(self) -> None:
        self._start_s = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._request.note_part(self._name, self._start_s, time.perf_counter())


class Run:
    """A context that times the run of a model, and before it the wait for its turn.

    Args:
        request: The request.
        runs: All runs; this one is among them within the block.
    """

    __slots__ = ("_beginning", "_request", "_runs", "_token", "start_s")

    def __init__(self, request: Request, runs: "dict[Run, None]") -> None:
        self._request, self._runs = request, runs

    @property
    def has_begun(self) -> bool:
        """True if the model runs already."""
        return self._beginning.at_s is not None

    def __enter__(self) -> None:
        self._beginning = Beginning()
        self._token = current_beginning.set(self._beginning)
        self.start_s = time.perf_counter()
        self._runs[self] = None

    def __exit__(self, *_: object) -> None:
        del self._runs[self]
        current_beginning.reset(self._token)
        end_s = time.perf_counter()
        begun_s = self._beginning.at_s or end_s  # if it never began, it waited all the time
        self._request.note_part("queue", self.start_s, begun_s)
        self._request.note_part("model", begun_s, end_s)


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

"""The totals of a client and its server so far; the difference of two is the work between them.

This runs in the subject's process and imports only the standard library until a server is asked.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from lanner_perf.subjects.server_cpu import cpu_s, server_process

if TYPE_CHECKING:
    from lanner.triton.client.transport import Monitor

Answer = TypeVar("Answer")
#: The server counts a request a moment after it has answered it.
_PATIENCE_S, _POLL_S = 1.0, 0.01
#: The names of a request's parts in the server's statistics: tensors to the model, the run, and
#: tensors back.
_COMPUTE = ("compute_input", "compute_infer", "compute_output")


class Totals(NamedTuple):
    """The sums over the requests to one model.

    Attributes:
        requests: The requests of the client.
        request_s: Their seconds at the client: message, transport, server and transport back.
        served: The requests that the server has answered, for all clients.
        cached: Those of them that its response cache answered.
        texts: The texts that went through the model, without those from the cache.
        runs: The runs of the model.
        queue_s: The seconds that requests waited for the model.
        compute_s: The seconds of requests in the model; each request counts the whole time of its
            batch.
        server_cpu_s: CPU time of the server's own process; None if it cannot be read.
        models_cpu_s: CPU time of the processes that run its models; None if it cannot be read.
    """

    requests: int
    request_s: float
    served: int
    cached: int
    texts: int
    runs: int
    queue_s: float
    compute_s: float
    server_cpu_s: float | None = None
    models_cpu_s: float | None = None

    def since(self, before: Totals) -> Totals:
        """Return the difference to earlier totals."""
        added: list[Any] = [
            None if now is None or then is None else now - then
            for now, then in zip(self, before, strict=True)
        ]
        return Totals(*added)


class RequestClock:
    """The clock of the requests of one client, for any number of threads."""

    def __init__(self) -> None:
        self.requests, self.seconds = 0, 0.0
        self._lock = threading.Lock()

    def timed(self, send: Callable[..., Answer]) -> Callable[..., Answer]:
        """Return the function with each call timed, failed calls included."""

        def timed(*arguments: Any, **options: Any) -> Answer:
            begin = time.perf_counter()
            try:
                return send(*arguments, **options)
            finally:
                took = time.perf_counter() - begin
                with self._lock:
                    self.requests += 1
                    self.seconds += took

        return timed


class Counter:
    """The reader of the `Totals` of one model.

    It connects at the first call, so that a client's memory before that call is only the client's.

    Args:
        connect: Returns a connection to the server.
        model: The name of the model on the server.
        clock: The clock of the client's requests.
        host: Name and port of the server.
    """

    def __init__(
        self, connect: Callable[[], Monitor], model: str, clock: RequestClock, host: str
    ) -> None:
        self._connect, self._model, self._clock, self._host = connect, model, clock, host

    def __call__(self) -> Totals:
        """Return the sums, once the server has counted all requests of the client."""
        expected, end = self._before + self._clock.requests, time.monotonic() + _PATIENCE_S
        while self._served() < expected and time.monotonic() < end:
            time.sleep(_POLL_S)
        versions = self._versions()
        return Totals(
            self._clock.requests,
            self._clock.seconds,
            _requests(versions),
            sum(_count(one, "cache_hit") for one in versions),
            sum(int(one.get("inference_count", 0)) for one in versions),
            sum(int(one.get("execution_count", 0)) for one in versions),
            sum(_seconds(one, "queue") for one in versions),
            sum(_seconds(one, part) for one in versions for part in _COMPUTE),
            *self._cpu_s(),
        )

    @cached_property
    def _monitor(self) -> Monitor:
        return self._connect()

    @cached_property
    def _process(self) -> Any:
        return server_process(self._host)

    @cached_property
    def _before(self) -> int:
        """Return the requests that the server counted before the clock began, of all clients."""
        return self._served() - self._clock.requests

    def _served(self) -> int:
        return _requests(self._versions())

    def _versions(self) -> list[dict[str, Any]]:
        return self._monitor.statistics(self._model, "")

    def _cpu_s(self) -> Iterator[float]:
        if self._process is not None:
            yield cpu_s(self._process)
            yield sum(map(cpu_s, self._process.children(recursive=True)))


def cache_lookups(monitor: Monitor, model: str) -> int:
    """Return how often a server has looked in its response cache for a model's answer."""
    versions = monitor.statistics(model, "")
    return sum(_count(one, "cache_hit") + _count(one, "cache_miss") for one in versions)


def _requests(versions: list[dict[str, Any]]) -> int:
    return sum(_count(one, "success") + _count(one, "fail") for one in versions)


def _count(version: dict[str, Any], what: str) -> int:
    return int(_statistic(version, what).get("count", 0))


def _seconds(version: dict[str, Any], what: str) -> float:
    return int(_statistic(version, what).get("ns", 0)) / 1e9


def _statistic(version: dict[str, Any], what: str) -> dict[str, Any]:
    found: dict[str, Any] = version.get("inference_stats", {}).get(what, {})
    return found

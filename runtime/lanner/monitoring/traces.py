"""The traces of requests, as models and clients of other servers see them.

The service records them (`lanner.service.tracing`). Without it there is no trace, and nothing here
imports a library for it.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Protocol


class Trace(Protocol):
    """The trace of a request. Any thread may add to it."""

    #: The id of the trace, 32 hexadecimal digits.
    id: str
    #: The request in the form of the header `traceparent`.
    traceparent: str

    def part(self, name: str, start_s: float, end_s: float) -> None:
        """Note a part of the work.

        Args:
            name: The name of the part, as in metrics.
            start_s: Its start by `time.perf_counter`.
            end_s: Its end.
        """

    def batch(
        self, traces: "Sequence[Trace]", *, engine: str, texts: int, tokens: int
    ) -> AbstractContextManager[None]:
        """Return a context in which a batch runs; `current_headers` are set within it.

        Args:
            traces: The traces of all requests in the batch, this one among them.
            engine: The engine that runs it.
            texts: The number of its texts or pairs.
            tokens: The number of its tokens, without padding.
        """

    def end(self, status: int, facts: Mapping[str, str | int]) -> None:
        """Record the request and its parts.

        Args:
            status: The status of HTTP; 499 if the client left.
            facts: Further facts by their names.
        """


#: The trace of the calls in this context; None if the request is not traced.
current_trace: ContextVar[Trace | None] = ContextVar("trace", default=None)
#: The headers that tell another server the trace of this context, by their names.
current_headers: ContextVar[Mapping[str, str]] = ContextVar(
    "trace_headers",
    default=MappingProxyType({}),
)

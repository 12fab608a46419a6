"""Traces of requests and batches, sent to an OpenTelemetry collector.

A request is a span with a span for each part of its work, as in the metrics. A batch of the model
is a span below the first traced request in it, and has links to all of them. A span holds counts
and names of the service's own, never a text.

The spans of the parts are made after the answer was sent. A request that is not traced costs one
decision.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

from lanner._version import __version__
from lanner.errors import MissingExtraError
from lanner.monitoring.traces import Trace, current_headers
from lanner.service.core.exchange import Request

try:
    from opentelemetry.context import Context
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
    from opentelemetry.trace import (
        Link,
        Span,
        SpanKind,
        Status,
        StatusCode,
        Tracer,
        set_span_in_context,
    )
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:
    what = "sending traces"
    raise MissingExtraError(what, "otel", "opentelemetry-exporter-otlp-proto-http") from error

#: Traces a second that are begun if neither a setting nor a variable says how many. Each takes half
#: a millisecond of a core.
DEFAULT_PER_S = 10.0
_PATH = "/v1/traces"
_CLOSE_S = 2.0
_PROPAGATOR = TraceContextTextMapPropagator()
#: The context of a request that comes without one.
_EMPTY = Context()


class Share:
    """Takes a share of all requests, at random.

    Args:
        ratio: The share, from 0 to 1.
    """

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio

    def __call__(self) -> bool:
        """Return whether to trace the next request."""
        return random.random() < self._ratio  # noqa: S311


class Allowance:
    """Takes a number of requests a second, and of few requests all.

    Args:
        per_s: The number; as many may come at once.
    """

    def __init__(self, per_s: float = DEFAULT_PER_S) -> None:
        self._per_s = self._left = per_s
        self._at_s = time.monotonic()

    def __call__(self) -> bool:
        """Return whether to trace the next request."""
        now_s = time.monotonic()
        self._left = min(self._per_s, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Tracing:
    """Begins a trace for each request that the sampler takes.

    Args:
        exporter: Takes the finished spans, in a thread of its own.
        takes: Returns whether to trace a request whose caller has not decided. A sampler of the SDK
            costs a hundred times as much. None for the sampler that the environment names.
    """

    def __init__(self, exporter: SpanExporter, takes: Callable[[], bool] | None = None) -> None:
        self._takes = takes
        sampler = None if takes is None else ParentBased(ALWAYS_ON)
        self._provider = TracerProvider(
            sampler=sampler, resource=_resource(), shutdown_on_exit=False
        )
        self._exporter = exporter
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("lanner", __version__)

    def begin(self, request: Request) -> "RequestTrace | None":
        """Return the trace of a request with a route, or None if it is not traced."""
        context, given = _EMPTY, request.headers.get(b"traceparent")
        if given is None:
            if self._takes is not None and not self._takes():
                return None
        else:
            state = request.headers.get(b"tracestate", b"")
            carrier = {
                "traceparent": given.decode("latin-1"),
                "tracestate": state.decode("latin-1"),
            }
            context = _PROPAGATOR.extract(carrier, _EMPTY)
        offset_ns = time.time_ns() - time.perf_counter_ns()
        span = self._tracer.start_span(
            f"{request.method} {request.route}",
            context,
            SpanKind.SERVER,
            {"http.request.method": request.method, "http.route": request.route},
            start_time=offset_ns + int(request.start_s * 1e9),
        )
        return RequestTrace(self._tracer, span, offset_ns) if span.is_recording() else None

    def close(self) -> None:
        """Send the spans that wait, for at most two seconds, and end the thread."""
        thread = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        thread.start()
        thread.join(_CLOSE_S)
        if thread.is_alive():
            self._exporter.shutdown()  # it waits for a collector that is away
            thread.join(_CLOSE_S)


class RequestTrace:
    """The trace of one request; see `lanner.monitoring.traces.Trace`.

    Args:
        tracer: Makes spans.
        span: The span of the request.
        offset_ns: Nanoseconds from `time.perf_counter` to the time since the epoch.
    """

    def __init__(self, tracer: Tracer, span: Span, offset_ns: int) -> None:
        self._tracer, self._span, self._offset_ns = tracer, span, offset_ns
        self._below = set_span_in_context(span, _EMPTY)
        self._parts: list[tuple[str, float, float]] = []
        #: The batches below other requests.
        self._elsewhere: list[Link] = []
        known = span.get_span_context()
        self.id = f"{known.trace_id:032x}"
        self.traceparent = f"00-{self.id}-{known.span_id:016x}-{known.trace_flags:02x}"

    def part(self, name: str, start_s: float, end_s: float) -> None:
        """Note a part of the work."""
        self._parts.append((name, start_s, end_s))

    @contextmanager
    def batch(
        self, traces: Sequence[Trace], *, engine: str, texts: int, tokens: int
    ) -> Iterator[None]:
        """Record a batch as a span, and pass it on to the server that runs it, if one does."""
        requests = {one.traceparent: one for one in traces if isinstance(one, RequestTrace)}
        span = self._tracer.start_span(
            "batch",
            self._below,
            SpanKind.CLIENT if engine == "triton" else SpanKind.INTERNAL,
            {
                "lanner.engine": engine,
                "lanner.batch.requests": len(requests),
                "lanner.batch.texts": texts,
                "lanner.batch.tokens": tokens,
            },
            [Link(one._span.get_span_context()) for one in requests.values()],
        )
        link = Link(span.get_span_context())
        for one in requests.values():
            if one is not self:
                one._elsewhere.append(link)
        headers: dict[str, str] = {}
        _PROPAGATOR.inject(headers, set_span_in_context(span, _EMPTY))
        before = current_headers.set(headers)
        try:
            yield
        except BaseException as error:
            _fail(span, type(error).__name__)
            raise
        finally:
            current_headers.reset(before)
            span.end()

    def end(self, status: int, facts: Mapping[str, str | int]) -> None:
        """Record the request and its parts; see `lanner.monitoring.traces.Trace.end`."""
        for name, start_s, end_s in self._parts:
            links = self._elsewhere if name == "model" else ()
            part = self._tracer.start_span(
                name, self._below, links=links, start_time=self._at_ns(start_s)
            )
            part.end(self._at_ns(end_s))
        span = self._span
        span.set_attributes({"http.response.status_code": status, **facts})
        if status >= 500:
            _fail(span, str(status))
        span.end()

    def _at_ns(self, at_s: float) -> int:
        return self._offset_ns + int(at_s * 1e9)


def otlp_exporter(url: str | None) -> SpanExporter:
    """Return an exporter to an OpenTelemetry collector, by OTLP over HTTP.

    Args:
        url: The address of the collector, or the full one of its route for traces; None for that of
            the environment.
    """
    if url is not None and urlsplit(url).path in ("", "/"):
        url = url.removesuffix("/") + _PATH
    return OTLPSpanExporter(endpoint=url)


def _fail(span: Span, kind: str) -> None:
    # The message of an error may hold what a library was given; its type does not.
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR))


def _resource() -> Resource:
    """Return the description of this service; the environment may name it otherwise."""
    found = Resource.create({"service.version": __version__})
    if str(found.attributes["service.name"]).startswith("unknown_service"):
        found = found.merge(Resource({"service.name": "lanner"}))
    return found

"""Traces of requests and batches, sent to an OpenTelemetry collector.

A request is a span with a span for each part of its work, as in the metrics. A batch of the model
is a span below the first traced request in it, and has links to all of them. A span holds counts
and names of the service's own, never a text.

The spans of the parts are made after the answer was sent. A request that is not traced costs one
decision.
"""

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from lanner._version import __version__
from lanner.errors import MissingExtraError
from lanner.monitoring.traces import Trace, current_headers
from lanner.service import otlp
from lanner.service.collector import Collector
from lanner.service.core.exchange import Request
from lanner.service.otlp import Place

try:
    from opentelemetry.context import Context
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import Decision, Sampler
    from opentelemetry.trace import (
        NonRecordingSpan,
        SpanContext,
        SpanKind,
        get_current_span,
        set_span_in_context,
    )
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:
    what = "sending traces"
    raise MissingExtraError(what, "otel", "opentelemetry-sdk") from error

#: Traces a second that are begun if neither a setting nor a variable says how many.
DEFAULT_PER_S = 10.0
_CLOSE_S = 2.0
_PROPAGATOR = TraceContextTextMapPropagator()


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
        url: The address of the collector that gets the spans; see `lanner.service.collector`.
        takes: Returns whether to trace a request whose caller has not decided. A sampler of the SDK
            costs a hundred times as much. None for the sampler that the environment names.
    """

    def __init__(self, url: str | None, takes: Callable[[], bool] | None = None) -> None:
        self._takes = takes
        self._sampler: Sampler | None = None if takes else TracerProvider().sampler
        self.collector = Collector(url, _resource())

    def begin(self, request: Request) -> "RequestTrace | None":
        """Return the trace of a request with a route, or None if it is not traced."""
        given, caller = request.headers.get(b"traceparent"), None
        if given is not None:
            caller = _caller(given, request.headers.get(b"tracestate", b""))
        if self._sampler is not None:
            if not self._wants(self._sampler, request, caller):
                return None
        elif caller is not None:
            if not caller.trace_flags.sampled:
                return None
        elif self._takes is not None and not self._takes():
            return None
        if caller is None:
            place = Place(os.urandom(16), os.urandom(8))
            return RequestTrace(self.collector, place, b"", request)
        trace = caller.trace_id.to_bytes(16)
        place = Place(trace, os.urandom(8), caller.trace_state.to_header())
        return RequestTrace(self.collector, place, caller.span_id.to_bytes(8), request)

    def _wants(self, sampler: Sampler, request: Request, caller: SpanContext | None) -> bool:
        """Return what a sampler of the SDK decides."""
        context = Context() if caller is None else set_span_in_context(NonRecordingSpan(caller))
        facts = {"http.request.method": request.method, "http.route": request.route}
        trace = random.getrandbits(128) if caller is None else caller.trace_id
        name = f"{request.method} {request.route}"
        found = sampler.should_sample(context, trace, name, SpanKind.SERVER, facts)
        return found.decision is Decision.RECORD_AND_SAMPLE

    def close(self) -> None:
        """Send the spans that wait, for at most two seconds, and end the thread."""
        self.collector.close(_CLOSE_S)


class RequestTrace:
    """The trace of one request; see `lanner.monitoring.traces.Trace`.

    Args:
        collector: Gets the spans.
        place: The place of the request.
        parent: The id of its caller's span, or nothing.
        request: The request.
    """

    def __init__(self, collector: Collector, place: Place, parent: bytes, request: Request) -> None:
        self._collector, self._place, self._parent = collector, place, parent
        self._method, self._route, self._start_s = request.method, request.route, request.start_s
        #: Nanoseconds from `time.perf_counter` to the time since the epoch.
        self._offset_ns = time.time_ns() - time.perf_counter_ns()
        self._parts: list[tuple[str, float, float]] = []
        #: The batches below other requests.
        self._elsewhere: list[Place] = []
        self.id = place.trace.hex()
        self.traceparent = _traceparent(place)

    def part(self, name: str, start_s: float, end_s: float) -> None:
        """Note a part of the work."""
        self._parts.append((name, start_s, end_s))

    @contextmanager
    def batch(
        self, traces: Sequence[Trace], *, engine: str, texts: int, tokens: int
    ) -> Iterator[None]:
        """Record a batch as a span, and pass it on to the server that runs it, if one does."""
        requests = {one.traceparent: one for one in traces if isinstance(one, RequestTrace)}
        place = Place(self._place.trace, os.urandom(8), self._place.state)
        for one in requests.values():
            if one is not self:
                one._elsewhere.append(place)
        facts: dict[str, str | int] = {
            "lanner.engine": engine,
            "lanner.batch.requests": len(requests),
            "lanner.batch.texts": texts,
            "lanner.batch.tokens": tokens,
        }
        headers = {"traceparent": _traceparent(place)}
        if place.state:
            headers["tracestate"] = place.state
        before = current_headers.set(headers)
        begin_s = time.perf_counter()
        try:
            yield
        except BaseException as error:
            # The message of an error may hold what a library was given; its type does not.
            facts["error.type"] = type(error).__name__
            raise
        finally:
            current_headers.reset(before)
            self._collector.add(
                otlp.span(
                    place,
                    self._place.id,
                    "batch",
                    otlp.CLIENT if engine == "triton" else otlp.INTERNAL,
                    self._at_ns(begin_s),
                    self._at_ns(time.perf_counter()),
                    attributes=facts,
                    links=[one._place for one in requests.values()],
                    is_failed="error.type" in facts,
                )
            )

    def end(self, status: int, facts: Mapping[str, str | int]) -> None:
        """Record the request and its parts; see `lanner.monitoring.traces.Trace.end`."""
        trace, own, state = self._place.trace, self._place.id, self._place.state
        # A span takes its own random bytes from these.
        ids = os.urandom(8 * len(self._parts))
        spans = [
            otlp.span(
                Place(trace, ids[8 * at : 8 * at + 8], state),
                own,
                name,
                otlp.INTERNAL,
                self._at_ns(start_s),
                self._at_ns(end_s),
                links=self._elsewhere if name == "model" else (),
            )
            for at, (name, start_s, end_s) in enumerate(self._parts)
        ]
        known: dict[str, str | int] = {
            "http.request.method": self._method,
            "http.route": self._route,
            "http.response.status_code": status,
            **facts,
        }
        if status >= 500:
            known["error.type"] = str(status)
        spans.append(
            otlp.span(
                self._place,
                self._parent,
                f"{self._method} {self._route}",
                otlp.SERVER,
                self._at_ns(self._start_s),
                self._at_ns(time.perf_counter()),
                attributes=known,
                is_failed=status >= 500,
                is_remote=bool(self._parent),
            )
        )
        self._collector.add(*spans)

    def _at_ns(self, at_s: float) -> int:
        return self._offset_ns + int(at_s * 1e9)


def _caller(given: bytes, state: bytes) -> SpanContext | None:
    """Return the span of the caller that headers name, or None if they name none."""
    carrier = {"traceparent": given.decode("latin-1"), "tracestate": state.decode("latin-1")}
    found = get_current_span(_PROPAGATOR.extract(carrier, Context())).get_span_context()
    return found if found.is_valid else None


def _traceparent(place: Place) -> str:
    return f"00-{place.trace.hex()}-{place.id.hex()}-01"


def _resource() -> dict[str, str | float]:
    """Return the description of this service; the environment may name it otherwise."""
    found = Resource.create({"service.version": __version__}).attributes
    facts = {
        name: value if isinstance(value, str | int | float) else str(value)
        for name, value in found.items()
    }
    if str(facts.get("service.name", "")).startswith("unknown_service"):
        facts["service.name"] = "lanner"
    return facts

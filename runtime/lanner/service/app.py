"""The application: from a request as it arrives to the answer of a route.

One pipeline for all: the limits of the head, the key, the limits of the body, and then the route
(`lanner.service.core.pipeline`), whose refusals have the shape of its dialect.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from lanner.errors import LannerError
from lanner.monitoring.record import Record
from lanner.monitoring.traces import current_trace
from lanner.service.access.cors import cors_headers, is_preflight
from lanner.service.access.log import LibraryMessages, Log, raised, request_id
from lanner.service.core.exchange import Request, Response
from lanner.service.core.pipeline import Pipeline
from lanner.service.core.refusal import Kind, Refusal
from lanner.service.dialects.dialect import Refuse
from lanner.service.dialects.own import ADMIN_PATHS
from lanner.service.dialects.routes import ROUTES, Router, refuse
from lanner.service.entrance import Entrance
from lanner.service.incoming import Incoming, RawHeaders
from lanner.service.metrics import families

if TYPE_CHECKING:
    from lanner.service.tracing import Tracing

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: The status in logs of a request whose client left.
_LEFT = 499
#: Seconds that a request may wait for the event loop before it is refused unread.
_MOST_BEHIND_S = 0.5


@dataclass(frozen=True)
class AppLimits:
    """The limits of requests before their route.

    Attributes:
        body_bytes: The largest body.
        body_s: Seconds for the body to arrive.
        request_s: Seconds that an answer may take.
        admin_port: The port of the admin routes; None for the port of all routes.
        in_flight_bytes: The most bytes of all bodies that are being read or answered.
    """

    body_bytes: int = 32 * 2**20
    body_s: float = 30.0
    request_s: float = 60.0
    admin_port: int | None = None
    in_flight_bytes: int = 256 * 2**20


class App:
    """The application of the service.

    Args:
        pipeline: What the routes answer with.
        limits: The limits of requests.
        background: Tasks that run beside, until the application ends.
        entrance: Who may come in; by default everybody.
        origins: The origins whose pages may call the service; see `lanner.service.access.cors`.
        log: The log.
        tracing: Begins the traces of requests, or None.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        limits: AppLimits,
        background: tuple[Callable[[], Awaitable[None]], ...] = (),
        *,
        entrance: Entrance | None = None,
        origins: tuple[str, ...] = (),
        log: Log | None = None,
        tracing: "Tracing | None" = None,
    ) -> None:
        self.pipeline, self.limits = pipeline, limits
        self.log = Log() if log is None else log
        self._entrance = Entrance() if entrance is None else entrance
        self._origins = origins
        self._tracing = tracing
        self._router = Router(ROUTES)
        self._background = background
        self._in_flight_bytes = 0
        pipeline.figures.sources += [pipeline.queue.write, pipeline.health.write, self.write]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run from the start of the server to its end, as ASGI's messages announce them."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)

    def describe(self) -> list[dict[str, str]]:
        """Return the models, for programs."""
        return [
            {"name": one.name, "head": str(one.head), "variant": one.model.variant.name}
            for one in self.pipeline.catalogue
        ]

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        messages = LibraryMessages(self.log)
        logging.getLogger().addHandler(messages)
        with suppress(Refusal):  # which `/ready` reports
            # The first answer of a model takes longest: no client should wait for it.
            await self.pipeline.health.require(*self.pipeline.catalogue)
        tasks = [asyncio.ensure_future(run()) for run in self._background]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for task in tasks:
            task.cancel()
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.close)
        logging.getLogger().removeHandler(messages)
        self.log.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def respond(self, incoming: Incoming) -> None:
        """Answer one request; a client that leaves meanwhile cancels the task."""
        headers: dict[bytes, bytes] = {}
        for name, value in incoming.headers:
            # A repeated header must not be read as one value and checked as another.
            headers[name] = headers[name] + b", " + value if name in headers else value
        given_id = headers.get(b"x-request-id")
        request = Request(request_id(given_id), incoming.method, incoming.path, headers)
        request.deadline_s = time.monotonic() + self.limits.request_s
        request.running = incoming.running
        figures = self.pipeline.figures
        figures.in_flight += 1
        status = _LEFT
        allowed = cors_headers(self._origins, request.method, incoming.headers)
        try:
            if allowed and is_preflight(request.method, incoming.headers):
                response = Response(status=204)
            else:
                response = await self._answer(request, incoming)
            await incoming.answer(
                response.status, _headers(request, response, allowed), response.body
            )
            status = response.status
        except asyncio.CancelledError:
            pass
        finally:
            self._in_flight_bytes -= request.body_bytes
            figures.in_flight -= 1
            duration_s = time.perf_counter() - request.start_s
            figures.note(request, status, duration_s)
            if self.log.has_requests:
                self._note(request, status, duration_s)
            if request.trace is not None:
                request.trace.end(status, _facts(request))

    async def _answer(self, request: Request, incoming: Incoming) -> Response:
        """Return the answer to a request, or its refusal.

        Raises:
            CancelledError: The client left.
        """
        shape: Refuse = lambda refusal: refuse(request.path, refusal)  # noqa: E731
        try:
            self._require_port(request.path, incoming.port)
            route, request.values = self._router.find(request.method, request.path)
            request.route, shape = route.path, route.refuse
            if route.is_open:
                return await route.answer(request, self.pipeline)
            if self._tracing is not None and route.method == "POST":
                request.trace = self._tracing.begin(request)
                current_trace.set(request.trace)  # of this request's task
            with self._entrance.entered(request, incoming.headers, self.pipeline) as pipeline:
                _check_head(request, self.limits)
                if route.method == "POST":
                    _require_pace(incoming)
                    with request.part("read"):
                        request.body = await self._body(request, incoming)
                return await route.answer(request, pipeline)
        except Exception as error:  # noqa: BLE001 (one bad request must not end the service)
            refusal = self._refusal(error, request)
            self.refused(refusal.kind.word)
            return shape(refusal)

    def refused(self, reason: str) -> None:
        """Count a refusal, by a word of a closed list."""
        self.pipeline.figures.note_refusal(reason)

    def write(self, record: Record) -> None:
        """Write the bytes in flight into a record of metrics."""
        record.set(families.BYTES_IN_FLIGHT, self._in_flight_bytes)

    def _note(self, request: Request, status: int, duration_s: float) -> None:
        """Write the line of a request."""
        self.log.request(
            id=request.id,
            key=None if request.key is None else request.key.name,
            method=request.method if request.route else None,  # it may be any word
            route=request.route or None,
            model=request.model or None,
            status=status,
            texts=request.texts,
            tokens=request.tokens,
            cut=len(request.cut),
            masked=request.masked,
            ms=round(duration_s * 1e3, 3),
            parts_ms={name: round(spent, 3) for name, spent in request.parts_ms.items()},
            **({} if request.trace is None else {"trace": request.trace.id}),
        )

    def _refusal(self, error: Exception, request: Request) -> Refusal:
        """Return the refusal for an error; log errors that are the service's fault."""
        refusal = Refusal.of(error)
        if refusal.kind is Kind.BACKEND:
            # Lanner's own messages about an engine contain no text of a user; other messages may.
            reason = str(error) if isinstance(error, LannerError) else None
            self.log.message(
                "error", "a request failed", id=request.id, reason=reason, **raised(error)
            )
        return refusal

    def _require_port(self, path: str, port: int) -> None:
        """Check that admin routes, and only these, are asked for at their own port.

        Raises:
            Refusal: They are not.
        """
        admin_port = self.limits.admin_port
        if admin_port is None:
            return
        is_admin = path in ADMIN_PATHS
        is_at_admin_port = port == admin_port
        if is_admin != is_at_admin_port and not (is_at_admin_port and path in _ON_BOTH_PORTS):
            msg = "there is no such route at this port"
            raise Refusal(Kind.NOT_FOUND, msg)

    async def _body(self, request: Request, incoming: Incoming) -> bytes:
        """Return the body of a request.

        Raises:
            Refusal: It is too large, comes too slowly, or too many bytes are in flight.
            CancelledError: The client left before its end.
        """
        limits, take = self.limits, partial(self._take, request)
        if incoming.is_whole:  # the usual case: a timer would take longer than all else here
            body = await incoming.body(limits.body_bytes, take)
        else:
            try:
                async with asyncio.timeout(limits.body_s):
                    body = await incoming.body(limits.body_bytes, take)
            except TimeoutError:
                msg = f"the body did not arrive in {limits.body_s:g} s"
                raise Refusal(Kind.TOO_SLOW, msg) from None
        if body is None:
            raise _too_large(limits)
        return body

    def _take(self, request: Request, size: int) -> None:
        """Count bytes of a body until its request is answered.

        Raises:
            Refusal: Too many are in flight; a request alone may have any number.
        """
        others = self._in_flight_bytes - request.body_bytes
        request.body_bytes += size
        self._in_flight_bytes += size
        if others and self._in_flight_bytes > self.limits.in_flight_bytes:
            msg = f"bodies of {others:,} bytes are being answered already: try again later"
            raise Refusal(Kind.OVERLOADED, msg, retry_after_s=self.pipeline.queue.wait_s)


#: Probes may also use these routes at the admin port.
_ON_BOTH_PORTS = ("/health", "/ready")


def _require_pace(incoming: Incoming) -> None:
    """Check that the event loop reads requests soon after they arrive.

    Requests that wait for it are in no queue yet, and reading them may cost as much as answering.

    Raises:
        Refusal: The event loop is too late.
    """
    behind_s = time.monotonic() - incoming.due_s
    if behind_s > _MOST_BEHIND_S:
        msg = f"the service is {behind_s:.1f} s behind with reading requests: try again later"
        raise Refusal(Kind.OVERLOADED, msg, retry_after_s=behind_s)


def _check_head(request: Request, limits: AppLimits) -> None:
    """Check the head's description of the body.

    Raises:
        Refusal: The body is too large, or compressed: a small compressed body can become huge.
    """
    if request.headers.get(b"content-encoding", b"identity").lower() != b"identity":
        msg = "bodies must not be compressed: send this one without Content-Encoding"
        raise Refusal(Kind.ENCODED, msg)
    length = request.headers.get(b"content-length", b"0")
    if length.isdigit() and int(length[:20]) > limits.body_bytes:
        raise _too_large(limits)


def _too_large(limits: AppLimits) -> Refusal:
    msg = f"the body may have {limits.body_bytes:,} bytes: send fewer texts at once"
    return Refusal(Kind.TOO_LARGE, msg)


def _facts(request: Request) -> dict[str, str | int]:
    """Return what a trace says of a request: names and numbers, no text of a user."""
    facts: dict[str, str | int] = {
        "lanner.request_id": request.id,
        "lanner.model": request.model,
        "lanner.texts": request.texts,
        "lanner.tokens": request.tokens,
        "lanner.cut_texts": len(request.cut),
    }
    if request.key is not None:
        facts["lanner.key"] = request.key.name
    return facts


def _headers(request: Request, response: Response, more: RawHeaders) -> RawHeaders:
    headers = [
        (b"content-type", response.media_type.encode()),
        (b"content-length", b"%d" % len(response.body)),
        (b"x-request-id", request.id.encode()),
        *((name.encode(), value.encode()) for name, value in response.headers.items()),
        *more,
        *(
            ()
            if request.trace is None
            else ((b"traceresponse", request.trace.traceparent.encode()),)
        ),
    ]
    if response.status == Kind.NO_KEY.status:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers

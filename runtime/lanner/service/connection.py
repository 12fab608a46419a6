"""Connections of HTTP: their requests, one after the other, and their limits.

uvicorn runs the server: sockets, processes, signals, TLS. Of its protocol between server and
application, ASGI, only start and end are used: messages for each part of a request would take as
long as tokenising a short text.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sized
from dataclasses import dataclass
from functools import partial
from typing import Any, cast
from urllib.parse import unquote

from lanner.errors import MissingExtraError
from lanner.service.incoming import STATUS_LINES, Incoming, RawHeaders
from lanner.service.protection import open_certificates
from lanner.service.settings import Settings

try:
    import httptools
    import uvicorn
    from uvicorn.server import ServerState
except ImportError as error:
    what = "the service"
    raise MissingExtraError(what, "service", "uvicorn") from error

_log = logging.getLogger("lanner.service")
#: Seconds at the end in which requests that clients have sent before may still arrive.
_LAST_S = 0.3
#: The words for metrics, by the status of the answer to what is no request.
_REASONS = {503: "connections", 400: "malformed", 431: "head_too_large", 408: "head_too_slow"}


@dataclass(frozen=True)
class ConnectionLimits:
    """The limits of connections.

    Attributes:
        head_s: Seconds for the head of a request to arrive.
        header_bytes: The largest head.
        most: The most connections of a process.
        send_s: Seconds for a client to read an answer.
    """

    head_s: float = 10.0
    header_bytes: int = 32 * 2**10
    most: int = 1_024
    send_s: float = 60.0


class ServiceConfig(uvicorn.Config):
    """A configuration of uvicorn, with the limits of `Connection`."""

    limits = ConnectionLimits()
    settings = Settings()

    def load(self) -> None:
        """Load the application, and the certificates in a context that follows their files."""
        # Each process makes its own, because a context cannot be passed to another.
        super().load()
        certificates = open_certificates(
            self.settings, partial(self.loaded_app.log.message, "warning")
        )
        if certificates is not None:
            self.ssl = certificates.context


class Connection(asyncio.Protocol):
    """A connection: it parses requests, and lets the application answer them one after the other.

    Args:
        config: The configuration.
        server_state: The connections and tasks of the server.
        app_state: Not used.
        _loop: The event loop; None for the running one.
    """

    transport: asyncio.Transport

    def __init__(
        self,
        config: ServiceConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        del app_state
        if not config.loaded:
            config.load()
        self._respond = cast(
            "Callable[[Incoming], Coroutine[None, None, None]]", config.loaded_app.respond
        )
        self._refused = cast("Callable[[str], None]", config.loaded_app.refused)
        self._limits, self._idle_s = config.limits, config.timeout_keep_alive
        self._state = server_state
        self._loop = _loop or asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        # A client may announce its last request, and still send bytes after it.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.port = 0
        self._url, self._headers = b"", list[tuple[bytes, bytes]]()
        self._is_in_head, self._head_bytes = False, 0
        #: The request whose bytes arrive, the request that is answered, and those that wait.
        self._arriving: Incoming | None = None
        self._current: Incoming | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiting: deque[Incoming] = deque()
        self._head_timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        self._idle_since_s = 0.0
        self._is_paused = self._is_ending = False
        self._unread: asyncio.Future[None] | None = None

    @property
    def server_headers(self) -> RawHeaders:
        """The headers of every answer."""
        return self._state.default_headers

    @property
    def running(self) -> Sized:
        """The tasks of all requests that came and are not answered."""
        return self._state.tasks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or refuse the connection if there are too many."""
        self.transport = cast("asyncio.Transport", transport)
        self.port = int(self.transport.get_extra_info("sockname")[1])
        self._state.connections.add(self)  # type: ignore[arg-type]
        if len(self._state.connections) > self._limits.most:
            self._refuse(503, b"retry-after: 1\r\n")
            return
        self._head_timer = self._loop.call_later(self._limits.head_s, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """End: running and waiting requests have no reader any more."""
        del exc
        self._state.connections.discard(self)
        for timer in (self._head_timer, self._idle_timer, self._send_timer):
            if timer is not None:
                timer.cancel()
        self._leave()

    def shutdown(self) -> None:
        """End after the answer to the request that runs, or that is on its way already."""
        self._waiting.clear()
        self._is_ending = True
        if self._current is None or self._current.is_answered:
            self._loop.call_later(_LAST_S, self._end)
        else:
            self._current.keeps_alive = False

    def _end(self) -> None:
        if self._current is None:
            self.transport.close()

    def pause_writing(self) -> None:
        """Wait for a client that reads more slowly than the service writes, but not forever."""
        self._unread = self._loop.create_future()
        # A normal close would wait until the client has read all that is written.
        self._send_timer = self._loop.call_later(self._limits.send_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Continue: the client has read almost everything."""
        if self._send_timer is not None:
            self._send_timer.cancel()
        if self._unread is not None and not self._unread.done():
            self._unread.set_result(None)
        self._unread = None

    async def writable(self) -> None:
        """Wait until the client has read almost everything that was written."""
        if self._unread is not None:
            await asyncio.shield(self._unread)

    def write(self, content: bytes) -> None:
        """Write, if the connection still exists."""
        if not self.transport.is_closing():
            self.transport.write(content)

    def resume_reading(self) -> None:
        """Continue reading, if it was paused."""
        if self._is_paused:
            self._is_paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()

    def _pause_reading(self) -> None:
        if not self._is_paused and not self.transport.is_closing():
            self._is_paused = True
            self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        if self.transport.is_closing():
            return
        is_in_head = self._arriving is None or self._arriving.is_whole
        if is_in_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # the client asks for another protocol: the request is answered in this one
        except httptools.HttpParserError:
            _log.warning("Invalid HTTP request received")
            self._refuse(400)
        # Bytes after the head belong to the body, or to the next request, and are not counted.
        if self._head_bytes > self._limits.header_bytes:
            self._refuse(431)
        if self._is_in_head and self._head_timer is None and not self.transport.is_closing():
            self._head_timer = self._loop.call_later(self._limits.head_s, self._too_slow)

    def on_message_begin(self) -> None:
        """Begin a head."""
        self._is_in_head, self._arriving = True, None
        self._url, self._headers = b"", []

    def on_url(self, url: bytes) -> None:
        """Take a part of the address."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        name = name.lower()
        self._headers.append((name, value.lower() if name == b"expect" else value))

    def on_headers_complete(self) -> None:
        """Begin a request, whose head is complete."""
        self._is_in_head, self._head_bytes = False, 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        if self.transport.is_closing():
            return
        headers = self._headers
        size = len(self._url) + sum(len(name) + len(value) + 4 for name, value in headers)
        if size > self._limits.header_bytes:
            self._refuse(431)
            return
        path = httptools.parse_url(self._url).path.decode("ascii")
        self._arriving = Incoming(
            self,
            self._parser.get_method().decode("ascii"),
            unquote(path) if "%" in path else path,
            headers,
            last=self._parser.get_http_version() == "1.0" or not self._parser.should_keep_alive(),
        )
        if self._current is None:
            self._start(self._arriving)
        else:
            self._waiting.append(self._arriving)
            self._pause_reading()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        if self._arriving is not None and self._arriving.take(body):
            self._pause_reading()

    def on_message_complete(self) -> None:
        """End a request: the next bytes belong to another head."""
        if self._arriving is not None:
            self._arriving.complete()

    def _start(self, incoming: Incoming) -> None:
        if self._is_ending:
            incoming.keeps_alive = False
        self._current, incoming.due_s = incoming, time.monotonic()
        self._task = self._loop.create_task(self._respond(incoming))
        self._state.tasks.add(self._task)
        self._task.add_done_callback(self._finish)

    def _finish(self, task: "asyncio.Task[None]") -> None:
        """Continue with the next request after an answer."""
        self._state.tasks.discard(task)
        incoming, self._current, self._task = self._current, None, None
        self._state.total_requests += 1
        if incoming is None or self.transport.is_closing():
            return
        if not incoming.is_answered or not incoming.keeps_alive:
            self.transport.close()
            return
        if self._waiting:
            self._start(self._waiting.popleft())
            return
        self.resume_reading()
        self._idle_since_s = self._loop.time()
        if self._idle_timer is None:
            self._idle_timer = self._loop.call_later(self._idle_s, self._end_idle)

    def _end_idle(self) -> None:
        """Close a connection without a request for a while."""
        # One timer serves many requests: starting and cancelling one for each would take longer.
        left_s = self._idle_since_s + self._idle_s - self._loop.time()
        is_busy = self._current is not None or self._is_in_head
        if left_s <= 0 and not is_busy:
            self.transport.close()
        else:
            again_s = self._idle_s if is_busy else left_s
            self._idle_timer = self._loop.call_later(again_s, self._end_idle)

    def _too_slow(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self._refuse(408)

    def _refuse(self, status: int, headers: bytes = b"") -> None:
        """Refuse bytes that are not a request, and close the connection."""
        self._refused(_REASONS[status])
        self.write(
            b"%b\r\n%bcontent-length: 0\r\nconnection: close\r\n\r\n"
            % (STATUS_LINES[status], headers)
        )
        self.transport.close()
        self._leave()

    def _leave(self) -> None:
        """End the running request, whose answer has no reader, and the waiting ones."""
        self._waiting.clear()
        if self._task is not None and self._current is not None and not self._current.is_answered:
            self._task.cancel()

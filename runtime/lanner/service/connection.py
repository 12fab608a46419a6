"""Connections of HTTP with limits that uvicorn has not: slow heads, large heads, too many."""

import asyncio
from dataclasses import dataclass
from functools import partial

from lanner.errors import MissingExtraError
from lanner.service.protection import open_certificates
from lanner.service.settings import Settings

try:
    import uvicorn
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
except ImportError as error:
    what = "the service"
    raise MissingExtraError(what, "service", "uvicorn") from error


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
    """A configuration of uvicorn, with the limits of `LimitedConnection`."""

    limits = ConnectionLimits()
    settings = Settings()

    def load(self) -> None:
        """Load the application, and the certificates in a context that follows their files."""
        # In each process by itself: a context cannot be passed to another.
        super().load()
        certificates = open_certificates(
            self.settings, partial(self.loaded_app.log.message, "warning")
        )
        if certificates is not None:
            self.ssl = certificates.context


class LimitedConnection(HttpToolsProtocol):
    """A connection whose request must send its head in time, and a small one."""

    config: ServiceConfig

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, or refuse a connection that is one too many."""
        super().connection_made(transport)
        self._timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        if len(self.connections) > self.config.limits.most:
            self._refuse(b"503 Service Unavailable", b"retry-after: 1\r\n")
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_timer()
        self._stop_send_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for a client that reads slower than the service writes, but not for ever."""
        super().pause_writing()
        # To close it would wait until the client has read all that is written.
        self._send_timer = self.loop.call_later(self.config.limits.send_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client has read almost all."""
        super().resume_writing()
        self._stop_send_timer()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        if self.transport.is_closing():
            return
        if self._head_bytes >= 0:
            self._head_bytes += len(data)
            if self._timer is None:
                self._await_head()
        super().data_received(data)
        # Bytes behind the head are of the body, or of the next request, and not counted.
        if self._head_bytes > self.config.limits.header_bytes and not self.transport.is_closing():
            self._refuse(b"431 Request Header Fields Too Large")

    def on_headers_complete(self) -> None:
        """Begin a request: its head is there."""
        self._stop_timer()
        self._head_bytes = -1
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.config.limits.header_bytes:
            self._refuse(b"431 Request Header Fields Too Large")
            return
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End a request: the next bytes are of another head."""
        self._head_bytes = 0
        if not self.transport.is_closing():
            super().on_message_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        if not self.transport.is_closing():
            super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, and close the connection."""
        super().send_400_response(msg)
        self._leave()

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(self.config.limits.head_s, self._too_slow)

    def _too_slow(self) -> None:
        # Between requests uvicorn's own limit of idle connections counts.
        self._timer = None
        if not self.transport.is_closing():
            self._refuse(b"408 Request Timeout")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_send_timer(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    def _refuse(self, status: bytes, headers: bytes = b"") -> None:
        self._stop_timer()
        self.transport.write(
            b"HTTP/1.1 " + status + b"\r\n" + headers + b"content-length: 0\r\n"
            b"connection: close\r\n\r\n"
        )
        self.transport.close()
        self._leave()

    def _leave(self) -> None:
        """Tell a request that came before on the connection that nobody reads its answer."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

"""Requests as they arrive, and their answers, each sent in one write."""

import asyncio
from collections.abc import Callable, Sequence, Sized
from http import HTTPStatus
from typing import Protocol

RawHeaders = Sequence[tuple[bytes, bytes]]

#: The first line of an answer, by its status.
STATUS_LINES = {one.value: f"HTTP/1.1 {one.value} {one.phrase}".encode() for one in HTTPStatus}
#: The most bytes of a body that wait in memory while the application does not read.
_MOST_UNREAD = 64 * 2**10


class Sender(Protocol):
    """The part of a request's connection that its answer needs."""

    port: int

    @property
    def running(self) -> Sized:
        """The tasks of all requests that have come and are not answered yet."""

    @property
    def server_headers(self) -> RawHeaders:
        """The headers of every answer."""

    def write(self, content: bytes) -> None:
        """Write, if the connection still exists."""

    async def writable(self) -> None:
        """Wait until the client has read almost all that was written."""

    def resume_reading(self) -> None:
        """Continue to read, if reading was paused."""


class Incoming:
    """A request as it arrives: its head, and the part of its body that has come.

    Attributes:
        method: The HTTP method.
        path: The decoded path, without the query.
        headers: The headers as they came, names in lower case; a name may come twice.
        port: The port of the service that it came to.
        is_whole: True if the whole body has come.
        running: The tasks of all requests of the process.
        due_s: The time, by `time.monotonic`, since which this request is the next to be answered.
    """

    __slots__ = (
        *(
            "due_s",
            "headers",
            "is_answered",
            "is_whole",
            "keeps_alive",
            "method",
            "path",
            "port",
            "running",
        ),
        *("_connection", "_parts", "_size", "_waiter"),
    )

    def __init__(
        self, connection: Sender, method: str, path: str, headers: RawHeaders, *, last: bool
    ) -> None:
        self._connection = connection
        self.method, self.path, self.headers = method, path, headers
        self.port, self.running = connection.port, connection.running
        self.keeps_alive = not last
        self.is_whole = self.is_answered = False
        self.due_s = 0.0
        self._parts: list[bytes] = []
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None

    async def body(self, most_bytes: int, take: Callable[[int], None]) -> bytes | None:
        """Return the body, or None as soon as it is larger than `most_bytes`.

        Args:
            most_bytes: The largest body.
            take: Called with the number of bytes that have come; it may refuse them.
        """
        if not self.is_whole and (b"expect", b"100-continue") in self.headers:
            self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        taken = self._size
        take(taken)
        while not self.is_whole and self._size <= most_bytes:
            self._waiter = asyncio.get_running_loop().create_future()
            self._connection.resume_reading()
            await self._waiter
            taken, new = self._size, self._size - taken
            take(new)
        return b"".join(self._parts) if self._size <= most_bytes else None

    async def answer(self, status: int, headers: RawHeaders, body: bytes) -> None:
        """Send an answer, after the client has read almost all of the previous one.

        Args:
            status: The HTTP status.
            headers: The headers, `content-length` among them.
            body: The body.
        """
        lines = [STATUS_LINES[status]]
        lines += map(b": ".join, self._connection.server_headers)
        lines += map(b": ".join, headers)
        if not self.keeps_alive:
            lines.append(b"connection: close")
        head = b"\r\n".join(lines)
        if head.count(b"\n") >= len(lines):
            msg = "a header of an answer holds a line break"
            raise ValueError(msg)
        await self._connection.writable()
        self.is_answered = True
        self._connection.write(b"%b\r\n\r\n%b" % (head, b"" if self.method == "HEAD" else body))

    def take(self, part: bytes) -> bool:
        """Take a part of the body; return True if the reader should pause until it is read."""
        if self.is_answered:
            return False
        self._parts.append(part)
        self._size += len(part)
        self._wake()
        return self._waiter is None and self._size > _MOST_UNREAD

    def complete(self) -> None:
        """Note that the whole body has come."""
        self.is_whole = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

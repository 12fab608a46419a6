"""Sockets with a deadline for a whole answer, not for each byte of it.

A socket's own timeout restarts with each byte, so a server that sends a byte now and then would
hold its caller for ever.
"""

import io
import socket
import time
from contextvars import ContextVar
from typing import Any, BinaryIO, cast

#: A connection whose other end vanished is detected after this time: 30 s of silence and three
#: unanswered probes (tcp(7)).
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 60_000}


def socket_options() -> list[tuple[int, int, int]]:
    """Return the options of a connection: no delay, and keepalive as far as the system has it."""
    known = [(name, value) for name, value in _KEEPALIVE.items() if hasattr(socket, name)]
    return [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        *((socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in known),
    ]


#: The deadline of this thread's request, by `time.monotonic`.
current_deadline_s: ContextVar[float] = ContextVar("deadline_s", default=float("inf"))


class DeadlineSocket:
    """A socket that is read and written until `current_deadline_s`."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def settimeout(self, value: float | None) -> None:
        """Do nothing: the deadline replaces the timeout."""

    def sendall(self, data: Any) -> None:
        """Send all bytes; the socket's own timeout is for all of them."""
        self._sock.settimeout(_left_s())
        self._sock.sendall(data)

    def recv_into(self, buffer: Any) -> int:
        """Read the available bytes, or wait for some until the deadline."""
        self._sock.settimeout(_left_s())
        return self._sock.recv_into(buffer)

    def makefile(self, mode: str = "rb", buffering: int = -1) -> BinaryIO:
        """Return a file to read an answer from; see `socket.makefile`."""
        del mode, buffering
        own: Any = self._sock
        own._io_refs += 1  # the socket closes when its files have
        return io.BufferedReader(socket.SocketIO(cast("Any", self), "r"))


def _left_s() -> float | None:
    deadline_s = current_deadline_s.get()
    if deadline_s == float("inf"):
        return None
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s

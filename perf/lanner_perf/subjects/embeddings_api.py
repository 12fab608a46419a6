"""A client of `/v1/embeddings`, as OpenAI defined it, that takes next to no time of its own.

Requests are made before they are timed, and answers are not decoded while others are awaited: a
client for people takes as long for a short text as the service does. Only the standard library is
imported until vectors are read.
"""

from __future__ import annotations

import base64
import json
import select
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from lanner.vectors.similarity import Vectors

_TIMEOUT_S = 120.0
_RECEIVED_BYTES = 1 << 20


class Endpoint(NamedTuple):
    """A model of a service.

    Attributes:
        url: The address that clients of OpenAI are given, such as ``http://localhost:8080/v1``.
        model: The name of the model.
    """

    url: str
    model: str

    def request(self, texts: Sequence[str]) -> bytes:
        """Return a request for the vectors of texts."""
        content = {"model": self.model, "input": list(texts), "encoding_format": "base64"}
        return self._head("POST", "/embeddings", json.dumps(content).encode())

    def models(self) -> list[dict[str, Any]]:
        """Return the models of the service, as it describes them."""
        with self.connect() as connection:
            found = json.loads(ask(connection, self._head("GET", "/models", b"")))
        return list(found["data"])

    def connect(self) -> socket.socket:
        """Return a new connection."""
        parts = urlsplit(self.url)
        connection = socket.create_connection((parts.hostname, parts.port or 80), _TIMEOUT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _head(self, method: str, path: str, body: bytes) -> bytes:
        parts = urlsplit(self.url)
        lines = [f"{method} {parts.path}{path} HTTP/1.1", f"Host: {parts.netloc}"]
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "", ""]
        return "\r\n".join(lines).encode() + body


def ask(connection: socket.socket, request: bytes) -> bytes:
    """Send a request, and return the body of its answer.

    Raises:
        RuntimeError: The service refused it.
        ConnectionError: It closed the connection.
    """
    connection.sendall(request)
    found = b""
    while (body := body_of(found)) is None:
        found += received(connection)
    return body


def ask_at_once(
    endpoint: Endpoint, requests: Sequence[bytes], callers: int
) -> list[tuple[float, float]]:
    """Send requests over as many connections as there are callers, each its next one when answered.

    One thread waits for all: threads would take turns, and the service would wait for theirs.

    Args:
        endpoint: The endpoint.
        requests: The requests.
        callers: The number of connections.

    Returns:
        Of each request the seconds since the first was sent at which it was sent and answered.

    Raises:
        RuntimeError: The service refused one.
        ConnectionError: It closed a connection.
    """
    times = [(0.0, 0.0)] * len(requests)
    with ExitStack() as stack, select.epoll() as polled:
        connections: dict[int, socket.socket] = {}
        for _ in range(min(callers, len(requests))):
            connection = stack.enter_context(endpoint.connect())
            polled.register(connection, select.EPOLLIN)
            connections[connection.fileno()] = connection
        waiting = iter(range(len(requests)))
        begin_s = time.perf_counter()
        asked: dict[int, tuple[int, float, bytes]] = {}
        for number, connection in connections.items():
            index = next(waiting)
            asked[number] = (index, time.perf_counter() - begin_s, b"")
            connection.sendall(requests[index])
        while asked:
            for number, _ in polled.poll():
                index, sent_s, found = asked[number]
                found += received(connections[number])
                if body_of(found) is None:
                    asked[number] = (index, sent_s, found)
                    continue
                now_s = time.perf_counter() - begin_s
                times[index] = (sent_s, now_s)
                following = next(waiting, None)
                if following is None:
                    del asked[number]
                    continue
                asked[number] = (following, now_s, b"")
                connections[number].sendall(requests[following])
    return times


def received(connection: socket.socket) -> bytes:
    """Return what has come on a connection; wait for something.

    Raises:
        ConnectionError: It was closed.
    """
    piece = connection.recv(_RECEIVED_BYTES)
    if not piece:
        msg = "the service closed the connection"
        raise ConnectionError(msg)
    return piece


def body_of(found: bytes) -> bytes | None:
    """Return the body of an answer, or None if not all of it has come.

    Raises:
        RuntimeError: The service refused the request.
    """
    end = found.find(b"\r\n\r\n") + 4
    if end < 4:
        return None
    head = found[:end].lower()
    at = head.index(b"content-length:") + 15
    if len(found) < end + int(head[at : head.index(b"\r", at)]):
        return None
    if not head.startswith(b"http/1.1 200 "):
        status = found[9:end].partition(b"\r\n")[0].decode()
        msg = f"the service answers {status}: {found[end:][:200].decode(errors='replace')}"
        raise RuntimeError(msg)
    return found[end:]


def vectors_of(body: bytes) -> Vectors:
    """Return the vectors of an answer, float32 [n, dimension]."""
    import numpy as np  # noqa: PLC0415

    rows = [base64.b64decode(one["embedding"]) for one in json.loads(body)["data"]]
    return np.frombuffer(b"".join(rows), "<f4").reshape(len(rows), -1)

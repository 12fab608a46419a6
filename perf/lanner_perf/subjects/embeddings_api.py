"""A client of OpenAI's `/v1/embeddings` that takes almost no time of its own.

A usual client takes as long for a short text as the service does. This one builds its requests
before they are timed, and decodes no answer while it waits for others. It imports only the standard
library until vectors are read.
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
        url: The address as OpenAI's clients take it, such as ``http://localhost:8080/v1``.
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
        RuntimeError: The service refused the request.
        ConnectionError: The service closed the connection.
    """
    connection.sendall(request)
    found = b""
    while (body := body_of(found)) is None:
        found += received(connection)
    return body


def ask_at_once(
    endpoint: Endpoint, requests: Sequence[bytes], callers: int
) -> list[tuple[float, float]]:
    """Send requests over one connection for each caller; a connection sends its next when answered.

    One thread waits for all connections: several threads would take turns, and the service would
    wait for them.

    Args:
        endpoint: The endpoint.
        requests: The requests.
        callers: The number of connections.

    Returns:
        The times at which each request was sent and answered, in seconds since the first was sent.

    Raises:
        RuntimeError: The service refused a request.
        ConnectionError: The service closed a connection.
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
    """Return the bytes that have come on a connection; wait for the first of them.

    Raises:
        ConnectionError: The service closed the connection.
    """
    piece = connection.recv(_RECEIVED_BYTES)
    if not piece:
        msg = "the service closed the connection"
        raise ConnectionError(msg)
    return piece


def body_of(found: bytes) -> bytes | None:
    """Return the body of an answer, or None if part of it is still missing.

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

"""Connections of the service: how requests come in, and answers go out."""

import asyncio
import json
import socket
import threading
from pathlib import Path
from typing import cast

import pytest

pytest.importorskip("uvicorn", reason="needs the extra 'service'")

from tests.runtime.service.test_app import head, held
from tests.support.service import Service, serving
from tests.support.word_artifact import write_word_artifact

from lanner.service import connection as connection_module
from lanner.service.connection import Connection
from lanner.service.incoming import Incoming

BODY = b'{"input": "a"}'
#: More than all buffers of the system take for a reader that does not read.
_MOST_BYTES = 64 * 2**20


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_word_artifact(tmp_path_factory.mktemp("words") / "words.lanner")


def connected(service: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.door.port), timeout=10)


def test_an_answer_is_one_write(words: Path) -> None:
    with serving({"words": words}) as service, connected(service) as client:
        for _ in range(3):
            client.sendall(head(len(BODY)) + BODY)
            found = client.recv(1 << 16)
            assert found.startswith(b"HTTP/1.1 200 OK\r\ndate: ")
            answer = json.loads(found.partition(b"\r\n\r\n")[2])
            assert answer["data"][0]["embedding"] == [1, 0, 0, 0]


def test_a_client_may_wait_until_it_is_told_to_send_its_body(words: Path) -> None:
    with serving({"words": words}) as service, connected(service) as client:
        client.sendall(head(len(BODY), "Expect: 100-Continue"))
        assert client.recv(1 << 16) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(BODY)
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_refused_client_may_send_the_rest_but_not_for_ever(words: Path) -> None:
    with (
        serving({"words": words}, max_body_bytes=1_000, idle_timeout_s=1.0) as service,
        connected(service) as client,
    ):
        client.sendall(head(2_000) + b"x" * 500)
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 413 ")
        client.sendall(b"x" * 1_500 + head(len(BODY)) + BODY)
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 200 OK\r\n")
        client.sendall(head(_MOST_BYTES))
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 413 ")
        assert client.recv(1 << 16) == b""


def test_requests_behind_one_that_runs_stay_with_their_client(words: Path) -> None:
    with held(words) as (service, engine), connected(service) as client:
        client.sendall(head(len(BODY)) + BODY)
        assert engine.has_begun.wait(10)
        many = (head(len(BODY)) + BODY) * 1_000
        client.settimeout(0.5)
        sent = 0
        while sent < _MOST_BYTES:
            try:
                sent += client.send(many)
            except TimeoutError:
                break
        assert sent < _MOST_BYTES
        engine.may_go.set()
        client.settimeout(10)
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 200 OK\r\n")


def told_to_end(service: Service) -> None:
    """Tell the only connection that the service ends."""
    server = service.door._server
    assert server is not None
    (connection,) = server.server_state.connections
    ended = threading.Event()

    def end() -> None:
        connection.shutdown()
        ended.set()

    connection._loop.call_soon_threadsafe(end)  # type: ignore[union-attr]
    assert ended.wait(10)


def test_a_request_that_is_on_its_way_at_the_end_is_answered(
    words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "_LAST_S", 30.0)
    with serving({"words": words}) as service, connected(service) as client:
        client.sendall(head(len(BODY)) + BODY)
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 200 OK\r\n")
        told_to_end(service)
        client.sendall(head(len(BODY)) + BODY)
        answer = client.recv(1 << 16)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nconnection: close\r\n" in answer
        assert client.recv(1 << 16) == b""


def test_an_idle_connection_is_closed_at_the_end(words: Path) -> None:
    with serving({"words": words}) as service, connected(service) as client:
        client.sendall(head(len(BODY)) + BODY)
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 200 OK\r\n")
        told_to_end(service)
        assert client.recv(1 << 16) == b""


def test_a_header_cannot_begin_another() -> None:
    class Written:
        port, written = 80, b""
        running, server_headers = (), ()

        async def writable(self) -> None: ...

        def write(self, content: bytes) -> None:
            self.written += content

    connection = Written()
    incoming = Incoming(cast("Connection", connection), "GET", "/", [], last=True)
    with pytest.raises(ValueError, match="a header of an answer holds a line break"):
        asyncio.run(incoming.answer(200, [(b"x-id", b"1\r\nx-more: 2")], b""))
    assert connection.written == b""
    asyncio.run(incoming.answer(200, [(b"x-id", b"1")], b"2"))
    assert connection.written == b"HTTP/1.1 200 OK\r\nx-id: 1\r\nconnection: close\r\n\r\n2"

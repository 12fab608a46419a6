"""Answers over HTTP that Triton never gives."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("tritonclient.http", reason="needs the triton extra")

from tests.support.bounds import cases
from tests.support.forged_server import ForgedServer, bounded
from tests.support.hostile_server import (
    Answer,
    answering,
    dripping,
    hanging_up,
    page,
    routed,
    saying,
)
from tests.support.mutations import damaged, forged
from tests.support.served_words import (
    ANSWERS,
    DATATYPES,
    Tensors,
    other_tensors,
    recarried,
)

from lanner.triton.client import http_transport

pytestmark = pytest.mark.slow
Server = ForgedServer[Answer]

LENGTH = "Inference-Header-Content-Length"
METADATA = {"name": "m", "versions": ["1"], "platform": "python", "inputs": [], "outputs": []}


@pytest.fixture(scope="module", autouse=True)
def bounds() -> Iterator[None]:
    with bounded(http_transport, MOST_BYTES=2**24):
        yield


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server("http", tmp_path_factory.mktemp("served"), whole, saying)
    with answering(routed(made.answers)) as made.port:
        yield made


def json_page(content: Any, *headers: str) -> bytes:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return page(body, "Content-Type: application/json", *headers)


def head_of(tensors: Tensors) -> dict[str, Any]:
    outputs = [
        {
            "name": name,
            "datatype": DATATYPES[one.dtype.str[1:]],
            "shape": list(one.shape),
            "parameters": {"binary_data_size": one.nbytes},
        }
        for name, one in tensors.items()
    ]
    return {"model_name": "m", "model_version": "1", "outputs": outputs}


def answer(tensors: Tensors, head: bytes | None = None) -> bytes:
    head = json.dumps(head_of(tensors)).encode() if head is None else head
    return page(
        head + b"".join(one.tobytes() for one in tensors.values()), f"{LENGTH}: {len(head)}"
    )


def whole(config: dict[str, Any], head: str) -> dict[str, bytes]:
    return {
        "/config": json_page(config),
        "/infer": answer(ANSWERS[head]),
        "/m": json_page(METADATA),
    }


HTML = b"<html><title>maintenance</title></html>"
HEAD = b"HTTP/1.1 200 OK\r\n"
ODD: list[bytes] = [
    page(HTML, "Content-Type: text/html"),
    page(HTML, "Content-Type: text/html", status="503 Service Unavailable"),
    page(HTML * 10_000, "Content-Type: text/html", status="502 Bad Gateway"),
    page(b"", status="204 No Content"),
    page(b"", "Location: http://127.0.0.1:1/", status="302 Found"),
    page(b"", status="308 \xc3\xa9".encode().decode("latin-1")),
    page(b"", "WWW-Authenticate: Basic realm=x", status="401 Unauthorized"),
    page(b"", "Proxy-Authenticate: NTLM", status="407 Proxy Authentication Required"),
    page(b'{"error": "\\ud800 \\u001b[2J"}', status="400 Bad Request"),
    page(b'{"error": {"a": [1]}}', status="500 Internal Server Error"),
    page(b'{"error": null}', status="429 Too Many Requests"),
    page(b"[" * 60_000, status="500 no"),
    page(b"\xff\xfe\x00", status="999 "),
    page(b"{}", status="000 none"),
    page(b"{}", status="-1 none"),
    page(b"{}", status="2000 many"),
    page(b"x" * 100, "Content-Length: 5"),
    page(gzip.compress(b" " * 10**6), "Content-Encoding: gzip"),
    page(b"{}", "Content-Encoding: br, gzip"),
    page(b"{}", "Transfer-Encoding: gzip"),
    page(b"{}", "Transfer-Encoding: chunked"),
    page(b"{}", "Connection: close, upgrade", "Upgrade: h2c"),
    page(b"{}", "Set-Cookie: " + "a" * 60_000),
    page(b"{}", "Set-Cookie: " + "a" * 70_000),
    page(b"{}", *(f"X-{n}: y" for n in range(99))),
    page(b"{}", *(f"X-{n}: y" for n in range(200))),
    page(b"{}", "X: a\r\n b", "Y:\x00z", ": nameless", "no colon"),
    HEAD + b"Content-Length: -1\r\n\r\n{}",
    HEAD + b"Content-Length: 99999999999999999999\r\n\r\n{}",
    HEAD + b"Content-Length: 1e3\r\n\r\n{}",
    HEAD + b"Content-Length: 2, 2\r\n\r\n{}",
    HEAD + b"Content-Length: +2\r\n\r\n{}",
    HEAD + b"Content-Length: \xb2\r\n\r\n{}",
    HEAD + b"\r\n{}",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\nTrailer: x\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + b"T: x\r\n" * 10_000,
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 100 + b"\r\n{}",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}XX",
    HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 7\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"HTTP/1.0 200\r\n\r\n{}",
    b"HTTP/2.0 200 OK\r\n\r\n",
    b"HTTP/1.1\r\n\r\n",
    b"HTTP/1.1 \xff OK\r\n\r\n",
    b"{}",
    b"\r\n" * 100,
    b"\x00" * 1_000,
    b"\x15\x03\x01\x00\x02\x02F",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"",
]


@pytest.mark.parametrize("head", sorted(ANSWERS))
def test_what_triton_answers_is_an_answer(server: Server, head: str) -> None:
    server.become(head)
    assert server.ask() is None


@cases(550)
@given(data=st.data())
def test_documents(server: Server, data: st.DataObject) -> None:
    """Answer with forged metadata, configurations and heads of tensors, as JSON."""
    head = data.draw(st.sampled_from(sorted(ANSWERS)))
    server.become(head)
    kind = data.draw(st.sampled_from(("/m", "/config", "/config", "carried", "/infer", "/infer")))
    if kind == "/infer":
        tensors = ANSWERS[head]
        server.answers[kind] = saying(answer(tensors, data.draw(forged(head_of(tensors)))))
    elif kind == "carried":
        server.answers["/config"] = saying(json_page(data.draw(recarried(server.configs[head]))))
    else:
        content = METADATA if kind == "/m" else server.configs[head]
        server.answers[kind] = saying(json_page(data.draw(forged(content))))
    server.ask()


@cases(200)
@given(data=st.data())
def test_tensors(server: Server, data: st.DataObject) -> None:
    head = data.draw(st.sampled_from(sorted(ANSWERS)))
    server.become(head)
    tensors = data.draw(other_tensors(ANSWERS[head]))
    server.answers["/infer"] = saying(answer(tensors))
    server.ask()


@cases(300)
@given(data=st.data())
def test_messages(server: Server, data: st.DataObject) -> None:
    """Answer with bytes that are not HTTP, and end connections too early."""
    server.become("embed")
    route = data.draw(st.sampled_from(sorted(server.answers)))
    content = server.whole("embed")[route]
    if data.draw(st.booleans()):
        server.answers[route] = hanging_up(data.draw(damaged(content)))
    else:
        cut = data.draw(st.integers(0, len(content)))
        server.answers[route] = hanging_up(content[:cut])
    server.ask()


@pytest.mark.parametrize("route", ["/m", "/config", "/infer"])
def test_odd_answers(server: Server, route: str) -> None:
    for content in ODD:
        server.become("embed")
        server.answers[route] = hanging_up(content)
        assert server.ask() is not None, content[:100]


@pytest.mark.parametrize("route", ["/m", "/config", "/infer"])
@pytest.mark.parametrize(
    "endless",
    [
        dripping(b"", b"\r\n", 0.02),
        dripping(HEAD, b"a", 0.02),
        dripping(HEAD, b"a: b\r\n", 0.02),
        dripping(HEAD + b"Content-Length: 1000000\r\n\r\n", b" ", 0.02),
        dripping(HEAD + b"Content-Length: 1000000000\r\n\r\n", b" " * 2**20, 0),
        dripping(HEAD + b"Content-Length: -1\r\n\r\n", b" " * 2**20, 0),
        dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", 0.02),
        dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"10\r\n" + b" " * 16 + b"\r\n", 0),
        dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"T: x\r\n", 0.02),
        dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0", 0.02),
        dripping(b"HTTP/1.1 500 no\r\n\r\n", b"x" * 1_000, 0),
        dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.02),
    ],
    ids=[
        "an empty head",
        "a head without a line",
        "a head of endless lines",
        "a slow body",
        "a body of a gigabyte",
        "a length of -1",
        "slow chunks",
        "endless chunks",
        "endless trailers",
        "an endless length of a chunk",
        "a body without a length",
        "endless continues",
    ],
)
def test_answers_without_an_end(
    server: Server, route: str, endless: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_transport, "METADATA_S", 0.3)
    monkeypatch.setattr(http_transport, "ANSWER_S", 0.3)
    server.become("embed")
    server.answers[route] = endless
    assert server.ask() is not None

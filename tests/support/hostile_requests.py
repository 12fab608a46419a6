"""Requests that no honest client sends, byte by byte, each with the status that it deserves.

Each contains `SECRET` where a service might repeat it. The artifact `words` of `word_artifact` is
served by its name, and the service has short timeouts.
"""

import gzip
import json
import random
import socket
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass

#: A text in requests where a service might repeat it; no answer, log or metric may contain it.
SECRET = "XQZ" + "7" * 9

SECRET_BYTES = SECRET.encode()
#: Stands for the status if the connection is closed instead.
CLOSED = 0


@dataclass(frozen=True)
class Hostile:
    """A request and the status that it deserves.

    Attributes:
        name: The name of the test.
        data: The bytes to send.
        status: The status of the answer, or `CLOSED`.
        or_status: Another valid status, if two answers race or the service closes the connection
            before it has read everything.
    """

    name: str
    data: bytes
    status: int
    or_status: int | None = None


def exchange(port: int, data: bytes, *, ends: bool = False, timeout_s: float = 20.0) -> bytes:
    """Return the first answer to some bytes, or all that came before the connection was closed.

    Args:
        port: The port of this machine.
        data: The bytes.
        ends: True to end the sending side after them.
        timeout_s: The most seconds that the service may be silent.

    Raises:
        TimeoutError: The service was silent for too long.
    """
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        with suppress(ConnectionError):  # it may answer and close before all is sent
            connection.sendall(data)
        if ends:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while not is_whole(answer) and (part := connection.recv(1 << 16)):
                answer += part
    return answer


def is_whole(answer: bytes) -> bool:
    """Return True if bytes contain a whole answer."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end or head.startswith(b"HTTP/1.1 100"):
        return False
    lengths = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-len")]
    return len(body) >= int(lengths[0]) if lengths else False


def status(answer: bytes) -> int:
    """Return the status of an answer, or `CLOSED`."""
    return int(answer.split(b" ", 2)[1]) if answer else CLOSED


def post(
    path: str,
    body: bytes | object,
    *headers: str,
    media_type: str = "application/json",
    method: str = "POST",
) -> bytes:
    """Return a whole request."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: x",
        f"Content-Type: {media_type}",
        f"Content-Length: {len(content)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + content


def get(path: str, *headers: str) -> bytes:
    """Return a whole request without a body."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode("latin-1")


def embed(body: bytes | object, *headers: str, media_type: str = "application/json") -> bytes:
    """Return a request at OpenAI's route."""
    return post("/v1/embeddings", body, *headers, media_type=media_type)


def chunked(chunks: bytes) -> bytes:
    """Return a request whose body is in chunks."""
    head = "POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + chunks


def _length(*values: str) -> bytes:
    lines = "".join(f"Content-Length: {value}\r\n" for value in values)
    return f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode() + b'{"a":'


def heads() -> list[Hostile]:
    """Return heads that are malformed, too large, too slow, or ambiguous."""
    noise = random.Random(21).randbytes(2_000)  # noqa: S311 (it must be the same each time)
    health = b"GET /health HTTP/1.1\r\n"
    coded = b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
    return [
        Hostile("nothing", b"", 408),
        Hostile("empty lines", b"\r\n\r\n", 408),
        Hostile("a method alone", b"GET\r\n\r\n", 400),
        Hostile("HTTP 9.9", b"GET /health HTTP/9.9\r\n\r\n", 400),
        Hostile("HTTP 0.9", b"GET /health\r\n", 408),
        Hostile("HTTP 1.0", b"GET /health HTTP/1.0\r\n\r\n", 200),
        Hostile("TLS", bytes.fromhex("16030100c8010000c40303") + noise[:200], 400),
        Hostile("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        Hostile("SOCKS", b"\x05\x01\x00", 400),
        Hostile("noise", noise, 400),
        Hostile("NUL in the method", b"G\0ET / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        Hostile("NUL in the path", b"GET /\0" + SECRET_BYTES + b" HTTP/1.1\r\n\r\n", 400),
        Hostile("NUL in a name", health + b"Ho\0st: x\r\n\r\n", 400),
        Hostile("NUL in a value", health + b"Host: x\0y\r\n\r\n", 400),
        Hostile("bare line feeds", b"GET /health HTTP/1.1\nHost: x\n\n", 400),
        Hostile("no colon", health + SECRET_BYTES + b"\r\n\r\n", 400),
        Hostile("a space before the colon", health + b"Host : x\r\n\r\n", 400),
        Hostile("a folded line", health + b"Host: x\r\n y\r\n\r\n", 400),
        Hostile("two lengths", _length("5", "50"), 400),
        Hostile("one length twice", _length("5", "5"), 400),
        Hostile("a list of lengths", _length("5, 5"), 400),
        Hostile("a length below 0", _length("-5"), 400),
        Hostile("a length with a sign", _length("+5"), 400),
        Hostile("a length in hexadecimal", _length("0x5"), 400),
        Hostile("a length of 40 digits", _length("9" * 40), 400),
        Hostile("a length of 100 GB", _length("99999999999"), 413),
        Hostile("a length beyond the body", _length("500"), 408),
        Hostile("chunks and a length", _length("5\r\nTransfer-Encoding: chunked"), 400),
        Hostile("two codings", coded + b"chunked\r\nTransfer-Encoding: identity\r\n\r\n", 400),
        Hostile("an unknown coding", coded + b"xchunked\r\n\r\n0\r\n\r\n", 400),
        Hostile("a coding of gzip", coded + b"gzip, chunked\r\n\r\n0\r\n\r\n", 400),
        Hostile("a header of 34 kB", get("/health", "A: " + "a" * 34_000), 431),
        Hostile("10,000 headers", get("/health", *["a: b"] * 10_000), 431),
        Hostile("a path of 1 MB", get("/" + "a" * 1_000_000), 431, CLOSED),
        Hostile("a method of 1 MB", b"A" * 1_000_000 + b" / HTTP/1.1\r\n\r\n", 400, CLOSED),
        Hostile("a header without an end", health + b"Host: " + b"x" * 5_000_000, 431, CLOSED),
        Hostile("a head without an end", health + b"Host: x\r\n", 408),
        Hostile("no host", health + b"\r\n", 200),
        Hostile("a websocket", get("/", "Connection: Upgrade", "Upgrade: websocket"), 405),
        Hostile("h2c", get("/health", "Connection: Upgrade", "Upgrade: h2c"), 200),
        Hostile("an unknown method", b"FOO / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        Hostile("a method of WebDAV", b"PROPFIND / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        Hostile("CONNECT", b"CONNECT evil.example:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        Hostile("TRACE", b"TRACE /health HTTP/1.1\r\nX: " + SECRET_BYTES + b"\r\n\r\n", 405),
        Hostile("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        Hostile("200 at once", get("/health") * 200, 200),
        Hostile("noise behind a request", get("/health") + noise, 200, 400),
        Hostile("an id with a line", embed({"input": "a"}, f"X-Request-Id: {SECRET}\x85 b"), 200),
        Hostile("forged addresses", embed({"input": "a"}, f"X-Forwarded-For: {SECRET}"), 200),
        Hostile("credentials", embed({"input": "a"}, f"Authorization: Basic {SECRET}"), 200),
    ]


def chunks() -> list[Hostile]:
    """Return bodies in malformed, huge or tiny chunks, and compressed bodies."""
    text = b'{"input":"a"}'
    tiny = b"".join(b"1\r\n%c\r\n" % byte for byte in text)
    bomb = gzip.compress(b" " * 50_000_000)
    encoding = "Content-Encoding: "
    return [
        Hostile("a size of letters", chunked(b"zz\r\nabc\r\n0\r\n\r\n"), 400),
        Hostile("a size of 80 bits", chunked(b"f" * 20 + b"\r\nabc"), 400),
        Hostile("a size of 60 bits", chunked(b"7" + b"f" * 14 + b"\r\nabc"), 408),
        Hostile("a size below 0", chunked(b"-5\r\nabcde\r\n0\r\n\r\n"), 400),
        Hostile("a chunk without its end", chunked(b"3\r\nabcXX0\r\n\r\n"), 400),
        Hostile(
            "a long extension", chunked(b"5;" + b"a" * 100_000 + b'\r\n{"a":\r\n0\r\n\r\n'), 400
        ),
        Hostile("no last chunk", chunked(tiny), 408),
        Hostile("chunks of a byte", chunked(tiny + b"0\r\n\r\n"), 200),
        Hostile("20,000 chunks", chunked(b"1\r\n \r\n" * 20_000 + b"0\r\n\r\n"), 400),
        Hostile(
            "20,000 trailers", chunked(b"2\r\n{}\r\n0\r\n" + b"a: b\r\n" * 20_000 + b"\r\n"), 400
        ),
        Hostile("a bomb of gzip", embed(bomb, encoding + "gzip"), 415),
        Hostile(
            "a bomb of deflate", embed(zlib.compress(b" " * 5_000_000), encoding + "deflate"), 415
        ),
        Hostile("two encodings", embed(bomb, encoding + "identity, gzip"), 415),
        Hostile(
            "an encoding given twice", embed(bomb, encoding + "identity", encoding + "br"), 415
        ),
        Hostile(
            "an entity of XML",
            embed(b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>"),
            400,
        ),
        Hostile("a form", embed(b"input=" + SECRET_BYTES), 400),
        Hostile("UTF-16", embed('{"input":"a"}'.encode("utf-16")), 400),
    ]


def paths() -> list[Hostile]:
    """Return paths that lead elsewhere if a path is decoded twice or not at all."""
    missing = [
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//evil.example/health",
        "/v1/embeddings/..;/metrics",
        "/v1/models/..%2f..%2fetc%2fpasswd",
        "/v1/models/%00",
        "/v1/models/%ff%fe",
        "/v1/models/{}",
        "/%c0%ae%c0%ae/",
        "/v1/models/" + "a" * 20_000,
        "/v1/models/" + "%2e" * 3_000,
        "/health;x=1",
        "/HEALTH",
        "/health/",
        "/./health",
        "/v2/models/../../health",
        "/v2/models/words/versions/../../x",
        "/docs/../metrics",
        "/metrics%0d%0aSet-Cookie:a=b",
        "/%",
        "/%zz",
        f"/v1/models/{SECRET}",
        f"/{SECRET}?{SECRET}",
        f"/v2/models/{SECRET}/config",
        f"/models/{SECRET}/info",
    ]
    return [
        *(Hostile(path[:40], get(path), 404) for path in missing),
        Hostile("bytes", get("/\xff\xfe"), 400),
        Hostile("backslashes", get("\\..\\..\\x"), 400),
        Hostile("another host", get("http://evil.example/health"), 200),
        Hostile("a long query", get("/health?" + "a=b&" * 5_000), 200),
        Hostile("to unload", post("/v2/repository/models/words/unload", {}), 404),
        Hostile("to share memory", post("/v2/systemsharedmemory/region/a/register", {}), 404),
        Hostile("to delete", post("/v1/embeddings", b"", method="DELETE"), 405),
    ]


def _inputs() -> list[tuple[str, str, int]]:
    return [
        ("half a surrogate pair", r'"\ud800"', 400),
        ("the other half", r'"a\udc00b"', 400),
        ("halves apart", r'["a","\ud83d","\ude00"]', 400),
        ("NUL", r'"a\u0000b"', 200),
        ("control characters", r'"\u0001\u001b[2J\u007f\u0085\u2028"', 200),
        ("null", "null", 400),
        ("a number", "1", 400),
        ("true", "true", 400),
        ("an object", json.dumps({"a": SECRET}), 400),
        ("nested lists", '[[["a"]]]', 400),
        ("a text and a number", '["a",1]', 400),
        ("a number and a text", '[1,"a"]', 400),
        ("ids", "[1,2,3]", 400),
        ("ids below 0", "[-1]", 400),
        ("ids of 26 digits", f"[{'9' * 26}]", 400),
        ("ids that are fractions", "[1.5]", 400),
        ("no text", "[]", 400),
        ("a list of null", "[null]", 400),
        ("a list of nothing", "[[]]", 400),
        ("empty texts", '["",""]', 200),
        ("spaces", r'"   \n\t "', 200),
        ("100,000 texts", json.dumps(["a"] * 100_000), 413),
        ("a text of 1 MB", json.dumps("a " * 500_000), 200),
        ("a text of 3 MB", json.dumps("a " * 1_500_000), 413),
        ("a word of 100 kB", json.dumps("a" * 100_000), 200),
        ("20,000 marks", json.dumps("a" + "\u0301" * 20_000), 200),
        ("20,000 joiners", json.dumps("\U0001f468\u200d" * 20_000), 200),
        ("right to left", json.dumps("\u202e" + SECRET), 200),
        ("no characters", json.dumps("\uffff\ufdd0\U0010ffff"), 200),
    ]


def bodies() -> list[Hostile]:
    """Return bodies that are not JSON, JSON of another shape, or values out of range."""
    raw: list[tuple[str, bytes, int]] = [
        ("nothing", b"", 400),
        ("a brace", b"{", 400),
        ("a list", b"[]", 400),
        ("null", b"null", 400),
        ("a number beyond floats", b"1e999999", 400),
        ("a text", b'"' + SECRET_BYTES + b'"', 400),
        ("200,000 lists", b"[" * 200_000, 400),
        ("100,000 objects", b'{"a":' * 100_000, 400),
        ("100,000 lists that end", b'{"input":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
        ("a field three times", b'{"input":1,"input":"' + SECRET_BYTES + b'","input":["b"]}', 400),
        ("no UTF-8", b'{"input":"\xff\xfe' + SECRET_BYTES + b'"}', 400),
        ("a raw NUL", b'{"input":"a\x00b"}', 400),
        ("a mark of byte order", b'\xef\xbb\xbf{"input":"a"}', 400),
        ("two values", b'{"input":"a"}{"input":"b"}', 400),
        ("a comment", b'{"input":"a" /* x */}', 400),
        ("other quotes", b"{'input':'a'}", 400),
        ("NaN", b'{"input":"a","dimensions":NaN}', 400),
        ("an infinity", b'{"input":"a","dimensions":Infinity}', 400),
        ("a name of 1 MB", b'{"' + b"a" * 1_000_000 + b'":1}', 400),
        ("100,000 fields", b"{" + b",".join(b'"k%d":1' % i for i in range(100_000)) + b"}", 400),
        ("a prototype", b'{"__proto__":{"a":1},"__class__":"x","input":"a"}', 200),
        ("an unknown field", json.dumps({SECRET: SECRET, "input": "a"}).encode(), 200),
    ]
    fields: list[tuple[str, object, int]] = [
        ("dimensions", -1, 400),
        ("dimensions", 0, 400),
        ("dimensions", 1.5, 400),
        ("dimensions", True, 400),
        ("dimensions", 1e308, 400),
        ("dimensions", 99_999, 400),
        ("dimensions", SECRET, 400),
        ("encoding_format", SECRET, 400),
        ("encoding_format", 1, 400),
        ("model", "../../../etc/passwd", 404),
        ("model", "a\0b", 404),
        ("model", "a" * 1_000_000, 404),
        ("model", 5, 400),
        ("model", f"words:{SECRET}", 400),
        ("model", ":::::", 404),
        ("model", SECRET, 404),
    ]
    long = b'{"input":"a","dimensions":' + b"9" * 100_000 + b"}"
    return [
        *(Hostile(name, embed(body), due) for name, body, due in raw),
        *(
            Hostile(f"input: {name}", embed(f'{{"input":{value}}}'.encode()), due)
            for name, value, due in _inputs()
        ),
        *(
            Hostile(f"{name}: {value!s:.20}", embed({"input": "a", name: value}), due)
            for name, value, due in fields
        ),
        Hostile("dimensions of 100,000 digits", embed(long), 400),
    ]


def routes() -> list[Hostile]:
    """Return bodies of the other dialects."""
    asked: list[tuple[str, object, int]] = [
        ("/embed", {"inputs": "\ud800"}, 422),
        ("/embed", {"inputs": []}, 400),
        ("/embed", {"inputs": "a", "truncate": SECRET}, 422),
        ("/embed", {"inputs": "a", "truncation_direction": SECRET}, 422),
        ("/embed", {"inputs": "a", "prompt_name": SECRET}, 422),
        ("/embed", b"[" * 100_000, 422),
        ("/rerank", {"query": SECRET, "texts": ["b"]}, 424),
        ("/rerank", {"query": 1, "texts": ["b"]}, 422),
        ("/rerank", {"query": "a", "texts": SECRET}, 422),
        ("/predict", {"inputs": [[[]]]}, 422),
        ("/predict", {"inputs": SECRET}, 424),
        ("/similarity", {"inputs": {"source_sentence": SECRET, "sentences": []}}, 400),
        ("/similarity", {"inputs": None}, 422),
        ("/tokenize", {"inputs": "\ud800"}, 422),
        ("/tokenize", {"inputs": [1]}, 422),
        ("/decode", {"ids": [[999_999_999]]}, 422),
        ("/decode", {"ids": [-1]}, 422),
        ("/decode", b'{"ids":[1e30]}', 422),
        ("/decode", {"ids": [10**20]}, 422),
        ("/decode", {"ids": []}, 400),
        ("/decode", {"ids": SECRET}, 422),
        ("/tag", {"inputs": SECRET}, 424),
        ("/", {"inputs": "\ud800"}, 422),
        ("/", b"[]", 422),
        ("/", {"inputs": {"source_sentence": 1}}, 422),
        ("/embed_all", {"inputs": SECRET}, 424),
        ("/embed_sparse", {"inputs": SECRET}, 424),
        ("/v1/rerank", {"query": SECRET, "documents": ["x"]}, 400),
        ("/v2/rerank", {"query": "a", "documents": ["b"], "top_n": -5}, 400),
        ("/v2/rerank", b'{"query":"a","documents":["b"],"top_n":1e30}', 400),
        ("/v2/rerank", {"query": "a", "documents": [{"text": 1}]}, 400),
        ("/v2/embed", {"model": "words", "texts": [SECRET], "input_type": SECRET}, 400),
        ("/v2/embed", {"model": "words", "texts": ["a"], "embedding_types": [SECRET]}, 400),
        ("/v2/embed", {"model": "words", "images": [SECRET]}, 400),
        ("/v2/embed", {"model": "words", "texts": ["a"], "output_dimension": -1}, 400),
    ]
    return [
        Hostile(f"{path} {number}", post(path, body), due)
        for number, (path, body, due) in enumerate(asked)
    ]


def _tensor(name: str, shape: list[object], datatype: str, size_bytes: object) -> dict[str, object]:
    parameters = {"binary_data_size": size_bytes}
    return {"name": name, "shape": shape, "datatype": datatype, "parameters": parameters}


def _infer(inputs: list[dict[str, object]], content: bytes, header_bytes: object = None) -> bytes:
    described = json.dumps({"inputs": inputs}).encode()
    length = len(described) if header_bytes is None else header_bytes
    return post(
        "/v2/models/words/infer", described + content, f"Inference-Header-Content-Length: {length}"
    )


def _ids(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}q", *values)


def tensors() -> list[Hostile]:
    """Return tensors whose size is wrong, or with ids outside the vocabulary."""

    def two(shape: list[object], size_bytes: object = 16) -> list[dict[str, object]]:
        return [
            _tensor(name, shape, "INT64", size_bytes) for name in ("input_ids", "attention_mask")
        ]

    good, content = two([1, 2]), _ids(2, 3, 1, 1)
    text = {"name": "text", "shape": [1], "datatype": "BYTES"}
    return [
        Hostile("good ones", _infer(good, content), 200),
        Hostile("ids beyond", _infer(good, _ids(10**12, 3, 1, 1)), 400),
        Hostile("ids below 0", _infer(good, _ids(-1, 3, 1, 1)), 400),
        Hostile("too few bytes", _infer(good, _ids(2)), 400),
        Hostile("bytes behind", _infer(good, content + SECRET_BYTES), 400),
        Hostile("a tensor twice", _infer([*good, *good], content + content), 400),
        Hostile("a header below 0", _infer(good, content, -5), 400),
        Hostile("a header beyond the body", _infer(good, content, 99_999_999), 400),
        Hostile("a header that is no number", _infer(good, content, SECRET), 400),
        Hostile("a header of nothing", _infer(good, content, 0), 400),
        Hostile("a shape of 80 bits", _infer(two([2**40, 2**40]), content), 400),
        Hostile("a shape below 0", _infer(two([-1, 2]), content), 400),
        Hostile("a shape of nothing", _infer(two([]), content), 400),
        Hostile("a shape of texts", _infer(two([SECRET]), content), 400),
        Hostile("a shape of fractions", _infer(two([1.5]), content), 400),
        Hostile("an unknown type", _infer([_tensor("input_ids", [1, 1], SECRET, 8)], _ids(1)), 400),
        Hostile("floats", _infer([_tensor("input_ids", [1, 1], "FP32", 4)], b"\0\0\xc0\x7f"), 400),
        Hostile("an unknown name", _infer([_tensor(SECRET, [1, 1], "INT64", 8)], _ids(1)), 400),
        Hostile("a size below 0", _infer(two([1, 1], -8), content), 400),
        Hostile("a size of 70 bits", _infer(two([1, 1], 2**70), content), 400),
        Hostile("a size of text", _infer(two([1, 1], SECRET), content), 400),
        Hostile(
            "a text of 4 GB", _infer([_tensor("text", [1], "BYTES", 8)], b"\xff" * 4 + b"abcd"), 400
        ),
        Hostile("no UTF-8", _infer([_tensor("text", [1], "BYTES", 6)], b"\x02\0\0\0\xff\xfe"), 400),
        Hostile("no input", _infer([], b""), 400),
        Hostile(
            "100,000 ids",
            _infer(two([1, 100_000], 800_000), _ids(*[2] * 100_000, *[1] * 100_000)),
            400,
        ),
        Hostile(
            "deep data",
            post(
                "/v2/models/words/infer",
                json.dumps({"inputs": [{**text, "data": 0}]})
                .replace("0}", "[" * 50_000 + "]" * 50_000 + "}")
                .encode(),
            ),
            400,
        ),
        Hostile(
            "a text as an id",
            post(
                "/v2/models/words/infer",
                {
                    "inputs": [
                        {
                            "name": "input_ids",
                            "shape": [1, 1],
                            "datatype": "INT64",
                            "data": [SECRET],
                        }
                    ]
                },
            ),
            400,
        ),
    ]


def all_of_them() -> list[Hostile]:
    """Return every hostile request."""
    return [*heads(), *chunks(), *paths(), *bodies(), *routes(), *tensors()]

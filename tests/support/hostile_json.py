"""Bodies that are not JSON, at a route of every dialect, and odd heads around a good body."""

from tests.support.hostile_requests import SECRET, SECRET_BYTES, Hostile, all_of_them, embed, post

#: A route of each decoder, and the status of its dialect for a body that it cannot read.
ROUTES = {
    "/v1/embeddings": 400,
    "/infinity/embeddings": 400,
    "/infinity/classify": 400,
    "/embed": 422,
    "/similarity": 422,
    "/tokenize": 422,
    "/decode": 422,
    "/": 422,
    "/predict": 422,
    "/v1/rerank": 400,
    "/v2/rerank": 400,
    "/v2/embed": 400,
    "/v2/models/words/infer": 400,
}
#: Bodies that only some parsers accept as JSON.
NO_JSON: dict[str, bytes] = {
    "nothing": b"",
    "a NUL": b"\x00",
    "spaces": b" " * 1_000,
    "a brace": b"{",
    "a brace too many": b"{}}",
    "two values": b"{}{}",
    "a comma behind the last": b'{"a":1,}',
    "a comma before the first": b'{,"a":1}',
    "no colon": b'{"a" 1}',
    "no quotes": b"{a:1}",
    "single quotes": b"{'a':'b'}",
    "a comment": b"{/* a */}",
    "a leading zero": b'{"a":01}',
    "a leading plus": b'{"a":+1}',
    "a leading point": b'{"a":.5}',
    "a trailing point": b'{"a":1.}',
    "an exponent alone": b'{"a":1e}',
    "a hexadecimal": b'{"a":0x1}',
    "NaN": b'{"a":NaN}',
    "an infinity": b'{"a":-Infinity}',
    "an escape of C": b'{"a":"\\x41"}',
    "half an escape": b'{"a":"\\u12"}',
    "an escape without an end": b'{"a":"\\',
    "a text without an end": b'{"a":"' + SECRET_BYTES,
    "a line feed in a text": b'{"a":"\n"}',
    "UTF-16": '{"a":1}'.encode("utf-16-le"),
    "UTF-32": '{"a":1}'.encode("utf-32-be"),
    "a mark of byte order": b"\xef\xbb\xbf{}",
    "lone bytes": b'{"a":"\xc0\xaf"}',
    "10,000 lists": b"[" * 10_000,
}


def _heads() -> list[Hostile]:
    """Return good bodies whose head describes the body or the sender oddly."""
    good = {"input": "a", "model": "words"}
    lines = {
        "another type": "Content-Type: text/html",
        "a type twice": "Content-Type: application/xml",
        "a type of one megabyte": "X-Type: " + "a/" * 8_000,
        "a type with a text": f"X-Type: {SECRET}",
        "another charset": "Content-Type: application/json; charset=utf-7",
        "a form of many parts": "Content-Type: multipart/form-data; boundary=x",
        "a range": "Range: bytes=0-0,0-0,0-0",
        "a condition": 'If-None-Match: "*"',
        "no transformation": "Cache-Control: no-transform",
        "any type": "Accept: */*;q=0",
        "no type": "Accept: ",
        "many types": "Accept: " + ",".join(["a/b;q=0.1"] * 2_000),
        "no encoding": "Accept-Encoding: identity;q=0, *;q=0",
        "another host": f"X-Forwarded-Host: {SECRET}.example",
        "another scheme": "X-Forwarded-Proto: javascript",
        "another method": "X-HTTP-Method-Override: DELETE",
        "another address": "X-Original-URL: /metrics",
        "a cookie": f"Cookie: a={SECRET}",
        "an origin": "Origin: null",
        "an origin of a stranger": "Origin: https://evil.example",
        "a trace": f"traceparent: 00-{SECRET}-{SECRET}-01",
        "a trace of zeros": "traceparent: 00-" + "0" * 32 + "-" + "0" * 16 + "-00",
        "a key": f"X-Api-Key: {SECRET}",
        "two keys": f"Authorization: Bearer {SECRET}, Basic {SECRET}",
        "an id of spaces": "X-Request-Id: a b c",
        "an id with a path": f"X-Request-Id: ../../{SECRET}",
        "an id of JSON": '"X-Request-Id": {"a": 1}'.replace('"', "", 2),
        "a trailer": "Trailer: Content-Length",
        "an upgrade": "Upgrade: h2c, websocket",
        "a length of tensors": "Inference-Header-Content-Length: 9",
        "bytes of Latin-1": "X-Text: \xe9\xff",
        "a tab": "X-Text:\ta\tb",
    }
    return [Hostile(f"head: {name}", embed(good, line), 200) for name, line in lines.items()]


def every_request() -> list[Hostile]:
    """Return every hostile request."""
    everywhere = [
        Hostile(f"{path}: {name}", post(path, body), due)
        for path, due in ROUTES.items()
        for name, body in NO_JSON.items()
    ]
    return [*all_of_them(), *everywhere, *_heads()]

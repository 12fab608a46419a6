"""A real receiver of OTLP over HTTP, which keeps the spans that arrive."""

import base64
import gzip
import json
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

pytest.importorskip("opentelemetry.proto", reason="needs the package opentelemetry-proto")

from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Received:
    """A span that arrived."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    resource: dict[str, Any]
    #: The ids of the linked spans.
    links: tuple[str, ...]
    status: int
    state: str


@dataclass
class Receiver:
    """The spans that arrived at an address."""

    url: str
    spans: list[Received] = field(default_factory=list)
    #: The headers of each request that was taken, by their names in lower case.
    headers: list[dict[str, str]] = field(default_factory=list)

    def named(self, name: str) -> list[Received]:
        return [one for one in self.spans if one.name == name]

    def wait(self, name: str, count: int = 1) -> list[Received]:
        """Return the spans of a name, as soon as there are as many."""
        deadline_s = time.monotonic() + 30
        while len(found := self.named(name)) < count:
            assert time.monotonic() < deadline_s, [one.name for one in self.spans]
            time.sleep(0.02)
        return found


def _values(attributes: Any) -> dict[str, Any]:
    return {
        one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value")
        for one in attributes
    }


def _of_json(content: bytes) -> ExportTraceServiceRequest:
    """Return a request in OTLP's JSON, which Triton sends: its ids are hexadecimal, not base64."""

    def binary(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {
            name: base64.b64encode(bytes.fromhex(value)).decode()
            if name.lower().replace("_", "") in ("traceid", "spanid", "parentspanid")
            else value
            for name, value in pairs
        }

    request = ExportTraceServiceRequest()
    ParseDict(json.loads(content, object_pairs_hook=binary), request)
    return request


def _received(content: bytes, kind: str) -> Iterator[Received]:
    is_json = kind.startswith("application/json")
    request = _of_json(content) if is_json else ExportTraceServiceRequest.FromString(content)
    for some in request.resource_spans:
        for scope in some.scope_spans:
            for one in scope.spans:
                yield Received(
                    one.name,
                    one.trace_id.hex(),
                    one.span_id.hex(),
                    one.parent_span_id.hex(),
                    one.kind,
                    one.start_time_unix_nano,
                    one.end_time_unix_nano,
                    _values(one.attributes),
                    _values(some.resource.attributes),
                    tuple(link.span_id.hex() for link in one.links),
                    one.status.code,
                    one.trace_state,
                )


@contextmanager
def receiving(*statuses: int, retry_after: str = "0") -> Iterator[Receiver]:
    """Yield a receiver that listens; statuses are those of its first answers, the last of all."""
    left = list(statuses or (200,))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            encoding = self.headers.get("content-encoding")
            if encoding == "gzip":
                content = gzip.decompress(content)
            elif encoding == "deflate":
                content = zlib.decompress(content)
            status = left.pop(0) if len(left) > 1 else left[0]
            if status == 200 and self.path == "/v1/traces":
                receiver.headers.append({name.lower(): one for name, one in self.headers.items()})
                receiver.spans.extend(_received(content, self.headers["content-type"]))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(status)
            self.send_header("content-type", "application/x-protobuf")
            if status != 200:
                self.send_header("retry-after", retry_after)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

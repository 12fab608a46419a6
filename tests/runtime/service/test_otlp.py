"""Spans in the encoding of OTLP, read by the classes that protobuf generates."""

import pytest

pytest.importorskip("opentelemetry.proto", reason="needs the package opentelemetry-proto")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from lanner.service import otlp
from lanner.service.otlp import Place

TRACE, OWN, PARENT = bytes(range(16)), bytes(range(100, 108)), bytes(range(8))
START_NS, END_NS = 1_700_000_000_123_456_789, 1_700_000_000_987_654_321


def fact(key: str, value: str | int) -> KeyValue:
    if isinstance(value, str):
        return KeyValue(key=key, value=AnyValue(string_value=value))
    return KeyValue(key=key, value=AnyValue(int_value=value))


def expected(spans: list[Span], resource: list[KeyValue]) -> ExportTraceServiceRequest:
    scope = InstrumentationScope(name="lanner", version="1.0")
    return ExportTraceServiceRequest(
        resource_spans=[
            ResourceSpans(
                resource=Resource(attributes=resource),
                scope_spans=[ScopeSpans(scope=scope, spans=spans)],
            )
        ]
    )


def test_a_request_holds_the_spans_that_were_written() -> None:
    first = Place(TRACE, OWN, "rojo=00f067aa0ba902b7")
    linked = [Place(bytes(16 * [7]), bytes(8 * [number]), state) for number, state in
              ((1, ""), (2, "a=b"))]  # fmt: skip
    many = {f"number {number}": number for number in (0, 1, 127, 128, 300, 2**40, -1)}
    written = [
        otlp.span(
            first,
            PARENT,
            "POST /v1/embeddings",
            otlp.SERVER,
            START_NS,
            END_NS,
            attributes={"a": "b", "long": "ä" * 20_000, "": "", "half": "\ud800", **many},
            is_failed=True,
            is_remote=True,
        ),
        otlp.span(Place(TRACE, PARENT), b"", "n" * 200, otlp.INTERNAL, 0, 2**63, links=linked),
    ]
    flags = 1 | 0x100
    spans = [
        Span(
            trace_id=TRACE,
            span_id=OWN,
            trace_state="rojo=00f067aa0ba902b7",
            parent_span_id=PARENT,
            name="POST /v1/embeddings",
            kind=Span.SPAN_KIND_SERVER,
            start_time_unix_nano=START_NS,
            end_time_unix_nano=END_NS,
            attributes=[
                fact("a", "b"),
                fact("long", "ä" * 20_000),
                fact("", ""),
                fact("half", "?"),
                *(fact(key, value) for key, value in many.items()),
            ],
            status=Status(code=Status.STATUS_CODE_ERROR),
            flags=flags | 0x200,
        ),
        Span(
            trace_id=TRACE,
            span_id=PARENT,
            name="n" * 200,
            kind=Span.SPAN_KIND_INTERNAL,
            start_time_unix_nano=0,
            end_time_unix_nano=2**63,
            links=[
                Span.Link(trace_id=one.trace, span_id=one.id, trace_state=one.state)
                for one in linked
            ],
            flags=flags,
        ),
    ]
    resource: dict[str, str | float] = {
        "service.name": "lanner",
        "process.pid": 7,
        "share": 0.5,
    }
    content = otlp.request(written, resource, "lanner", "1.0")
    found = ExportTraceServiceRequest.FromString(content)
    assert found == expected(
        spans,
        [
            fact("service.name", "lanner"),
            fact("process.pid", 7),
            fact("share", "0.5"),
        ],
    )


def test_a_span_of_one_text_takes_few_bytes() -> None:
    # 2 of its own, 18 + 10 + 10 of ids, 6 of flags, 7 + 2 of name and kind, 18 of times.
    assert len(otlp.span(Place(TRACE, OWN), PARENT, "queue", otlp.INTERNAL, START_NS, END_NS)) == 73

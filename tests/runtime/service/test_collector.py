"""The queue of spans, and how it is sent to real receivers of OTLP over HTTP."""

import logging
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

pytest.importorskip("opentelemetry.proto", reason="needs the package opentelemetry-proto")

from tests.support.otlp import receiving
from tests.support.prometheus import free_port
from tests.support.tls import TlsProxy, identity, root
from tests.support.waiting import wait_until

from lanner.service import otlp
from lanner.service.collector import Collector
from lanner.service.otlp import Place

RESOURCE = {"service.name": "search"}


def one(number: int) -> bytes:
    """Return a span whose name is a number."""
    place = Place(bytes(16), number.to_bytes(8))
    return otlp.span(place, b"", str(number), otlp.INTERNAL, number, number + 1)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")


def test_spans_are_sent_from_time_to_time_and_at_the_end() -> None:
    with receiving() as receiver:
        collector = Collector(receiver.url, RESOURCE)
        collector.add(one(1))
        (first,) = receiver.wait("1")
        collector.add(one(2), one(3))
        collector.close(10)
        assert [span.name for span in receiver.spans] == ["1", "2", "3"]
    assert (first.start_ns, first.end_ns, first.resource) == (1, 2, RESOURCE)
    assert receiver.headers[0]["content-type"] == "application/x-protobuf"


def test_many_spans_are_sent_in_parts_before_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
    with receiving() as receiver:
        collector = Collector(receiver.url, RESOURCE)
        collector.add(*map(one, range(25)))
        receiver.wait("24")
        assert len(receiver.headers) == 3
        collector.close(10)
    assert [span.name for span in receiver.spans] == [str(number) for number in range(25)]


def test_spans_beyond_the_most_that_may_wait_are_dropped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    with receiving() as receiver:
        collector = Collector(receiver.url, RESOURCE)
        collector.add(one(1), one(2))
        collector.add(one(3), one(4), one(5))
        collector.close(10)
    assert [span.name for span in receiver.spans] == ["1", "2"]
    assert [record.message for record in caplog.records] == [
        "spans are dropped: more wait than may wait"
    ]


def test_a_collector_that_is_busy_is_asked_again() -> None:
    with receiving(503, 429, 200) as receiver:
        collector = Collector(receiver.url, RESOURCE)
        collector.add(one(1))
        receiver.wait("1")
        collector.close(10)
    assert len(receiver.spans) == 1


@pytest.mark.parametrize(
    ("status", "retry_after", "said"),
    [(400, "0", "it answers 400"), (503, "60", "it answers 503"), (0, "", "URLError")],
)
def test_spans_that_are_not_taken_are_lost_and_the_thread_goes_on(
    status: int,
    retry_after: str,
    said: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
    with receiving(status or 200, 200, retry_after=retry_after) as receiver:
        url = receiver.url if status else f"http://127.0.0.1:{free_port()}"
        collector = Collector(url, RESOURCE)
        collector.add(one(1))
        wait_until(lambda: bool(caplog.records))
        if status:
            collector.add(one(2))
            receiver.wait("2")
        collector.close(10)
    assert [(one.name, one.levelno, one.getMessage()) for one in caplog.records] == [
        (
            "opentelemetry.lanner",
            logging.ERROR,
            f"spans are lost, because the collector does not take them: {said}",
        )
    ]
    assert [span.name for span in receiver.spans] == (["2"] if status else [])


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_the_environment_says_how_to_send(
    compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"{receiver.url}/")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20abc, x-team = a=b")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", compression)
        collector = Collector(None, RESOURCE)
        collector.add(one(1))
        collector.close(10)
    (headers,) = receiver.headers
    assert (headers["authorization"], headers["x-team"]) == ("Bearer abc", "a=b")
    assert (headers["content-encoding"], len(receiver.spans)) == (compression, 1)


def test_a_full_address_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def address(url: str | None) -> str:
        collector = Collector(url, RESOURCE)
        collector.close(10)
        return collector.url

    assert address("http://c:4318/") == "http://c:4318/v1/traces"
    assert address("http://c/otlp/traces") == "http://c/otlp/traces"
    assert address(None) == "http://localhost:4318/v1/traces"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://d:1/base")
    assert address(None) == "http://d:1/base/v1/traces"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://d:1/full")
    assert address(None) == "http://d:1/full"


def test_certificates_are_checked_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    authority = trustme.CA()
    ca = root(authority, tmp_path / "ca.pem")
    own, client = (identity(authority, tmp_path, name) for name in ("localhost", "client"))
    with receiving() as receiver:
        port = urlsplit(receiver.url).port
        assert port is not None
        with TlsProxy(port, own, trusted=ca) as proxy:
            url = f"https://localhost:{proxy.port}"
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(ca))
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
            stranger = Collector(url, RESOURCE)
            stranger.add(one(1))
            stranger.close(10)
            assert len(caplog.records) == 1
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "10")
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", str(client.certificate))
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_KEY", str(client.key))
            known = Collector(url, RESOURCE)
            known.add(one(2))
            known.close(10)
    assert [span.name for span in receiver.spans] == ["2"]

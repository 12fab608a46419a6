"""Traces of running services, as a real receiver of OTLP gets them."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="needs the extra 'service'")
pytest.importorskip("onnx", reason="needs the export extra to write a graph")
pytest.importorskip("opentelemetry.sdk", reason="needs the extra 'otel'")

from tests.support.otlp import Received, Receiver, receiving
from tests.support.service import serving
from tests.support.waiting import wait_until
from tests.support.word_artifact import write_word_artifact

from lanner.errors import EngineError, UsageError
from lanner.service import protection
from lanner.service import tracing as traced
from lanner.service.settings import Settings

SERVER, FAILED, UNSET = 2, 2, 0  # in the numbers of OTLP
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARTS = ["read", "decode", "tokenize", "queue", "model", "encode"]
CONTENT = {"input": ["a b", "a"], "model": "words"}


def parent(trace: str = TRACE, span: str = CALLER, flags: str = "01") -> str:
    """Return a header of W3C Trace Context."""
    return f"00-{trace}-{span}-{flags}"


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_word_artifact(tmp_path_factory.mktemp("tracing") / "words.lanner")


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the tests names no collector; spans are sent soon."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_SAMPLER", "OTEL_SERVICE_NAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


def requests(receiver: Receiver) -> list[Received]:
    """Return the spans of requests, in the order of their ends."""
    return sorted((one for one in receiver.spans if one.kind == SERVER), key=lambda one: one.end_ns)


def test_a_request_is_a_span_with_a_span_for_each_part(words: Path) -> None:
    with receiving() as receiver:
        begin_ns = time.time_ns()
        settings = {"traces": receiver.url, "trace_ratio": 1.0}
        with serving({"words": words}, **settings) as service:
            answer = service.post(
                "/v1/embeddings", CONTENT, traceparent=parent(), tracestate="rojo=00f067aa0ba902b7"
            )
            (request,) = receiver.wait("POST /v1/embeddings")
            (batch,) = receiver.wait("batch")
            parts = [receiver.wait(name)[0] for name in PARTS]
    assert (request.trace, request.parent, request.kind) == (TRACE, CALLER, 2)  # a server's
    assert request.state == "rojo=00f067aa0ba902b7"
    assert answer.headers["traceresponse"] == parent(span=request.id)
    # Two texts of 2 and 1 words.
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/embeddings",
        "http.response.status_code": 200,
        "lanner.request_id": answer.headers["x-request-id"],
        "lanner.model": "words",
        "lanner.texts": 2,
        "lanner.tokens": 3,
        "lanner.cut_texts": 0,
    }
    assert request.resource["service.name"] == "lanner"
    assert begin_ns < request.start_ns < request.end_ns < time.time_ns()
    # The parts follow each other within the request, and the batch runs within its part.
    times = [at for one in parts for at in (one.start_ns, one.end_ns)]
    assert times == sorted(times)
    assert request.start_ns <= times[0]
    assert times[-1] <= request.end_ns
    assert {(one.trace, one.parent) for one in [*parts, batch]} == {(TRACE, request.id)}
    assert batch.attributes == {
        "lanner.engine": "onnxruntime",
        "lanner.batch.requests": 1,
        "lanner.batch.texts": 2,
        "lanner.batch.tokens": 3,
    }
    assert batch.links == (request.id,)
    model = parts[PARTS.index("model")]
    assert model.start_ns <= batch.start_ns + 1_000_000  # two clocks
    assert batch.end_ns <= model.end_ns + 1_000_000


def test_a_batch_has_links_to_the_requests_in_it(
    words: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    with serving({"words": words}, threads=1, traces=receiver.url) as service:
        runner = service.app.pipeline.catalogue.models["words"].model.runner
        assert service.get("/ready").status == 200
        run = runner.engine.run

        def gated(inputs: Any, **arguments: Any) -> Any:
            begun.set()
            assert go_on.wait(30)
            return run(inputs, **arguments)

        runner.scheduler.token_s = 60.0  # too long for the event loop
        monkeypatch.setattr(runner.engine, "run", gated)

        def ask(letter: str, flags: str) -> int:
            content = {"input": "a", "model": "words"}
            traceparent = parent(trace=letter * 32, flags=flags)
            return service.post("/v1/embeddings", content, traceparent=traceparent).status

        with ThreadPoolExecutor(4) as threads:
            first = threads.submit(ask, "a", "01")
            assert begun.wait(30)
            others = [
                threads.submit(ask, letter, flags) for letter, flags in (("b", "01"), ("c", "01"))
            ]
            others.append(threads.submit(ask, "d", "00"))
            wait_until(lambda: runner.state()[1] == 3)
            go_on.set()
            assert [one.result() for one in (first, *others)] == [200] * 4
    asked = {one.trace[0]: one for one in requests(receiver)}
    assert sorted(asked) == ["a", "b", "c"]  # the caller of d has decided against it
    alone, shared = sorted(receiver.named("batch"), key=lambda one: one.start_ns)
    assert alone.links == (asked["a"].id,)
    assert shared.attributes["lanner.batch.requests"] == 2
    assert shared.attributes["lanner.batch.texts"] == 3
    assert set(shared.links) == {asked[name].id for name in "bc"}
    # It is below one of them, and the other has a link to it.
    below = next(name for name in "bc" if asked[name].id == shared.parent)
    (other,) = {"b", "c"} - {below}
    model = next(one for one in receiver.named("model") if one.trace == asked[other].trace)
    assert model.links == (shared.id,)


def test_a_failed_batch_is_an_error_without_its_message(
    words: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving({"words": words}, traces=receiver.url, trace_ratio=1.0) as service:
        runner = service.app.pipeline.catalogue.models["words"].model.runner

        def broken(*_: Any, **__: Any) -> Any:
            msg = "of a secret text"
            raise EngineError(msg)

        monkeypatch.setattr(runner.engine, "run", broken)
        assert service.post("/v1/embeddings", CONTENT).status == 500
        assert service.post("/v1/embeddings", {"model": "words"}).status == 400
        assert service.get("/health").status == 200
    (batch,) = receiver.named("batch")
    failed, refused = requests(receiver)
    assert (batch.status, batch.attributes["error.type"]) == (FAILED, "EngineError")
    assert (failed.status, failed.attributes["error.type"]) == (FAILED, "500")
    assert refused.status == UNSET  # the client's fault, not the service's
    assert "secret" not in str(receiver.spans)


def test_a_caller_that_traces_nothing_is_not_traced(words: Path, receiver: Receiver) -> None:
    with serving({"words": words}, traces=receiver.url, trace_ratio=1.0) as service:
        answer = service.post("/v1/embeddings", CONTENT, traceparent=parent(flags="00"))
        assert "traceresponse" not in answer.headers
        # A header that is none begins a trace of its own.
        for strange in ("nonsense", parent(trace="0" * 32), "ä" * 500):
            given = strange.encode().decode("latin-1")
            assert service.post("/v1/embeddings", CONTENT, traceparent=given).status == 200
    assert [one.parent for one in requests(receiver)] == [""] * 3


def test_the_context_is_passed_on_to_another_server(words: Path) -> None:
    with (
        receiving() as receiver,
        serving({"words": words}, traces=receiver.url, trace_ratio=0.0) as server,
        serving({"words": f"{server.url}/words"}, traces=receiver.url, trace_ratio=0.0) as service,
    ):
        service.post("/v1/embeddings", CONTENT, traceparent=parent())
        service.post("/v1/embeddings", CONTENT)
        (request,) = receiver.wait("POST /v1/embeddings")
        _, there = receiver.wait("batch", 2)
        (asked,) = receiver.wait("POST /v2/models/{}/infer")
    here, there = sorted(receiver.named("batch"), key=lambda one: one.start_ns)
    assert {one.trace for one in receiver.spans} == {TRACE}
    assert (here.attributes["lanner.engine"], here.kind) == ("triton", 3)  # a client's
    assert here.parent == request.id
    assert asked.parent == here.id
    assert there.parent == asked.id


def test_the_environment_names_the_collector(
    words: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "search")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        with serving({"words": words}, access_log=True, log="json") as service:
            service.post("/v1/embeddings", CONTENT)
            (request,) = receiver.wait("POST /v1/embeddings")
        assert request.resource["service.name"] == "search"
        assert request.resource["deployment.environment.name"] == "test"
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["trace"] for line in lines if line["event"] == "request"] == [request.trace]


@pytest.mark.parametrize("name", ["OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER"])
def test_the_environment_switches_traces_off(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    assert protection.wants_traces(Settings())
    monkeypatch.setenv(name, {"OTEL_SDK_DISABLED": "true"}.get(name, "none"))
    assert not protection.wants_traces(Settings())


def test_a_collector_that_is_away_costs_no_answer_and_no_time(
    words: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with receiving(503, retry_after="1") as receiver:
        settings = {"traces": receiver.url, "trace_ratio": 1.0, "log": "json"}
        with serving({"words": words}, **settings) as service:
            assert {service.post("/v1/embeddings", CONTENT).status for _ in range(20)} == {200}
            begin_s = time.monotonic()
        assert time.monotonic() - begin_s < 10
    assert "opentelemetry" in capfd.readouterr().err  # the log says that spans are lost


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"traces": "collector:4318"}, "traces must begin with http:// or https://, not"),
        ({"trace_ratio": 1.5}, r"trace_ratio must be a share from 0 to 1, not 1\.5"),
        ({"trace_ratio": -0.1}, r"trace_ratio must be a share from 0 to 1, not -0\.1"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Settings(**settings).checked()


@pytest.mark.parametrize(
    ("sampler", "traced_flags"),
    [("always_off", []), ("parentbased_always_off", ["01"]), ("always_on", ["00", "01", "none"])],
)
def test_the_environment_names_the_sampler(
    words: Path,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    sampler: str,
    traced_flags: list[str],
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    asked = {"00": parent(trace="a" * 32, flags="00"), "01": parent(trace="b" * 32)}
    with serving({"words": words}, traces=receiver.url) as service:
        answers = {
            flags: service.post("/v1/embeddings", CONTENT, traceparent=given)
            for flags, given in asked.items()
        }
        answers["none"] = service.post("/v1/embeddings", CONTENT)
    traced = [flags for flags, one in answers.items() if "traceresponse" in one.headers]
    assert traced == traced_flags
    assert len(requests(receiver)) == len(traced_flags)


def test_another_protocol_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    said = (
        "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc', and the service sends traces over HTTP: set it to"
    )
    with pytest.raises(UsageError, match=said):
        protection.check(Settings())


def test_nothing_is_imported_when_traces_are_off(words: Path) -> None:
    code = (
        "import sys; from lanner.service.server import open_app; "
        "from lanner.service.settings import Settings; "
        "open_app(Settings(models={'words': sys.argv[1]})); "
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    command = [sys.executable, "-c", code, str(words)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_ten_requests_a_second_are_traced_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    monkeypatch.setattr("lanner.service.tracing.time.monotonic", lambda: now_s[0])
    takes = traced.Allowance(10.0)
    assert [takes() for _ in range(12)] == [True] * 10 + [False] * 2
    now_s[0] += 0.25  # for two and a half
    assert [takes() for _ in range(3)] == [True, True, False]
    now_s[0] += 1e6
    assert sum(takes() for _ in range(20)) == 10
    assert sum(traced.Share(0.25)() for _ in range(10_000)) == pytest.approx(2_500, rel=0.1)
    assert (traced.Share(0.0)(), traced.Share(1.0)()) == (False, True)

"""A real Triton server in its OpenTelemetry mode continues the traces of the service."""

from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="needs the extra 'service'")
pytest.importorskip("opentelemetry.sdk", reason="needs the extra 'otel'")

from tests.support.otlp import receiving
from tests.support.service import serving

from lanner.triton.repository.write import write_repository
from lanner.triton.server.installation import Installation
from lanner.triton.server.server import TritonServer

pytestmark = [pytest.mark.slow, pytest.mark.no_transformers]

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_triton_continues_the_trace_of_a_batch(
    word_artifact: Path,
    tmp_path: Path,
    tritonserver: Installation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    repository = tmp_path / "repository"
    write_repository([word_artifact], repository, names=["words"])
    with receiving() as receiver:
        server = TritonServer(
            repository,
            http_port=0,
            grpc_port=0,
            metrics_port=0,
            installation=tritonserver,
            options=[
                "--trace-config=mode=opentelemetry",
                f"--trace-config=opentelemetry,url={receiver.url}/v1/traces",
                "--trace-config=opentelemetry,bsp_schedule_delay=50",
                "--trace-config=level=TIMESTAMPS",
                "--trace-config=rate=0",
            ],
        )
        with server:
            targets = {"grpc": f"{server.grpc_url}/words", "http": f"{server.http_url}/words"}
            settings = {"traces": receiver.url, "trace_ratio": 0.0}
            with serving(targets, **settings) as service:
                for model in targets:
                    content = {"input": ["a b"], "model": model}
                    assert service.post("/v1/embeddings", content).status == 200  # not traced
                    given = f"00-{TRACE}-{CALLER}-01"
                    answer = service.post("/v1/embeddings", content, traceparent=given)
                    assert answer.status == 200
                receiver.wait("batch", 2)
                receiver.wait("InferRequest", 2)
    assert {one.trace for one in receiver.spans} == {TRACE}
    batches = {one.id for one in receiver.named("batch")}
    there = receiver.named("InferRequest")
    assert {one.parent for one in there} == batches
    assert {one.resource["service.name"] for one in there} == {"triton-inference-server"}
    assert len(receiver.named("compute")) == 2

"""`lanner bench` of services with OpenAI's API, beside the artifact in process."""

import json
from pathlib import Path

import pytest

pytest.importorskip("jinja2", reason="needs lanner-bench")
pytest.importorskip("matplotlib", reason="needs lanner-bench")
pytest.importorskip("scipy", reason="needs lanner-bench")
pytest.importorskip("uvicorn", reason="needs the extra 'service'")

from tests.support.service import serving

from lanner.commands import main
from lanner_perf.suites.measure import leaders


def refused(capsys: pytest.CaptureFixture[str], *options: object) -> str:
    assert main(["bench", *map(str, options)]) != 0
    return capsys.readouterr().err.splitlines()[-1].removeprefix("lanner: error: ")


def test_services_are_measured_beside_the_artifact(
    word_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "services.html"
    with serving({"words": word_artifact}) as one, serving({"words": word_artifact}) as other:
        urls = [f"{one.url}/v1", f"{other.url}/v1/words"]
        options = ["--against", word_artifact, "--suites", "latency,concurrency,memory", "--quick"]
        assert main(["bench", *urls, *map(str, options), "--output", str(page), "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
    names = [f"lanner 127.0.0.1:{service.door.port}" for service in (one, other)]
    assert [row["name"] for row in report["subjects"]] == ["in process", *names]
    assert [row["kind"] for row in report["subjects"]] == ["lanner", "service", "service"]
    for row in report["subjects"]:
        assert row["concurrency"]["16"]["texts_per_s"] > 0
        assert row["concurrency"]["16"]["failed"] == 0
        assert row["latency_ms"]["p50"] > 0
    assert {"name": "memory", "reason": "it would measure the client of a service"} in report[
        "left_out"
    ]
    assert "data:image/svg+xml;base64," in page.read_text()


def test_the_slower_service_is_not_left_out() -> None:
    def row(name: str, kind: str, texts_per_s: float) -> dict[str, object]:
        throughput = {"short": {"texts_per_s": texts_per_s}}
        latency_ms = {"p50": 1e3 / texts_per_s}
        return {"name": name, "kind": kind, "throughput": throughput, "latency_ms": latency_ms}

    services = [row("fast", "service", 900), row("slow", "service", 300)]
    peers = [row("peer", "fastembed", 500), row("slower peer", "fastembed", 400)]
    found = leaders([row("in process", "lanner", 1_000), *services, *peers])
    assert found == {"in process", "fast", "slow", "peer"}


def test_what_is_no_service_or_needs_more_is_refused(
    word_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = "http://127.0.0.1:1/v1"
    against = ("--against", word_artifact)
    assert refused(capsys, nobody, *against).startswith(
        "no service with OpenAI's API answers at http://127.0.0.1:1/v1: "
    )
    needs = "beside services --against names the artifact DIR that runs in process"
    assert refused(capsys, nobody) == needs
    mixed = "give URLs of one model on a server, or of services"
    assert refused(capsys, nobody, "grpc://localhost:1/m", *against) == mixed
    with serving({"a": word_artifact, "b": word_artifact}) as service:
        url = f"{service.url}/v1"
        said = f"names no model of the service: give {url}/a or {url}/b"
        assert refused(capsys, url, *against) == f"{url} {said}"
        assert refused(capsys, f"{url}/c", *against) == f"{url}/c {said}"

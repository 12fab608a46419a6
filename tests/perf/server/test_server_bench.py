"""`lanner bench` of a model on a real Triton server; the tests do not check the figures."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jinja2", reason="needs lanner-bench")
pytest.importorskip("matplotlib", reason="needs lanner-bench")
pytest.importorskip("psutil", reason="needs lanner-bench")
pytest.importorskip("scipy", reason="needs lanner-bench")
pytest.importorskip("tritonclient.grpc", reason="needs the triton extra")


from tests.support.perf_inputs import write_pairs
from tests.support.report_layout import require_laid_out
from tests.support.triton_models import write_triton_model

from lanner.artifact.artifact import Artifact
from lanner.commands import main
from lanner.errors import BenchmarkError
from lanner.triton.repository.serving import Serving
from lanner.triton.repository.write import write_repository
from lanner.triton.server.installation import Installation
from lanner.triton.server.ports import choose_ports
from lanner.triton.server.server import TritonServer
from lanner_perf.bench import BenchReport
from lanner_perf.record.call_parts import PARTS
from lanner_perf.report.extent import Extent
from lanner_perf.server.server_bench import ServerRequest, bench_server

#: The loaded models; of `half` only the text model exists, of `scorer` only the token model.
LOADED = ("tiny", "tiny_text", "cached", "cached_text", "half_text", "scorer", "double")
NO_CACHE = (
    "tiny is served without a cache: make its repository with 'lanner repository "
    "--response-cache', and start it with 'lanner serve', which gives it 64 MB, or with "
    "--cache-config"
)


@pytest.fixture(scope="module")
def server(
    tritonserver: Installation,
    tiny_artifact: Artifact,
    scorer_artifact: Artifact,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[TritonServer]:
    repository = tmp_path_factory.mktemp("server") / "repository"
    tiny, scorer = tiny_artifact.directory, scorer_artifact.directory
    write_repository([tiny, tiny, scorer], repository, names=["tiny", "half", "scorer"])
    remembering = Serving(response_cache=True)
    write_repository([tiny], repository, names=["cached"], serving=remembering)
    write_triton_model(repository)
    loaded = [f"--load-model={name}" for name in LOADED]
    with TritonServer(
        repository,
        http_port=0,
        grpc_port=0,
        metrics_port=0,
        installation=tritonserver,
        options=["--model-control-mode=explicit", *loaded],
    ) as server:
        yield server


def measured(capsys: pytest.CaptureFixture[str], *options: object) -> dict[str, Any]:
    assert main(["bench", *map(str, options), "--quick", "--json", "--threads", "1"]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    require_laid_out(report, BenchReport)
    return report


def refused(capsys: pytest.CaptureFixture[str], *options: object) -> str:
    """Return the error of a job that must fail, without the program's name."""
    assert main(["bench", *map(str, options)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()[-1].removeprefix("lanner: error: ")


def names(report: dict[str, Any]) -> list[str]:
    return [row["name"] for row in report["subjects"]]


@pytest.mark.slow
def test_a_model_is_measured_whole_beside_itself_in_process(
    server: TritonServer,
    tiny_artifact: Artifact,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    urls = [f"{server.grpc_url}/tiny", f"{server.http_url}/tiny"]
    options: list[object] = [*urls, "--against", tiny_artifact.directory]
    options += ["--pairs", write_pairs(tmp_path / "pairs.csv"), "--output", tmp_path / "a.html"]
    report = measured(capsys, *options)
    ways = ["tokens, gRPC", "texts, gRPC", "tokens, HTTP", "texts, HTTP"]
    assert names(report) == ["in process", *ways]
    for row in report["subjects"]:
        assert {"memory", "latency_ms", "throughput", "concurrency", "open_loop"} <= row.keys()
        assert row["quality"]["cosine_min"] > 0.9999
        assert list(row["concurrency"]) == ["1", "16"]
        assert {point["failed"] for point in row["concurrency"].values()} == {0}
    for row in report["subjects"][1:]:
        for callers, point in row["concurrency"].items():
            # The network's part is what the clocks of two processes leave: a server without a core
            # counts the time after its answer, too. With several callers a call's mean is over
            # texts, a request's over requests, so slow requests with few texts weigh more.
            left = {"network_ms"} if callers == "1" else {"network_ms", "client_ms"}
            assert min(point[name] for name in PARTS if name not in left) > 0
            assert sum(point[name] for name in PARTS) == pytest.approx(point["call_ms"])
            assert point["server_cpu_ms"] + point["models_cpu_ms"] > 0
            assert (point["cached_percent"], point["other_requests"]) == (0, 0)
        assert row["concurrency"]["1"]["texts_per_request"] == 1
        assert row["concurrency"]["1"]["texts_per_run"] == 1
        assert row["concurrency"]["16"]["texts_per_run"] > 1
    assert "client_ms" not in report["subjects"][0]["concurrency"]["1"]
    assert report["server"]["is_here"]
    assert [(model["name"], model["takes"]) for model in report["server"]["models"]] == [
        ("tiny", "tokens"),
        ("tiny_text", "texts"),
    ]
    assert report["server"]["models"][0]["variant"] in ("fp32", "int8")
    assert report["left_out"] == [{"name": "response cache", "reason": NO_CACHE}]
    assert {check["what"]: check["holds"] for check in report["checks"]}[
        "smallest cosine of a text with itself in process"
    ]
    assert {"tritonclient", "grpcio"} <= report["versions"].keys()
    page = (tmp_path / "a.html").read_text()
    assert page.count("data:image/svg+xml;base64,") == 6
    assert main(["bench", "--render", str(tmp_path / "a.json")]) == 0
    assert "Where the time of a call goes: 16 callers" in capsys.readouterr().out
    assert (tmp_path / "a.html").read_text() == page
    assert main(["bench", "--compare", *[str(tmp_path / "a.json")] * 2, "--fail-below", "1"]) == 0


@pytest.mark.slow
def test_without_an_artifact_the_server_alone_is_measured(
    server: TritonServer, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"{server.grpc_url}/tiny_text"
    report = measured(capsys, url, "--suites", "latency", "--against", "none")
    assert names(report) == ["tokens, gRPC", "texts, gRPC"]
    assert report["left_out"] == [
        {"name": "response cache", "reason": NO_CACHE},
        {
            "name": "in process",
            "reason": "no artifact was given: --against DIR measures the model's artifact in "
            "process, and so the time that the server adds",
        },
    ]
    assert report["checks"][0]["missing"] == "in process: the figure was not measured"


@pytest.mark.slow
def test_a_cache_is_measured_with_texts_that_are_new_and_that_were_seen(
    server: TritonServer, tiny_artifact: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--against", tiny_artifact.directory, "--suites", "concurrency,quality"]
    report = measured(capsys, f"{server.http_url}/cached", *options)
    assert names(report) == [
        "in process",
        "tokens, HTTP",
        "texts, HTTP",
        "tokens, HTTP, cached",
        "texts, HTTP, cached",
    ]
    hits = [row["concurrency"]["1"].get("cached_percent") for row in report["subjects"]]
    assert (hits[0], hits[3:5]) == (None, [100, 100])
    assert max(hits[1:3]) < 20  # there are not many texts of one or two words
    assert all(row["quality"]["cosine_min"] > 0.9999 for row in report["subjects"])
    assert report["server"]["new_texts"]
    assert [model["has_cache"] for model in report["server"]["models"]] == [True, True]
    assert report["left_out"] == []


@pytest.mark.slow
def test_a_model_that_asks_for_a_cache_where_there_is_none(
    tiny_artifact: Artifact,
    tmp_path: Path,
    tritonserver: Installation,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Check that a server may end while it is measured."""
    serving = Serving(response_cache=True)
    repository = tmp_path / "repository"
    write_repository(
        [tiny_artifact.directory], repository, names=["m"], serving=serving, with_text=False
    )
    with TritonServer(
        repository,
        http_port=0,
        grpc_port=0,
        metrics_port=0,
        installation=tritonserver,
        cache_bytes=0,
    ) as server:
        report = measured(capsys, f"{server.grpc_url}/m", "--suites", "latency")
        assert [item["name"] for item in report["left_out"]] == [
            "texts, gRPC",
            "response cache",
            "in process",
        ]
        assert report["left_out"][1]["reason"] == (
            "the model asks for a cache, and tritonserver has none: start it with 'lanner serve', "
            "which gives it 64 MB, or with --cache-config"
        )
        assert report["left_out"][0]["reason"].startswith(
            f"the model m_text on {server.grpc_url} is not there or not ready: "
        )
        assert not report["server"]["new_texts"]

        def stop(step: str) -> None:
            if step.startswith("latency"):
                server.stop()

        extent = Extent(("latency", "concurrency"), None, 1, None, True, ("lanner", "bench"))
        request = ServerRequest((server.grpc_url,), "m", tiny_artifact.directory, {}, extent)
        with pytest.raises(
            BenchmarkError,
            match=r"^tokens, gRPC.* on grpc://.*: ServerUnavailableError: no server a",
        ):
            bench_server(request, stop)


@pytest.mark.slow
def test_another_head_and_a_model_without_its_other_half(
    server: TritonServer,
    scorer_artifact: Artifact,
    tiny_artifact: Artifact,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url, suites = f"{server.grpc_url}/scorer", ["--suites", "latency,concurrency,quality"]
    report = measured(capsys, url, *suites, "--against", scorer_artifact.directory)
    assert names(report) == ["in process", "tokens, gRPC"]
    assert [row["kind"] for row in report["subjects"]] == ["lanner-head", "triton"]
    assert report["subjects"][1]["concurrency"]["16"]["compute_ms"] > 0
    assert [item["name"] for item in report["left_out"][:1]] == ["texts, gRPC"]

    url = f"{server.grpc_url}/half_text"
    assert refused(capsys, url, "--quick") == (
        f"{server.grpc_url} has only half_text, which carries no tokenizer to count tokens with: "
        "give its artifact with --against DIR"
    )
    against = ["--against", tiny_artifact.directory]
    report = measured(capsys, url, "--suites", "latency", *against)
    assert names(report) == ["in process", "texts, gRPC"]


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_model_that_is_not_there_or_not_ready_or_not_of_lanner(
    server: TritonServer, protocol: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = server.grpc_url if protocol == "grpc" else server.http_url
    for name in ("gone", "half"):
        message = f"the model {name} on {url} is not there or not ready: "
        assert refused(capsys, f"{url}/{name}").startswith(message)
    assert refused(capsys, f"{url}/double").startswith(
        "the model double on the server carries no tokenizer of its version 1: make its repository"
    )


@pytest.mark.slow
def test_an_artifact_of_something_else(
    server: TritonServer,
    scorer_artifact: Artifact,
    word_artifact: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url, other = f"{server.grpc_url}/tiny", scorer_artifact.directory
    message = refused(capsys, url, "--against", other)
    assert message.startswith(
        f"{other} is not the artifact of tiny on {server.grpc_url} (head, dimension, "
    )
    assert message.endswith(
        " differ): give the artifact that its repository was made from, or leave --against out"
    )
    message = refused(capsys, url, "--against", word_artifact)
    assert message.startswith(f"{word_artifact} is not the artifact of tiny on {server.grpc_url} ")
    assert refused(capsys, url, "--against", "torch") == (
        "torch is not a directory: pass one that 'lanner export' wrote"
    )


def test_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    port = choose_ports({"http": 0}, {"http": "127.0.0.1"})["http"]
    message = refused(capsys, f"http://localhost:{port}/minilm")
    assert message.startswith(f"no server answers at http://localhost:{port} (")

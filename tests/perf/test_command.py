"""`lanner bench` as people call it; the tests do not check the figures."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jinja2", reason="needs lanner-bench")
pytest.importorskip("matplotlib", reason="needs lanner-bench")
pytest.importorskip("scipy", reason="needs lanner-bench")


from tests.support.bench_report import bench_report, write_result
from tests.support.perf_inputs import write_pairs

from lanner.artifact.artifact import Artifact
from lanner.commands import main
from lanner_perf import command

MODELS = "an artifact DIR, the URLs of a model on a server, or the URLs of services"
GIVE_ONE = f"give one of {MODELS}, --compare OLD NEW, --render RESULT"


def refused(capsys: pytest.CaptureFixture[str], *options: object, status: int = 1) -> str:
    """Return the error of a call that must fail, without the program's name."""
    assert main(["bench", *map(str, options)]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()[-1].removeprefix("lanner: error: ")


@pytest.mark.slow
def test_a_tiny_artifact_is_measured_whole(
    tiny_artifact: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "tiny.html"
    options: list[object] = [tiny_artifact.directory, "--against", "none", "--quick", "--json"]
    options += ["--pairs", write_pairs(tmp_path / "pairs.csv"), "--threads", 1, "--output", page]
    assert main(["bench", *map(str, options)]) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report == json.loads((tmp_path / "tiny.json").read_text())
    names = [row["name"] for row in report["subjects"]]
    assert names == ["lanner fp32", "lanner int8"]
    assert {"latency_ms", "throughput", "concurrency", "open_loop", "memory", "quality"} <= set(
        report["subjects"][1]
    )
    assert (report["is_quick"], report["is_whole"]) == (True, False)
    assert report["workloads"]["short"]["texts"] == 60
    assert {"cpu", "cores"} <= set(report["machine"])
    assert {"onnxruntime", "lanner"} <= set(report["versions"])
    assert {
        row["of_floor"]["throughput"]["short"]["of_best"] > 0 for row in report["subjects"]
    } == {True}
    assert report["whole_s"] > sum(report["seconds"].values()) > 0
    assert {check["holds"] for check in report["checks"][:6]} == {None}  # there is no peer
    assert page.read_text().count("data:image/svg+xml;base64,") == 10
    assert captured.err.splitlines()[-1].startswith(f"written to {page}, ")


@pytest.mark.slow
def test_against_the_checkpoint_and_some_suites(
    tiny_artifact: Artifact,
    tiny_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("torch", reason="the reference")
    monkeypatch.chdir(tmp_path)  # files for peers go into build/ here
    options: list[object] = [tiny_artifact.directory, "--checkpoint", tiny_checkpoint, "--quick"]
    options += ["--suites", "latency,quality", "--against", "torch"]
    assert main(["bench", *map(str, options)]) == 0
    lines = capsys.readouterr().out.splitlines()
    header = lines.index("Every figure") + 1
    assert "mean cosine to the reference" in lines[header]
    names = [line.split("  ")[0] for line in lines[header + 2 : header + 5]]
    assert names == ["sentence-transformers torch fp32", "lanner fp32", "lanner int8"]


@pytest.mark.slow
def test_another_head_is_measured_without_quality(
    scorer_artifact: Artifact, tmp_path: Path
) -> None:
    options = ["--against", "none", "--quick", "--suites", "latency,throughput,quality"]
    page = tmp_path / "scorer.html"
    assert main(["bench", str(scorer_artifact.directory), *options, "--output", str(page)]) == 0
    report = json.loads((tmp_path / "scorer.json").read_text())
    assert [row["kind"] for row in report["subjects"]] == ["lanner-head"] * 2
    assert {item["name"] for item in report["left_out"]} >= {"quality", "the floor"}
    missing = "the quality was not measured"
    assert report["checks"][0]["missing"] == missing
    assert page.read_text().count('<tr class="lanner">') == 2


def test_two_results_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = bench_report()
    speed = report["subjects"][2]["throughput"]["short"]
    speed |= {"texts_per_s": 500.0, "rounds": [500.0, 490.0, 510.0]}
    files = [write_result(tmp_path / "old.json", bench_report())]
    files.append(write_result(tmp_path / "new.json", report))
    options = ["bench", "--compare", *map(str, files)]
    assert main(options) == 0
    assert "WORSE" in capsys.readouterr().out
    assert main([*options, "--json", "--fail-below", "0.95"]) == 1
    captured = capsys.readouterr()
    (changed,) = (one for one in json.loads(captured.out)["changes"] if one["has_changed"])
    assert (changed["key"], changed["ratio"]) == ("throughput.short", 0.5)
    assert captured.err == (
        "lanner: error: worse than 0.95 of the older result, beyond the noise: "
        "lanner int8 short texts/s\n"
    )
    assert main([*options, "--fail-below", "0.4"]) == 0


def test_other_conditions_are_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = bench_report() | {"threads": 4}
    files = [write_result(tmp_path / "old.json", bench_report())]
    files.append(write_result(tmp_path / "new.json", report))
    assert main(["bench", "--compare", *map(str, files)]) == 0
    assert capsys.readouterr().err == (
        "lanner: warning: the results differ in threads (2 and 4), so each figure is compared as "
        "its ratio to sentence-transformers torch fp32 of the same result\n"
    )


def test_a_result_becomes_its_pages_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = write_result(tmp_path / "a.json", bench_report())
    assert main(["bench", "--render", str(result)]) == 0
    assert "10.00x" in (tmp_path / "a.html").read_text()
    assert "1,000 10.00x" in capsys.readouterr().out
    assert main(["bench", "--render", str(result), "--output", str(tmp_path / "b.html")]) == 0
    assert (tmp_path / "b.html").read_text() == (tmp_path / "a.html").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], GIVE_ONE),
        (["x", "--render", "y"], GIVE_ONE),
        (["--render", "y", "--quick"], f"--quick is for measuring {MODELS}"),
        (["--compare", "a", "b", "--header", "a:b"], f"--header is for measuring {MODELS}"),
        (
            ["--render", "a", "--private-key", "b"],
            f"--private-key is for measuring {MODELS}",
        ),
        (["x", "--fail-below", "0.9"], "--fail-below is for --compare OLD NEW"),
        (["--compare", "a", "b", "--output", "c"], "--compare writes to stdout alone"),
        (["x", "y"], "give one artifact DIR, or the URLs of one model"),
        (["x", "grpc://here/y"], "give one artifact DIR, or the URLs of one model"),
        (["x", "--header", "a:b"], "--header is for a server, but the model is a directory"),
        (
            ["x", "--root-certificates", "a"],
            "--root-certificates is for a server, but the model is a directory",
        ),
        (["grpc://here/x", "--header", "a"], "--header number 1 is not NAME:VALUE"),
    ],
)
def test_a_call_without_meaning(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, *options, status=2) == message


def test_what_is_not_for_a_server_or_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "grpc://here/x", "--checkpoint", "y", status=2) == (
        "--checkpoint is for the peers of an artifact DIR: beside a model on a server --against "
        "DIR measures its artifact"
    )
    assert refused(capsys, "grpc://here/x", "--against", "a,b", status=2) == (
        "beside a model on a server --against takes one artifact DIR"
    )
    assert refused(capsys, "grpc://here:8001", status=2) == (
        "grpc://here:8001 names no model: add it, for example grpc://here:8001/minilm"
    )
    assert refused(capsys, "grpc://here/x_text", "http://here/x", "http://here/y", status=2) == (
        "the URLs name different models (x_text, x, y): give one model, over gRPC, HTTP or both"
    )
    assert refused(capsys, "grpc://here/x", "grpc://there/x", status=2) == (
        "grpc://here and grpc://there have the same protocol: give one URL, or one for gRPC and "
        "one for HTTP of the same server"
    )
    assert refused(capsys, "ftp://here/x", status=2) == (
        "'ftp://here' is not the address of a server: write for example grpc://localhost:8001, "
        "with one of grpc, grpcs, http, https"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--suites", "latency,heat"], "there is no suite 'heat': use a comma-separated list of "),
        (["--suites", ""], "there is no suite '': use a comma-separated list of memory, latency, "),
        (["--against", ""], "'': use all, none, or names of peers"),
        (["--threads", "0"], "must be an integer of at least 1, not '0'"),
        (["--fail-below", "2"], "must be a number above 0, at most 1, not '2'"),
    ],
)
def test_an_option_without_meaning(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["bench", "x", *options])
    assert message in capsys.readouterr().err


def test_what_cannot_be_measured_is_one_sentence(
    tiny_artifact: Artifact,
    scorer_artifact: Artifact,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tiny = tiny_artifact.directory
    assert refused(capsys, tiny, status=2) == (
        "the peers run the checkpoint that the artifact was made from: give it with --checkpoint, "
        "or --against none to measure the artifact alone"
    )
    assert refused(capsys, tiny, "--against", "torch,none", status=2).startswith(
        "--against none: there is no such peer: use all, none, or a comma-separated list of torch, "
    )
    assert refused(capsys, tiny, "--checkpoint", tmp_path / "gone").startswith(
        f"{tmp_path}/gone is not a directory: give the checkpoint's directory "
    )
    scorer = scorer_artifact.directory
    options = ["--checkpoint", "x", "--against", "openvino"]
    assert refused(capsys, scorer, *options, status=2) == (
        f"{scorer} has the head 'score', and the peers answer with vectors: use --against all for "
        "its own framework, or none"
    )
    assert refused(capsys, tmp_path / "gone", "--against", "none") == (
        f"{tmp_path}/gone is not a directory: pass one that 'lanner export' wrote"
    )
    assert refused(capsys, tiny, "--against", "none", "--output", tmp_path / "no" / "a.html") == (
        f"there is no directory {tmp_path}/no for a.html: make it first"
    )
    changed = tmp_path / "changed.lanner"
    shutil.copytree(tiny, changed)
    (changed / "model.fp32.onnx").write_bytes(b"x")
    assert refused(capsys, changed, "--against", "none").startswith(
        f"lanner fp32 on {changed}: CorruptArtifactError: "
    )


def test_what_headers_say_is_in_no_report() -> None:
    arguments = ["bench", "grpc://here/x", "--header", "a: b c", "--header=key:secret", "--quick"]
    assert command._without_secrets(arguments, ["a: b c", "key:secret"]) == [
        "bench",
        "grpc://here/x",
        "--header",
        "a:...",
        "--header=key:...",
        "--quick",
    ]


def test_no_damaged_result_is_compared_or_rendered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write_result(tmp_path / "good.json", bench_report())
    report: dict[str, Any] = bench_report() | {"subjects": []}
    bad = write_result(tmp_path / "bad.json", report)
    message = f"{bad} is damaged (it has no subjects): measure again"
    assert refused(capsys, "--compare", good, bad) == message
    assert refused(capsys, "--render", bad) == message
    assert not (tmp_path / "bad.html").exists()

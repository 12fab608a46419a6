"""`lanner repository`, run in this process."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tritonclient", reason="needs the triton extra")

from tests.support.triton_repository import ONNX, changed, write_model

from lanner.artifact.artifact import Artifact
from lanner.commands import main
from lanner.triton.contract.model_config import read_config


@pytest.fixture(autouse=True)
def _keep_signal_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)


def run(*arguments: object) -> int:
    try:
        return main(["repository", *map(str, arguments)])
    except SystemExit as stop:  # argparse ends the program
        return int(stop.code or 0)


def test_a_repository_is_made_and_found_good(
    word_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "repository"
    assert run(word_artifact, "--output", output, "--variant", "fp32") == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"words version 1, fp32, in {output}\n"
        f"words_text version 1, fp32, in {output}\n"
        f"start it: lanner serve {output}\n"
    )
    assert run("--check", output) == 0
    assert capsys.readouterr() == ("", "nothing found\n")
    assert run("--check", output, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"repository": str(output), "findings": []}


def test_what_was_made_as_json(
    word_artifact: Path, tiny_artifact: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "repository"
    names = ["--name", "a", "--name", "b"]
    artifacts = word_artifact, tiny_artifact.directory
    options = ["--output", output, "--variant", "int8", "--no-text", "--json", *names]
    assert run(*artifacts, *options) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {
        "repository": str(output),
        "models": [
            {"name": "a", "version": 1, "variant": "int8", "notes": []},
            {"name": "b", "version": 1, "variant": "int8", "notes": []},
        ],
    }
    assert err == ""


def test_how_it_is_served_is_what_was_asked_for(word_artifact: Path, tmp_path: Path) -> None:
    options = [
        *("--backend", "onnxruntime", "--cores", 4, "--instances", 2, "--max-batch-size", 16),
        *("--preferred-batch-sizes", "4, 8", "--max-queue-delay-us", 100, "--max-queue-size", 9),
        *("--queue-timeout-ms", 50, "--priority-levels", 2, "--buckets", "2,4"),
        *("--response-cache", "--no-warmup"),
    ]
    assert run(word_artifact, "--output", tmp_path / "repository", *options) == 0
    config = read_config(tmp_path / "repository" / "words" / "config.pbtxt")
    assert config.backend == "onnxruntime"
    assert (config.instance_group[0].count, config.max_batch_size) == (2, 16)
    assert config.parameters["intra_op_thread_count"].string_value == "2"
    assert config.parameters["lanner_buckets"].string_value == "2,4"
    batching = config.dynamic_batching
    assert list(batching.preferred_batch_size) == [4, 8]
    assert batching.max_queue_delay_microseconds == 100
    assert batching.priority_levels == 2
    assert batching.default_queue_policy.max_queue_size == 9
    assert batching.default_queue_policy.default_timeout_microseconds == 50_000
    assert config.response_cache.enable
    assert not config.model_warmup


def test_what_must_be_known_of_triton_s_own_onnxruntime_is_said(
    word_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--backend", "onnxruntime", "--variant", "int8"]
    assert run(word_artifact, "--output", tmp_path / "repository", *options) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert (
        notes[0] == "note: the backend onnxruntime needs Triton 26.02 (ONNX Runtime 1.24) or later"
    )
    assert re.fullmatch(
        r"note: its threads are for \d+ cores, as here: name others with --cores", notes[1]
    )
    assert "a cosine of at least 0.991, 0.9998 on average; the backend python" in notes[2]
    assert len(notes) == 3


def test_text_models_may_share_the_engine(word_artifact: Path, tmp_path: Path) -> None:
    assert run(word_artifact, "--output", tmp_path / "repository", "--share-engine") == 0
    config = read_config(tmp_path / "repository" / "words_text" / "config.pbtxt")
    assert config.parameters["token_model"].string_value == "words"


def test_an_engine_is_named_in_both_models(word_artifact: Path, tmp_path: Path) -> None:
    output = tmp_path / "repository"
    assert run(word_artifact, "--output", output, "--engine", "onnxruntime") == 0
    for name in ("words", "words_text"):
        config = read_config(output / name / "config.pbtxt")
        assert config.parameters["engine"].string_value == "onnxruntime"
    assert run("--check", output) == 0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--engine", "tensorrt"], "the engine tensorrt does not run the variant fp32 on cpu"),
        (["--engine", "native"], "the engine native does not run fp32: the native engine does"),
        (
            ["--engine", "native", "--device", "cuda"],
            "the engine native does not run the variant fp32 on cuda",
        ),
        (
            ["--engine", "native", "--backend", "onnxruntime"],
            "the backend onnxruntime has its own engine: choose the backend python for the engine",
        ),
    ],
)
def test_an_engine_that_does_not_run_the_variant(
    word_artifact: Path,
    tmp_path: Path,
    options: list[str],
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "repository"
    assert run(word_artifact, "--output", output, "--variant", "fp32", *options) == 1
    assert reason in capsys.readouterr().err
    assert not output.exists()


def test_the_defaults_are_those_of_the_library(word_artifact: Path, tmp_path: Path) -> None:
    assert run(word_artifact, "--output", tmp_path / "repository") == 0
    config = read_config(tmp_path / "repository" / "words" / "config.pbtxt")
    assert config.backend == "python"
    assert (config.instance_group[0].count, config.max_batch_size) == (1, 64)
    assert config.HasField("dynamic_batching")
    assert not config.dynamic_batching.HasField("default_queue_policy")
    assert not config.HasField("response_cache")
    assert config.model_warmup
    assert "threads" not in config.parameters


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name the artifacts to serve, or use --check REPO"),
        (["dir"], "name the repository to write into: --output REPO"),
        (["--output", "out"], "name the artifacts to serve, or use --check REPO"),
        (["dir", "--check", "out"], "--check checks an existing repository: use neither DIR n"),
        (["--check", "out", "--output", "o"], "--check checks an existing repository: use nei"),
        (["dir", "--output", "out", "--backend", "torch"], "there is no backend 'torch': use"),
        (
            ["dir", "--output", "out", "--engine", "fastest"],
            "there is no engine 'fastest': use auto, onnxruntime, openvino, native, native-static",
        ),
        (
            ["dir", "--output", "out", "--backend", "openvino"],
            "Lanner writes nothing for the backend openvino: it runs each request alone",
        ),
        (["dir", "--output", "out", "--cores", "0"], "must be an integer of at least 1, not '0'"),
        (
            ["dir", "--output", "out", "--buckets", "4,2"],
            "the buckets '4,2' must be increasing lengths in tokens",
        ),
        (
            ["dir", "--output", "out", "--preferred-batch-sizes", "4,x"],
            "must be an integer of at least 1, not 'x'",
        ),
    ],
)
def test_wrong_usage_exits_with_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone", "--output", "out"], "gone is not a directory: pass one that 'lanner export' wro"),
        (["--check", "gone"], "gone is not a directory: pass one that holds a directory for"),
        (
            ["dir", "--output", "out", "--cores", "1", "--instances", "2"],
            "2 instances share 1 cores: use at most one per core",
        ),
        (
            ["dir", "--output", "out", "--max-queue-delay-us", "-1"],
            "max_queue_delay_us must be at least 0, not -1",
        ),
    ],
)
def test_a_failed_job_exits_with_1_and_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"lanner: error: {message}")
    assert err.count("\n") == 1


WARNED = ONNX[: ONNX.index("model_warmup")]


def test_warnings_are_shown_and_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path, "minilm", WARNED)
    assert run("--check", tmp_path, "--cores", 2) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{tmp_path}/minilm/config.pbtxt:1: warning: minilm is not warmed up [")
    assert err == f"{tmp_path}: 1 warning, no errors\n"
    assert run("--check", tmp_path, "--cores", 1) == 0
    out, err = capsys.readouterr()
    assert "minilm runs up to 2 threads on 1 core" in out
    assert err == f"{tmp_path}: 2 warnings, no errors\n"


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('name: "minilm"', 'name: "other"', "1 error among 2 findings"),
        ("max_batch_size: 8", "max_batch_size: 0", "1 error among 2 findings"),
        ('backend: "onnxruntime"', "backend: onnxruntime", "1 error among 1 finding"),
    ],
)
def test_an_error_is_a_failure(
    tmp_path: Path, old: str, new: str, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path, "minilm", changed(WARNED, old, new), "model.onnx")
    assert run("--check", tmp_path, "--cores", 2) == 1
    out, err = capsys.readouterr()
    assert ": error: " in out
    assert err == f"lanner: error: {tmp_path} has {what}, shown above\n"


def test_findings_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(tmp_path, "minilm", changed(WARNED, 'name: "minilm"', 'name: "other"'))
    assert run("--check", tmp_path, "--cores", 2, "--json") == 1
    out, err = capsys.readouterr()
    content = json.loads(out)
    assert content["repository"] == str(tmp_path)
    assert [(found["rule"], found["severity"]) for found in content["findings"]] == [
        ("model-name", "error"),
        ("no-warm-up", "warning"),
    ]
    assert err == f"lanner: error: {tmp_path} has 1 error among 2 findings, shown above\n"


def test_without_its_extra_it_says_so(word_artifact: Path, tmp_path: Path) -> None:
    # A process of its own, because newly imported modules would differ from those of other tests.
    program = (
        "import sys; sys.modules['tritonclient.grpc.model_config_pb2'] = None\n"
        "from lanner.commands import main; sys.exit(main(sys.argv[1:]))"
    )
    message = (
        "lanner: error: a Triton model repository needs the package 'tritonclient', which is not "
        "installed: pip install 'lanner[triton]'\n"
    )
    for arguments in ([word_artifact, "--output", tmp_path / "out"], ["--check", tmp_path]):
        command = [sys.executable, "-c", program, "repository", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (1, message)
    assert not (tmp_path / "out").exists()

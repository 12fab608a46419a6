import argparse
import json
import resource
import shlex
import shutil
from pathlib import Path

import pytest
from tests.support.gpu.host_builder import VERSION

from lanner.artifact.artifact import Artifact
from lanner.commands import doctor
from lanner.commands.options import Parser
from lanner.errors import EngineError, InputError, MissingExtraError, OutputError, UsageError

pytest.importorskip("onnx", reason="needs the export extra")
pytest.importorskip("torch", reason="needs the export extra")

from tests.export.tensorrt.test_building import FP16, H100, Machine

from lanner_export.tensorrt import command


def run(*arguments: str) -> None:
    root = argparse.ArgumentParser()
    command.add_parser(root.add_subparsers(parser_class=Parser))
    args = root.parse_args(["build-engine", *arguments])
    args.run(args)


def test_a_dry_run_shows_what_would_be_built(
    tiny_artifact: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = str(tiny_artifact.directory)
    run(directory, "--dry-run", "--precision", "bf16,int8", "--buckets", "8,16")
    shown, steps = capsys.readouterr()
    first, second = shown.strip().split("\n\n")
    assert first.startswith("bf16: model.<gpu>-sm<capability>-bf16-<tensorrt>.plan\n")
    assert "\n  profiles   1 to 64 texts of 8 tokens, kernels for 8 of 8\n" in first
    assert "\n  quantized  16 products, attention included\n" in second
    trtexec = shlex.split(first.splitlines()[-1])
    assert trtexec[:2] == ["trtexec", "--onnx=model.bf16.tensorrt.onnx"]
    assert trtexec.count("--profile=1") == 1
    assert "writing the int8 graph, calibrated on 167 texts" in steps
    assert "the graphs were not kept: use --write-graph DIR to keep them" in steps
    assert not list(tmp_path.iterdir())


def test_a_dry_run_for_programs(
    tiny_artifact: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = str(tiny_artifact.directory)
    run(directory, "--dry-run", "--json", "--profiles", "wide", "--write-graph", str(tmp_path))
    content = json.loads(capsys.readouterr().out)
    (engine,) = content["engines"]
    graph = tmp_path / "model.fp16.tensorrt.onnx"
    assert engine["graph"]["file"] == str(graph)
    assert engine["graph"]["opset"] == 20
    assert engine["graph"]["operators"]["MatMul"] >= 16
    assert engine["profiles"] == [{"smallest": [1, 1], "typical": [8, 16], "largest": [64, 16]}]
    assert f"--onnx={graph}" in engine["trtexec"]
    assert graph.is_file()


def test_without_a_gpu_it_says_so(tiny_artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "missing_gpu", lambda: "this machine has no NVIDIA driver")
    message = (
        r"^lanner build-engine needs an NVIDIA GPU, but this machine has no NVIDIA driver: run it "
        r"on the machine that will run the engine, or use --dry-run to see the plan$"
    )
    with pytest.raises(EngineError, match=message):
        run(str(tiny_artifact.directory))


def test_what_was_built_is_shown(
    tiny_artifact: Artifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    Machine(scratch, monkeypatch)
    monkeypatch.setattr(command, "missing_gpu", lambda: "")
    monkeypatch.setattr(doctor, "extras", dict)
    directory = Path(shutil.copytree(tiny_artifact.directory, tmp_path / "tiny.lanner"))
    run(str(directory), "--precision", "fp16,int8", "--max-batch-size", "4", "--buckets", "8,16")
    shown, steps = capsys.readouterr()
    said = " ".join(shown.split())
    for name in (FP16, FP16.replace("fp16", "int8")):
        assert f"{name} 20 its own for TensorRT" in said
        assert (
            f"{name}: built for {H100.name} (compute capability 9.0) with TensorRT {VERSION}, "
            "profiles up to 4 x 8, 4 x 16; does not run here: "
        ) in said
    assert f"building the int8 engine for {H100.name}\n" in steps
    run(str(directory), "--json", "--buckets", "16", "--max-batch-size", "4")
    content = json.loads(capsys.readouterr().out)
    assert content["engines"] == [FP16.replace("fp16", "int8"), FP16]
    assert content["quality"]["variants"][FP16]["cosine_min"] >= 0.99999


def test_without_its_extra_it_says_so(
    tiny_artifact: Artifact, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "missing_gpu", lambda: "")
    packages = {"export": (), "tensorrt": ("no-such-package",)}
    monkeypatch.setattr(doctor, "extras", lambda: packages)
    message = (
        r"^lanner build-engine needs the package 'no-such-package', which is not installed: pip "
        r"install 'lanner\[tensorrt\]'$"
    )
    with pytest.raises(MissingExtraError, match=message):
        run(str(tiny_artifact.directory))
    with pytest.raises(SystemExit):
        run("--help")
    assert "needs: pip install 'lanner[tensorrt]'" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--write-graph", "build"),
            r"^--write-graph needs --dry-run: add that, or omit --write-graph$",
        ),
        (
            ("--precision", "fp16,bf16", "--calibration", "texts.txt"),
            (
                r"^--calibration is for int8 and fp8, but --precision is fp16,bf16: add one of "
                r"them, or omit --calibration$"
            ),
        ),
        (("--quantize-attention", "yes"), r"^--quantize-attention is for int8 and fp8, but --pre"),
        (
            ("--typical-batch-size", "32", "--max-batch-size", "16"),
            r"^--typical-batch-size must be at most --max-batch-size, not 32 for 16$",
        ),
        (
            ("--profiles", "wide", "--buckets", "16"),
            r"^--buckets is for --profiles buckets: omit it, or use that$",
        ),
    ],
    ids=["graph", "calibration", "attention", "batches", "buckets"],
)
def test_options_that_do_not_go_together(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run("some.lanner", *arguments)


def test_graphs_do_not_go_into_the_artifact_or_a_file(
    tiny_artifact: Artifact, tmp_path: Path
) -> None:
    directory = str(tiny_artifact.directory)
    for place in (directory, f"{directory}/build"):
        message = rf"^{place} is in the artifact: use a directory outside of it for --write-graph$"
        with pytest.raises(InputError, match=message):
            run(directory, "--dry-run", "--write-graph", place)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InputError, match=rf"^{file} is a file: use a directory for --write-graph$"):
        run(directory, "--dry-run", "--write-graph", str(file))


def test_the_directory_of_graphs_is_made_and_goes_where_none_is_written(
    tiny_artifact: Artifact, tmp_path: Path
) -> None:
    target = tmp_path / "build"
    directory = str(tiny_artifact.directory)
    with pytest.raises(InputError, match=r"^the bucket 64 is beyond the model's 16 tokens"):
        run(directory, "--dry-run", "--write-graph", str(target), "--buckets", "64")
    assert not target.exists()
    run(directory, "--dry-run", "--write-graph", str(target))
    assert [path.name for path in target.iterdir()] == ["model.fp16.tensorrt.onnx"]


def test_without_room_a_graph_stays_as_it_was(tiny_artifact: Artifact, tmp_path: Path) -> None:
    graph = tmp_path / "model.fp16.tensorrt.onnx"
    graph.write_text("of an earlier run")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    message = rf"^there is no room for the graphs in {tmp_path} \(File too large\): free space and"
    try:
        with pytest.raises(OutputError, match=message):
            run(str(tiny_artifact.directory), "--dry-run", "--write-graph", str(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert graph.read_text() == "of an earlier run"
    assert list(tmp_path.iterdir()) == [graph]


def test_buckets_that_do_not_reach_the_limit_are_warned_of(
    tiny_artifact: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    run(str(tiny_artifact.directory), "--dry-run", "--buckets", "8")
    assert (
        "lanner: warning: the longest bucket is 8, but the model takes 16 tokens: the engines "
        "refuse longer texts, and are not picked by default\n"
    ) in capsys.readouterr().err
    run(str(tiny_artifact.directory), "--dry-run", "--buckets", "16")
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--precision", "int4"), "'int4': use a comma-separated list of fp16, bf16, int8, fp8"),
        (("--buckets", "32,16"), "the buckets '32,16' must be increasing lengths in tokens"),
        (("--buckets", ""), "'': use lengths in tokens, comma-separated"),
        (("--max-batch-size", "0"), "must be an integer of at least 1, not '0'"),
    ],
    ids=["precision", "order of buckets", "no bucket", "batch"],
)
def test_arguments_that_have_no_meaning(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run("some.lanner", *arguments)
    assert message in capsys.readouterr().err

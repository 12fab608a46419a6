import argparse
import json
import shlex
from pathlib import Path

import pytest

from lanner.artifact import Artifact
from lanner.commands import doctor
from lanner.commands.common import Parser
from lanner.errors import EngineError, MissingExtraError, UsageError

pytest.importorskip("onnx", reason="needs the export extra")
pytest.importorskip("torch", reason="needs the export extra")

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
    assert "\n  profiles   1 to 64 x 8 tokens, kernels for 8 x 8\n" in first
    assert "\n  quantized  16 products, attention included\n" in second
    trtexec = shlex.split(first.splitlines()[-1])
    assert trtexec[:2] == ["trtexec", "--onnx=model.bf16.tensorrt.onnx"]
    assert trtexec.count("--profile=1") == 1
    assert "writing the int8 graph, calibrated on 167 texts" in steps
    assert "the graphs were not kept: --write-graph DIR does" in steps
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
        r"^lanner build-engine needs an NVIDIA GPU, and this machine has no NVIDIA driver: run it "
        r"where the engine is to run, or pass --dry-run to see what would be built$"
    )
    with pytest.raises(EngineError, match=message):
        run(str(tiny_artifact.directory))


def test_without_its_extra_it_says_so(
    tiny_artifact: Artifact, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "missing_gpu", lambda: "")
    modules = {**doctor.EXTRA_MODULES, "tensorrt": ("no_such_module",)}
    monkeypatch.setattr(doctor, "EXTRA_MODULES", modules)
    message = (
        r"^lanner build-engine needs the package 'no_such_module', which is not installed: pip "
        r"install 'lanner\[tensorrt\]'$"
    )
    with pytest.raises(MissingExtraError, match=message):
        run(str(tiny_artifact.directory))
    with pytest.raises(SystemExit):
        run("--help")
    assert "needs: pip install 'lanner[tensorrt]'" in " ".join(capsys.readouterr().out.split())


def test_options_that_do_not_go_together(tiny_artifact: Artifact, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^--write-graph goes with --dry-run$"):
        run(str(tiny_artifact.directory), "--write-graph", str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--precision", "int4"), "'int4': use a comma-separated list of fp16, bf16, int8, fp8"),
        (("--buckets", "32,16"), "the buckets '32,16' must be lengths in tokens, each above"),
        (("--buckets", ""), "'': use lengths in tokens, comma-separated"),
        (("--max-batch-size", "0"), "must be a whole number from 1 on, not '0'"),
    ],
    ids=["precision", "order of buckets", "no bucket", "batch"],
)
def test_arguments_that_have_no_meaning(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run("some.lanner", *arguments)
    assert message in capsys.readouterr().err

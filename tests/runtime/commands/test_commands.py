"""The command line, run in this process; `test_end_to_end` starts the real program."""

import importlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import lanner
from lanner.artifact.artifact import Artifact
from lanner.commands import main, parser
from lanner.commands.console import table
from lanner.loading.load import load
from lanner.machine.machine import this_machine


@pytest.fixture(autouse=True)
def _keep_signal_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)


def run(*arguments: object) -> int:
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as stop:  # argparse ends the program
        return int(stop.code or 0)


def test_help_has_examples_for_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    overview = capsys.readouterr().out
    for command in ("export", "inspect", "encode", "similarity", "tune", "serve", "doctor"):
        assert f"    {command}" in overview
        assert run(command, "--help") == 0
        text = capsys.readouterr().out
        assert "examples:\n" in text
        assert f"  lanner {command}" in text
        assert "--json" in text


def test_half_precision_is_made_when_it_is_asked_for() -> None:
    export = ["export", "checkpoint", "--output", "out.lanner"]
    assert parser().parse_args(export).precision == ("fp32", "int8")
    asked = parser().parse_args([*export, "--precision", "bf16, fp16,bf16"])
    assert asked.precision == ("bf16", "fp16")


def test_the_command_as_a_module() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "lanner", "--version"], capture_output=True, text=True, check=True
    )
    assert found.stdout == f"lanner {lanner.__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_completion_of_a_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    assert run("--print-completion", shell) == 0
    script = capsys.readouterr().out
    assert "min-quality" in script  # an option of tune
    assert "similarity" in script


def test_completion_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert run("--print-completion", "bash") == 2
    assert capsys.readouterr().err.endswith(
        "--print-completion needs the package 'shtab', which is not installed: pip install "
        "'lanner[completion]'\n"
    )


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == "lanner 0.1.0\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["encode", "dir"], "pass either texts or --input FILE"),
        (["encode", "dir", "a", "--input", "x.txt"], "pass either texts or --input FILE"),
        (
            ["encode", "dir", "a", "--output", "x.csv"],
            "must end in .npy or .parquet or .jsonl or .npz, not",
        ),
        (["encode", "dir", "a", "--threads", "0"], "must be an integer of at least 1, not '0'"),
        (["encode", "dir", "a", "--precision", "int4"], "invalid choice: 'int4' (choose from"),
        (["similarity", "dir", "a"], "the following arguments are required: TEXT"),
        (
            ["similarity", "grpc://host:1", "a", "b"],
            "grpc://host:1 names no model: add it, for example grpc://host:1/minilm",
        ),
        (
            ["encode", "http://host:1/", "a"],
            "http://host:1/ names no model: add it, for example http://host:1/minilm",
        ),
        (["encode", "ftp://host/m", "a"], "'ftp://host' is not the address of a server: write for"),
        (["encode", "grpc://host/a/b", "a"], "'grpc://host/a' is not the address of a server: "),
        (
            ["encode", "grpc://host/m", "a", "--threads", "2"],
            "the server decides --engine, --variant, -",
        ),
        (
            ["encode", "grpc://host/m", "a", "--variant", "int8"],
            "the server decides --engine, --variant",
        ),
        (
            ["score", "grpc://host/m", "a", "b", "--engine", "openvino"],
            "the server decides --engine",
        ),
        (
            ["tag", "grpc://host/m", "a", "--header", "authorization"],
            "--header number 1 is not NAME:VALUE",
        ),
        (
            ["classify", "grpc://host/m", "a", "--header", " : x"],
            "--header number 1 is not NAME:VALU",
        ),
        (
            ["encode", "dir", "a", "--header", "a:b"],
            "--header is for a server, but the model is a directory",
        ),
        (
            ["tag", "dir", "a", "--root-certificates", "a.pem"],
            "--root-certificates is for a server, but the model is a directory",
        ),
        (["export", "x"], "the following arguments are required: --output"),
        (["export", "x", "--output", "y", "--precision", "fp17"], "'fp17': use a comma-separated"),
        (["export", "x", "--output", "y", "--head", "tail"], "invalid choice: 'tail'"),
        (["export", "x", "--output", "y", "--keep-layers", "0,b"], "'0,b': use numbers from 0 on,"),
        (["export", "x", "--output", "y", "--keep-layers", ","], "',': use numbers from 0 on, com"),
        (["export", "x", "--output", "y", "--keep-layers", ""], "'': use numbers from 0 on, comma"),
    ],
)
def test_wrong_usage_exits_with_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


@pytest.mark.parametrize(("text", "layers"), [("3", 3), ("0,2", (0, 2)), ("4,", (4,)), ("-1", -1)])
def test_layers_are_a_list_or_a_number(text: str, layers: int | tuple[int, ...]) -> None:
    arguments = ["export", "x", "--output", "y", "--keep-layers", text]
    assert parser().parse_args(arguments).keep_layers == layers


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "gone"], "gone is not a directory: pass one that 'lanner export' wrote"),
        (["encode", "gone", "a"], "gone is not a directory: pass one that 'lanner export' wrote"),
    ],
)
def test_a_failed_job_exits_with_1_and_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("lanner: error: ")
    assert message in err
    assert err.count("\n") == 1


def test_a_url_is_the_model_of_a_server(
    word_artifact: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[object] = []

    def connect(url: str, name: str, **options: object) -> object:
        asked.append((url, name, options))
        return load(word_artifact, variant="fp32", threads=1)

    monkeypatch.setattr("lanner.commands.source.connect", connect)
    headers = ["--header", "Authorization: Bearer a:b", "--header", "x:"]
    assert run("similarity", "grpc://host:1/minilm", "a b", "a", *headers) == 0
    assert capsys.readouterr().out == "0.7071\n"
    chain = ["--certificate-chain", "a.pem", "--private-key=a.key", "--root-certificates", "b.pem"]
    assert run("encode", "https://host/minilm_text", "a", *chain) == 0
    none = dict.fromkeys(["root_certificates", "certificate_chain", "private_key"])
    assert asked == [
        ("grpc://host:1", "minilm", {"headers": {"Authorization": "Bearer a:b", "x": ""}, **none}),
        (
            "https://host",
            "minilm_text",
            {
                "headers": {},
                "root_certificates": "b.pem",
                "certificate_chain": "a.pem",
                "private_key": "a.key",
            },
        ),
    ]


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(Exception, match=r"gone is not a directory"):
        main(["inspect", "gone", "--debug"])


def test_even_the_unforeseen_is_one_line(
    word_artifact: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lanner.models.embedding.EmbeddingModel.encode", lambda *_, **__: 1 / 0)
    assert run("encode", word_artifact, "a") == 1
    assert capsys.readouterr().err == (
        "lanner: error: ZeroDivisionError: division by zero "
        "(unexpected: --debug shows where, please report it)\n"
    )


def test_encode_prints_a_json_line_a_text(
    word_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("encode", word_artifact, "a b", "c", "--variant", "fp32") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        {"text": "a b", "embedding": [0.5, 0.5, 0, 0]},
        {"text": "c", "embedding": [0, 0, 1, 0]},
    ]


def test_encode_json_is_one_object(word_artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("encode", word_artifact, "a", "--variant", "fp32", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "texts": 1,
        "dimension": 4,
        "precision": "float32",
        "variant": "fp32",
        "engine": "onnxruntime",
        "cut_texts": 0,
        "embeddings": [[1, 0, 0, 0]],
    }


@pytest.mark.parametrize("suffix", [".npy", ".jsonl"])
def test_encode_writes_files(
    word_artifact: Path, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.csv").write_text("id,body\n1,a b\n2,🦅\n", encoding="utf-8")
    output = tmp_path / f"vectors{suffix}"
    options = ["--input", tmp_path / "rows.csv", "--column", "body", "--output", output]
    options += ["--variant", "fp32", "--prompt-name", "none", "--normalize"]
    assert run("encode", word_artifact, *options) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"2 vectors of 4 dimensions in {output}, by fp32 in onnxruntime\n"
    if suffix == ".npy":
        vectors = np.load(output)
    else:
        rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
        assert [row["text"] for row in rows] == ["a b", "🦅"]
        vectors = np.array([row["embedding"] for row in rows])
    np.testing.assert_allclose(vectors, [[0.5**0.5, 0.5**0.5, 0, 0], [0, 0, 0, 1]], atol=1e-6)


@pytest.mark.parametrize("suffix", [".npy", ".jsonl"])
def test_encode_in_another_precision(
    word_artifact: Path, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / f"bits{suffix}"
    options = ["--variant", "fp32", "--precision", "ubinary", "--output", output]
    assert run("encode", word_artifact, "a b", "c", *options) == 0
    told = f"2 ubinary vectors of 4 dimensions in {output}, by fp32 in onnxruntime\n"
    assert capsys.readouterr().err == told
    if suffix == ".npy":
        vectors = np.load(output)
        assert vectors.dtype == np.uint8
        assert vectors.tolist() == [[0b11000000], [0b00100000]]
    else:
        assert output.read_text() == (
            '{"text": "a b", "embedding": [192]}\n{"text": "c", "embedding": [32]}\n'
        )


def test_encode_without_ranges_says_what_to_do(
    word_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "bytes.npy"
    assert run("encode", word_artifact, "a", "--precision", "int8", "--output", output) == 1
    assert "words stores no ranges for int8 and uint8 vectors" in capsys.readouterr().err
    assert not output.exists()


def test_a_failed_encode_leaves_the_old_file(word_artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('"a"\n{oops\n')
    (tmp_path / "out.npy").write_text("old")
    options = ["--input", tmp_path / "bad.jsonl", "--output", tmp_path / "out.npy"]
    assert run("encode", word_artifact, *options) == 1
    assert (tmp_path / "out.npy").read_text() == "old"


def test_an_output_in_no_directory_is_named(
    word_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("encode", word_artifact, "a", "--output", tmp_path / "no" / "out.npy") == 1
    assert capsys.readouterr().err == (
        f"lanner: error: there is no directory {tmp_path}/no for out.npy: make it first\n"
    )


def test_similarity(word_artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("similarity", word_artifact, "a b", "a", "--variant", "fp32") == 0
    assert capsys.readouterr().out == "0.7071\n"
    assert run("similarity", word_artifact, "a", "e", "--variant", "fp32", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "similarity": 1.0,
        "function": "cosine",
        "texts": ["a", "e"],
        "variant": "fp32",
    }


def test_inspect_verifies_and_describes(
    tiny_artifact: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("inspect", tiny_artifact.directory) == 0
    text = capsys.readouterr().out
    assert text.startswith("tiny: embed, bert, 2 layers, ")
    assert "checksums verified" in text
    assert "Attention 2, Gelu 2, LayerNormalization 5" in text
    assert run("inspect", tiny_artifact.directory, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["verified"] is True
    assert content["architecture"]["layers"] == 2
    assert set(content["quality"]["variants"]) >= {"fp32", "int8"}
    scales = {
        "onnxruntime": "static",
        "openvino": "static",
        "native": "token",
        "native-static": "static",
    }
    assert content["activation_scales"].items() >= scales.items()
    shown = " ".join(text.split())
    assert "native: one for each token; onnxruntime, openvino, native-static" in shown
    assert shown.partition("native-static")[2].partition(": ")[2].startswith("the artifact's")


def test_without_vnni_inspect_says_what_depends_on_it(
    tiny_artifact: Artifact, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(flags: tuple[str, ...], *command: object) -> str:
        machine = replace(this_machine(), cpu_flags=flags)
        monkeypatch.setattr("lanner.engines.registry.this_machine", lambda: machine)
        assert run(*command) == 0
        return " ".join(capsys.readouterr().out.split())

    line = "int8 in openvino: its answers depend on the batch on a processor without VNNI"
    inspect = ("inspect", tiny_artifact.directory)
    assert line in said(("avx2",), *inspect)
    assert line not in said(("avx512_vnni",), *inspect)
    for flags in (("avx2",), ("avx512_vnni",)):
        assert re.search(
            r"default int8 in (native|onnxruntime) on this mach", said(flags, *inspect)
        )
    for flags, expected in ((("avx2",), {"openvino": ["int8"]}), (("avx512_vnni",), {})):
        assert json.loads(said(flags, *inspect, "--json"))["batch_dependent_here"] == expected
    everywhere = "In ONNX Runtime int8 answers the same on any x86-64 processor. In OpenVINO on a "
    assert everywhere in said(("avx512_vnni",), *inspect)
    readme = (tiny_artifact.directory / "README.md").read_text(encoding="utf-8")
    assert everywhere in readme


def test_inspect_finds_a_changed_byte(
    tiny_artifact: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(tiny_artifact.directory, tmp_path / "copy"))
    for path in sorted(copy.iterdir()):
        raw = path.read_bytes()
        path.write_bytes(raw[:-2] + bytes([raw[-2] ^ 1]) + raw[-1:])
        assert run("inspect", copy) == 1, path
        assert f"{path} was changed" in capsys.readouterr().err
        path.write_bytes(raw)
    assert run("inspect", copy) == 0


@pytest.mark.parametrize("command", ["encode", "similarity"])
def test_a_device_that_there_is_not(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "some.lanner", "a", "b", "--device", "cuda:1") == 2
    assert capsys.readouterr().err.endswith(
        "argument --device: there is no device 'cuda:1': use 'cuda', and choose the GPU by the "
        "environment variable CUDA_VISIBLE_DEVICES\n"
    )


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor") == 0
    text = capsys.readouterr().out
    assert re.search(r"\nonnxruntime +ok\n", text)
    assert re.search(r"engines +onnxruntime \d+\.\d+", text)
    assert run("doctor", "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["default_precision"] == "int8"
    assert content["missing"]["onnxruntime"] == []
    assert content["versions"]["lanner"] == "0.1.0"
    assert next(iter(content["engines"])) == "onnxruntime"
    assert content["bf16"] is this_machine().has_bf16


def test_doctor_shows_the_tritonserver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    binary = tmp_path / "tritonserver"
    monkeypatch.setenv("LANNER_TRITONSERVER", str(binary))
    assert run("doctor") == 0
    problem = f"LANNER_TRITONSERVER names {binary}, but the file does not exist: pip install "
    assert f"\ntriton     {problem}" in capsys.readouterr().out
    assert run("doctor", "--json") == 0
    assert json.loads(capsys.readouterr().out)["tritonserver"] is None
    binary.touch(0o755)
    assert run("doctor") == 0
    assert f"\ntriton     {binary}, by LANNER_TRITONSERVER\n" in capsys.readouterr().out
    assert run("doctor", "--json") == 0
    assert json.loads(capsys.readouterr().out)["tritonserver"] == str(binary)


def test_export_without_its_extra_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    doctor = importlib.import_module("lanner.commands.doctor")
    monkeypatch.setattr(doctor, "has_package", lambda name: name != "torch")
    assert run("export", "x", "--output", "y") == 1
    assert capsys.readouterr().err == (
        "lanner: error: lanner export needs the package 'torch', which is not installed: "
        "pip install 'lanner[export]'\n"
    )
    assert "needs: pip install 'lanner[export]'" in " ".join(parser().format_help().split())


@pytest.mark.transformers
def test_export_json_is_one_object(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "j.lanner"
    assert run("export", tiny_checkpoint, "--output", target, "--precision", "fp32", "--json") == 0
    out, err = capsys.readouterr()
    content = json.loads(out)
    assert content["artifact"] == str(target)
    assert content["variants"] == ["fp32"]
    assert "tracing the graph\n" in err


def test_export_of_a_decoder_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="needs the export extra")
    (tmp_path / "gpt2").mkdir()
    (tmp_path / "gpt2" / "config.json").write_text('{"model_type": "gpt2"}')
    assert run("export", tmp_path / "gpt2", "--output", tmp_path / "out") == 1
    assert "is a gpt2 model, which is not an encoder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["gpt2"]


def test_tables_are_aligned() -> None:
    text = table([("name", "n"), ("a", 5), ("long name", 12)])
    assert text == "name        n\n---------  --\na           5\nlong name  12"

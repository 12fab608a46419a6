"""The benchmark of a GPU without one: everything except its figures."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx", reason="needs the export extra")
pytest.importorskip("torch", reason="needs the export extra")
pytest.importorskip("matplotlib", reason="needs lanner-bench")


from tests.support.gpu_figures import report_of

from lanner.machine.gpu import this_gpu
from lanner_perf.gpu import bench
from lanner_perf.gpu.bench import main
from lanner_perf.gpu.record import write_report

needs_no_gpu = pytest.mark.skipif(this_gpu() is not None, reason="needs a machine without a GPU")
ON_CPU = ["--device", "cpu", "--models", "tiny", "--seconds", "0.01"]
SMALL = [*ON_CPU, "--batches", "1,3", "--lengths", "8,16"]
#: A stand-in for ONNX Runtime in which a library ends the process.
CRASH = "import os, sys\nsys.stderr.write('no room for this\\n')\nos.kill(os.getpid(), 9)\n"


def measure(output: Path, *arguments: str) -> dict[str, Any]:
    assert main([*arguments, "--output", str(output)]) == 0
    report: dict[str, Any] = json.loads(output.read_text())
    return report


def shapes_of(report: dict[str, Any], subject: str) -> list[tuple[int, int]]:
    rows = report["figures"]
    return [(row["batch"], row["length"]) for row in rows if row["subject"] == subject]


@needs_no_gpu
def test_without_a_gpu_it_says_so_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--output", str(tmp_path / "gpu.json")]) == 1
    assert capsys.readouterr().err == (
        "error: the benchmark needs an NVIDIA GPU, but this machine has no NVIDIA driver "
        "(libcuda.so.1 is not found): run it on a machine with one\n"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_on_the_cpu_it_shows_that_it_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = measure(tmp_path / "gpu.json", *SMALL)
    assert (report["device"], report["gpu"], report["left_out"]) == ("cpu", None, [])
    for subject in ("torch-fp32", "onnxruntime-fp32"):
        assert shapes_of(report, subject) == [(1, 8), (3, 8), (1, 16), (3, 16)]
    for row in report["figures"]:
        assert row["runs"] >= 10
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["texts_per_s"] > 0
        assert row["peak_fraction"] > 0
        assert row["smallest_cosine"] > 0.99999
    (part,) = report["parts"]
    assert part["peak_flop_per_s"]["fp32"] > 1e9
    assert {"torch", "onnxruntime", "numpy"} <= part["versions"].keys()
    assert (tmp_path / "gpu-tiny-p50.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "gpu.html").read_text().count("data:image/svg+xml;base64,") == 3
    said = capsys.readouterr()
    ran = next(line for line in said.out.splitlines() if "fused attention" in line)
    assert re.split(r"  +", ran.strip()) == [
        "torch-fp32",
        "PyTorch, fused attention",
        "4 shapes of tiny",
    ]
    assert "tiny: onnxruntime-fp32" in said.err
    assert "not measured" not in said.out


@pytest.mark.slow
def test_what_crashes_takes_nothing_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "onnxruntime.py").write_text(CRASH)
    monkeypatch.syspath_prepend(str(broken))
    order = ["--subjects", "onnxruntime-fp32,torch-fp32"]
    report = measure(tmp_path / "gpu.json", *SMALL, *order)
    assert shapes_of(report, "torch-fp32") == [(1, 8), (3, 8), (1, 16), (3, 16)]
    assert report["left_out"] == [
        {
            "model": "tiny",
            "subject": "onnxruntime-fp32",
            "reason": "its process ended with status -9: no room for this",
            "shapes": [[1, 8], [3, 8], [1, 16], [3, 16]],
        }
    ]
    line = (
        "not measured: onnxruntime-fp32, 1 x 8, 3 x 8, 1 x 16, 3 x 16 of tiny: "
        "its process ended with status -9: no room for this"
    )
    assert line in capsys.readouterr().out


@pytest.mark.slow
def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = tmp_path / "absent"
    absent.mkdir()
    (absent / "onnxruntime.py").write_text("raise ImportError('not here')\n")
    monkeypatch.syspath_prepend(str(absent))
    report = measure(tmp_path / "gpu.json", *ON_CPU, "--batches", "1", "--lengths", "8")
    assert [row["subject"] for row in report["figures"]] == ["torch-fp32"]
    (row,) = report["left_out"]
    assert row["reason"].startswith("onnxruntime needs the package 'onnxruntime', which is not")


@pytest.mark.slow
def test_it_goes_on_where_it_was_cut_short(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "gpu.json"
    one = [*ON_CPU, "--subjects", "torch-fp32", "--batches", "1", "--lengths"]
    first = measure(output, *one, "8")
    # Without time for a start nothing is lost, and the missing shapes are named.
    cut = measure(output, *one, "8,16", "--resume", "--minutes", "0.001")
    assert cut["figures"] == first["figures"]
    assert {row["reason"] for row in cut["left_out"]} == {"no time was left: --resume goes on"}
    assert "not measured: torch-fp32, 1 x 16 of tiny: no time was left" in capsys.readouterr().out
    whole = measure(output, *one, "8,16", "--resume")
    assert whole["figures"][:1] == first["figures"]
    assert shapes_of(whole, "torch-fp32") == [(1, 8), (1, 16)]
    assert [row["part"] for row in whole["figures"]] == [0, 2]
    assert whole["left_out"] == []


def test_parts_are_put_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = [str(tmp_path / f"{batch}.json") for batch in (1, 2)]
    for batch, part in enumerate(parts, start=1):
        write_report(report_of(("torch-fp16", batch)), Path(part))
    whole = measure(tmp_path / "gpu.json", "--merge", *parts)
    assert [(row["batch"], row["part"]) for row in whole["figures"]] == [(1, 0), (2, 1)]
    assert (tmp_path / "gpu-BERT-base-p50.png").exists()
    assert "2 shapes of BERT-base" in capsys.readouterr().out
    assert main(["--merge", str(tmp_path / "none.json"), "--output", str(tmp_path / "x.json")]) == 1
    assert "none.json cannot be read (No such file or directory)" in capsys.readouterr().err


def test_without_what_draws_them_there_are_figures_and_no_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    part, output = tmp_path / "part.json", tmp_path / "gpu.json"
    write_report(report_of(("torch-fp16", 1)), part)
    monkeypatch.setattr(bench, "find_spec", lambda name: None if name == "jinja2" else name)
    assert main(["--merge", str(part), "--output", str(output)]) == 0
    assert capsys.readouterr().err == (
        f"no page was written, because jinja2 is not installed: run --merge {output} where "
        f"lanner-bench is installed\n{output}\n"
    )
    assert sorted(file.name for file in tmp_path.iterdir()) == ["gpu.json", "part.json"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "GPT"], "there is no model 'GPT': use MiniLM-L6, BERT-base, BERT-large"),
        (["--subjects", "x"], "there is no subject 'x': use torch-fp32, onnxruntime-fp32\n"),
        (["--batches", "1,x"], "'1,x' must be whole numbers of at least 1, separated by"),
        (["--lengths", "1024"], "'1024' exceeds the 512 tokens that the models accept\n"),
    ],
)
def test_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    output = ["--output", str(tmp_path / "gpu.json")]
    assert main(["--device", "cpu", *output, *arguments]) == 1
    assert capsys.readouterr().err.startswith(f"error: {message}")


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_an_interpreter_that_is_there_needs_no_set_up() -> None:
    def commands(*arguments: str) -> str:
        command = ["make", "--dry-run", "--no-print-directory", "gpu-test", "gpu-bench"]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)
        return done.stdout

    assert "pip install" in commands("VENV_GPU=build/none")
    without = commands("VENV_GPU=build/none", "GPU_PYTHON=python3.12")
    assert "pip install" not in without
    assert 'perf${PYTHONPATH:+:$PYTHONPATH}" python3.12 -m lanner_perf.gpu.bench ' in without
    assert "python3.12 -m pytest -m gpu tests/" in without
    assert "tests/runtime/engines/test_onnxruntime_cuda.py" in without


@pytest.mark.gpu
def test_on_a_gpu(tmp_path: Path) -> None:
    arguments = ["--models", "MiniLM-L6", "--batches", "1,8", "--lengths", "32"]
    report = measure(tmp_path / "gpu.json", *arguments, "--seconds", "0.1")
    measured = {row["subject"] for row in report["figures"]}
    # The other subjects may not be installed.
    assert {"torch-fp16", "torch-fp16-graph"} <= measured
    assert all(0 < row["peak_fraction"] < 1 for row in report["figures"])
    assert report["gpu"]["name"]
    (part,) = report["parts"]
    peaks = part["peak_flop_per_s"]
    assert peaks["fp16"] > peaks["fp32"] > 1e11

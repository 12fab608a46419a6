import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the export extra")
pytest.importorskip("matplotlib", reason="needs the bench extra")

from lanner.errors import BenchmarkError
from lanner.gpu import this_gpu
from lanner_perf.gpu_bench import main, require_alike
from lanner_perf.gpu_models import MODELS, Shape

needs_no_gpu = pytest.mark.skipif(this_gpu() is not None, reason="needs a machine without a GPU")


def test_the_work_of_a_run() -> None:
    # Of a token and layer: 2 x (4 x 32 x 32 + 2 x 32 x 64) and 4 x 16 x 32.
    assert Shape(layers=2, hidden=32, heads=2, inner=64).flop(3, 16) == 2 * 48 * (16_384 + 2_048)
    # BERT-base has 85 million weights in its layers' products.
    base = MODELS["BERT-base"]
    assert base.flop(1, 1) == pytest.approx(2 * 84_934_656, rel=0.001)


@needs_no_gpu
def test_without_a_gpu_it_says_so_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--output", str(tmp_path / "gpu.json")]) == 1
    assert capsys.readouterr().err == (
        "error: the benchmark needs an NVIDIA GPU, and this machine has no NVIDIA driver "
        "(libcuda.so.1 is not found): run it where there is one\n"
    )
    assert not list(tmp_path.iterdir())


def test_on_the_cpu_it_shows_that_it_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "gpu.json"
    arguments = ["--device", "cpu", "--models", "tiny", "--batches", "1,3", "--lengths", "8,16"]
    assert main([*arguments, "--seconds", "0.01", "--output", str(output)]) == 0
    report = json.loads(output.read_text())
    assert report["device"] == "cpu"
    assert report["gpu"] is None
    assert report["left_out"] == []
    figures = report["models"]["tiny"]["figures"]
    measured = [(one["subject"], one["batch"], one["length"]) for one in figures]
    assert measured == [
        (subject, batch, length)
        for subject in ("torch fp32 SDPA", "onnxruntime fp32")
        for length in (8, 16)
        for batch in (1, 3)
    ]
    for one in figures:
        assert one["runs"] >= 10
        assert 0 < one["p50_ms"] <= one["p99_ms"]
        assert one["peak_fraction"] > 0
    assert (tmp_path / "gpu-tiny.png").read_bytes().startswith(b"\x89PNG")
    assert "onnxruntime fp32" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--models", "GPT"],
            "there is no model 'GPT': use MiniLM-L6, BERT-base, BERT-large",
        ),
        (["--batches", "1,x"], "'1,x' must be whole numbers from 1 on, with commas between"),
    ],
)
def test_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    output = ["--output", str(tmp_path / "gpu.json")]
    assert main(["--device", "cpu", *output, *arguments]) == 1
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_what_answers_otherwise_is_refused() -> None:
    expected = np.eye(3, dtype=np.float32)
    require_alike(expected * 2, expected)
    turned = expected + np.float32(0.2)
    with pytest.raises(BenchmarkError, match=r"not those of PyTorch in float32 \(smallest cosine"):
        require_alike(turned, expected)
    with pytest.raises(BenchmarkError, match=r"smallest cosine nan"):
        require_alike(expected * np.float32(np.nan), expected)


@pytest.mark.gpu
def test_on_a_gpu(tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    arguments = ["--models", "MiniLM-L6", "--batches", "1,8", "--lengths", "32"]
    assert main([*arguments, "--seconds", "0.1", "--output", str(output)]) == 0
    report = json.loads(output.read_text())
    figures = report["models"]["MiniLM-L6"]["figures"]
    assert {"torch fp16 SDPA"} <= {one["subject"] for one in figures}
    assert all(0 < one["peak_fraction"] < 1 for one in figures)

"""GPUs and engines in the output of `lanner doctor` and `lanner inspect`."""

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("cuda.bindings.runtime", reason="needs the package cuda-bindings")

from tests.support.gpu.artifact import FOR_L4, H100, add_engines, build
from tests.support.gpu.host_tensorrt import VERSION

from lanner.commands import doctor, main
from lanner.engines.tensorrt import library as tensorrt_library
from lanner.errors import MissingExtraError
from lanner.loading import selection
from lanner.machine.gpu import this_gpu

needs_no_gpu = pytest.mark.skipif(this_gpu() is not None, reason="needs a machine without a GPU")


@pytest.fixture
def _gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "this_gpu", lambda: H100)
    monkeypatch.setattr(doctor, "tensorrt_version", lambda: VERSION)
    monkeypatch.setattr(selection, "this_gpu", lambda: H100)
    monkeypatch.setattr(tensorrt_library, "tensorrt_version", lambda: VERSION)


@needs_no_gpu
def test_the_doctor_says_why_there_is_no_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "gpu        none: this machine has no NVIDIA driver (libcuda.so.1 is not found)" in lines
    assert not any(line.startswith("tensorrt ") and "version" in line for line in lines)
    assert main(["doctor", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["gpu"] is None
    assert content["tensorrt"] is None


def test_onnxruntime_alone_is_not_the_one_for_gpus(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = {"onnxruntime"}
    monkeypatch.setattr(doctor, "has_package", installed.__contains__)
    assert main(["doctor"]) == 0
    missing = r"\ngpu +missing onnxruntime-gpu: pip install 'lanner\[gpu\]'\n"
    assert re.search(missing, capsys.readouterr().out)
    installed.add("onnxruntime-gpu")
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["missing"]["gpu"] == []


@pytest.mark.usefixtures("_gpu")
def test_the_doctor_names_gpu_and_tensorrt(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        "gpu        NVIDIA H100 80GB HBM3, compute capability 9.0, 80 GiB, driver 570.86.15, "
        "CUDA 12.8"
    ) in lines
    assert f"tensorrt   {VERSION}" in lines
    assert main(["doctor", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["gpu"] == {
        "name": "NVIDIA H100 80GB HBM3",
        "compute_capability": "9.0",
        "memory_bytes": 80 * 2**30,
        "driver": "570.86.15",
        "cuda": "12.8",
    }
    assert content["tensorrt"] == VERSION


@pytest.mark.usefixtures("_gpu")
def test_the_doctor_says_why_tensorrt_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> str:
        what = "the tensorrt engine"
        raise MissingExtraError(what, "tensorrt", "tensorrt")

    monkeypatch.setattr(doctor, "tensorrt_version", missing)
    assert main(["doctor"]) == 0
    assert "tensorrt   the tensorrt engine needs the package 'tensorrt', which is not inst" in (
        capsys.readouterr().out
    )


@needs_no_gpu
def test_inspect_without_a_gpu(word_artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_engines(word_artifact, fp16=build())
    assert main(["inspect", str(word_artifact)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "tensorrt-fp16 23 its own for TensorRT" in said
    assert (
        "tensorrt-fp16: built for NVIDIA H100 80GB HBM3 (compute capability 9.0) with TensorRT "
        "10.13.3.9, profiles up to 8 x 2, 8 x 4; does not run here: it needs an NVIDIA GPU, but "
        "this machine has no NVIDIA driver (libcuda.so.1 is not found)"
    ) in said


@pytest.mark.usefixtures("_gpu")
def test_inspect_says_which_engines_run_here(
    word_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_engines(word_artifact, fp16=build(), int8=build(**FOR_L4))
    assert main(["inspect", str(word_artifact)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "default tensorrt-fp16 in tensorrt on this machine, on its GPU" in said
    assert "profiles up to 8 x 2, 8 x 4; runs here" in said
    refusal = (
        "it was built for NVIDIA L4 (compute capability 8.9), but this machine has NVIDIA H100 "
        "80GB HBM3 (9.0)"
    )
    assert f"does not run here: {refusal}" in said
    assert main(["inspect", str(word_artifact), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["engines_refused_here"] == {"tensorrt-fp16": "", "tensorrt-int8": refusal}

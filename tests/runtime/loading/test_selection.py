import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cuda.bindings.runtime", reason="needs the package cuda-bindings")

from tests.support.gpu.artifact import FOR_L4, H100, PROFILES, add_engines, build
from tests.support.gpu.host_tensorrt import VERSION

from lanner.artifact.artifact import Artifact
from lanner.engines.tensorrt import library as tensorrt_library
from lanner.errors import EngineError, InputError, MissingExtraError, VariantError
from lanner.loading import selection
from lanner.loading.selection import refusal_here, select
from lanner.machine.gpu import this_gpu

#: The choice of a machine without a GPU.
ON_CPU = ("int8", "onnxruntime", "cpu")

needs_no_gpu = pytest.mark.skipif(this_gpu() is not None, reason="needs a machine without a GPU")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A machine with a GPU and TensorRT; packages put into the dictionary are installed too."""
    installed: dict[str, str] = {}
    monkeypatch.setattr(selection, "this_gpu", lambda: H100)
    monkeypatch.setattr(selection, "require_gpu", lambda _: H100)
    monkeypatch.setattr(selection, "package_version", installed.get)
    monkeypatch.setattr(tensorrt_library, "tensorrt_version", lambda: VERSION)
    return installed


def selected(artifact: Artifact, **asked: Any) -> tuple[str, str, str]:
    variant, engine, device = select(artifact, **asked)
    return variant.name, engine, device


@needs_no_gpu
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ON_CPU),
        ({"device": "cpu"}, ON_CPU),
        ({"engine": "openvino", "variant": "fp32"}, ("fp32", "openvino", "cpu")),
        ({"variant": "fp16"}, ("fp16", "onnxruntime", "cpu")),
    ],
)
def test_without_a_gpu_the_cpu_is_taken(
    word_artifact: Path, asked: dict[str, str], expected: tuple[str, str, str]
) -> None:
    assert selected(add_engines(word_artifact, fp16=build()), **asked) == expected


@needs_no_gpu
@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ({"device": "cuda"}, "onnxruntime on cuda"),
        ({"engine": "tensorrt"}, "the tensorrt engine"),
        ({"variant": "tensorrt-fp16"}, "the tensorrt engine"),
        ({"variant": "fp8"}, "the tensorrt engine"),
    ],
)
def test_a_gpu_that_is_asked_for_and_not_there(
    word_artifact: Path, asked: dict[str, str], what: str
) -> None:
    artifact = add_engines(word_artifact, fp16=build(), fp8=build())
    message = rf"^{what} needs an NVIDIA GPU, but this machine has no NVIDIA driver"
    with pytest.raises(EngineError, match=message):
        select(artifact, **asked)


@needs_no_gpu
def test_without_a_gpu_nothing_of_cuda_is_imported(word_artifact: Path) -> None:
    add_engines(word_artifact, fp16=build())
    code = """
import sys, lanner
lanner.load(sys.argv[1]).encode("a b")
print([name for name in sys.modules if name.startswith(("cuda.", "tensorrt"))])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(word_artifact)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ("tensorrt-fp16", "tensorrt", "cuda")),
        ({"device": "cuda"}, ("tensorrt-fp16", "tensorrt", "cuda")),
        ({"engine": "tensorrt"}, ("tensorrt-fp16", "tensorrt", "cuda")),
        ({"engine": "tensorrt", "variant": "int8"}, ("tensorrt-int8", "tensorrt", "cuda")),
        ({"variant": "tensorrt-int8"}, ("tensorrt-int8", "tensorrt", "cuda")),
        ({"device": "cpu"}, ON_CPU),
        ({"variant": "fp32"}, ("fp32", "onnxruntime", "cpu")),
        ({"variant": "fp32", "device": "cuda"}, ("fp32", "onnxruntime", "cuda")),
        ({"engine": "onnxruntime", "device": "cuda"}, ("fp16", "onnxruntime", "cuda")),
        ({"engine": "openvino"}, (ON_CPU[0], "openvino", "cpu")),
    ],
)
def test_on_a_gpu(
    word_artifact: Path,
    gpu: dict[str, str],
    asked: dict[str, str],
    expected: tuple[str, str, str],
) -> None:
    artifact = add_engines(word_artifact, int8=build(), fp16=build())
    assert selected(artifact, **asked) == expected


def test_an_engine_is_found_by_a_precision_that_nothing_else_has(
    word_artifact: Path, gpu: dict[str, str]
) -> None:
    artifact = add_engines(word_artifact, fp8=build(), int8=build())
    expected = ("tensorrt-fp8", "tensorrt", "cuda")
    assert selected(artifact, variant="fp8") == expected
    assert selected(artifact, variant="fp8", device="cuda") == expected
    # There is a graph of that name.
    assert selected(artifact, variant="int8") == ("int8", "onnxruntime", "cpu")
    with pytest.raises(VariantError, match=r"holds no variant 'fp8', only fp32, int8, fp16, tens"):
        select(artifact, variant="fp8", device="cpu")


@pytest.mark.parametrize(
    "engine",
    [
        {"fp16": build(**FOR_L4)},
        {"fp16": build(tensorrt="11.4.0.106")},
        {"fp16": build(PROFILES[:1])},  # two tokens, but the model accepts four
        {"fp16": build(), "independence": 0.99},
        {},
    ],
    ids=["GPU", "version", "length", "independence", "none"],
)
def test_an_engine_that_may_not_be_picked(
    word_artifact: Path, gpu: dict[str, str], engine: dict[str, Any]
) -> None:
    artifact = add_engines(word_artifact, **engine)
    assert selected(artifact) == ON_CPU
    gpu["onnxruntime-gpu"] = "1.31.1"
    on_cuda = "fp32" if "independence" in engine else "fp16"
    assert selected(artifact) == (on_cuda, "onnxruntime", "cuda")


def test_the_driver_is_not_asked_where_nothing_would_use_it(
    word_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has asked the driver cannot fork and use a GPU in the child."""

    def ask() -> None:
        pytest.fail("the driver is asked")

    monkeypatch.setattr(selection, "this_gpu", ask)
    monkeypatch.setattr(selection, "package_version", {}.get)
    assert selected(Artifact.open(word_artifact)) == ON_CPU


def test_where_onnxruntime_gpu_is_installed(word_artifact: Path, gpu: dict[str, str]) -> None:
    gpu["onnxruntime-gpu"] = "1.31.1"
    artifact = add_engines(word_artifact)
    assert selected(artifact, variant="fp32") == ("fp32", "onnxruntime", "cuda")
    # in the layout for a CPU
    assert selected(artifact, variant="int8") == ("int8", "onnxruntime", "cpu")
    assert selected(artifact, device="cpu") == ON_CPU


def test_int8_for_cpus_does_not_go_to_a_gpu(word_artifact: Path, gpu: dict[str, str]) -> None:
    artifact = add_engines(word_artifact)
    message = r"^the variant int8 of .* is for CPUs: on a GPU load fp16 or fp32$"
    with pytest.raises(VariantError, match=message):
        select(artifact, variant="int8", device="cuda")


@pytest.mark.parametrize(
    ("engines", "variant", "message"),
    [
        (
            {"fp16": build(**FOR_L4), "int8": build()},
            "tensorrt-fp16",
            r"that runs here \(tensorrt-fp16: it was built for NVIDIA L4 .*, or load 'tensorrt-i",
        ),
        (
            {"fp16": build(tensorrt="11.4.0.106")},
            "auto",
            r"holds no engine of TensorRT that runs here \(.* 11.4.0.106, but .*', or load 'fp32'$",
        ),
        (
            # If neither of two runs, neither is named.
            {"fp16": build(**FOR_L4), "int8": build(**FOR_L4)},
            "int8",
            r": build it here with 'lanner build-engine .* --precision int8', or load 'fp32'$",
        ),
        ({}, "auto", r"holds no engine of TensorRT: build it here with 'lanner build-engine .*'"),
    ],
    ids=["GPU", "version", "both", "none"],
)
def test_what_would_work_is_named(
    word_artifact: Path, gpu: dict[str, str], engines: dict[str, Any], variant: str, message: str
) -> None:
    artifact = add_engines(word_artifact, **engines)
    with pytest.raises(VariantError, match=message):
        select(artifact, engine="tensorrt", variant=variant)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"device": "tpu"}, r"^there is no device 'tpu': use cpu, cuda or 'auto'$"),
        (
            {"device": "cuda:1"},
            (
                r"^there is no device 'cuda:1': use 'cuda', and choose the GPU by the environment "
                r"variable CUDA_VISIBLE_DEVICES$"
            ),
        ),
        ({"device": None}, r"^there is no device None: use cpu, cuda or 'auto'$"),
        ({"engine": "openvino", "device": "cuda"}, r"^the engine openvino runs on the CPU: omit "),
        (
            {"engine": "tensorrt", "device": "cpu"},
            (
                r"^the engine tensorrt is for TensorRT on a GPU and does not run on the CPU: "
                r"omit device, or load another variant$"
            ),
        ),
        (
            {"engine": "onnxruntime", "variant": "tensorrt-fp16"},
            r"and does not run in onnxruntime: omit engine, or load another variant$",
        ),
    ],
)
def test_what_cannot_be_together(word_artifact: Path, asked: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        select(add_engines(word_artifact, fp16=build()), **asked)


def test_another_engine_does_not_run_on_a_gpu(word_artifact: Path, gpu: dict[str, str]) -> None:
    with pytest.raises(VariantError, match=r"^there is no engine 'abacus' for a GPU: use onnxrun"):
        select(add_engines(word_artifact), engine="abacus", device="cuda")


def test_where_tensorrt_is_missing_an_engine_is_not_picked(
    word_artifact: Path, gpu: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> str:
        what = "the tensorrt engine"
        raise MissingExtraError(what, "tensorrt", "tensorrt")

    monkeypatch.setattr(tensorrt_library, "tensorrt_version", missing)
    assert refusal_here(build()) == (
        "the tensorrt engine needs the package 'tensorrt', which is not installed: "
        "pip install 'lanner[tensorrt]'"
    )
    assert selected(add_engines(word_artifact, fp16=build())) == ON_CPU

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from tests.runtime.engines.test_engines import feed_of

from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import file_sha256
from lanner.engines import onnxruntime_cuda, open_engine
from lanner.engines.onnxruntime_cuda import (
    CPU,
    CUDA,
    TENSORRT,
    Buffers,
    left_for_the_cpu,
    open_on_gpu,
    require_kernels,
    require_providers,
    tensorrt_options,
)
from lanner.errors import EngineError, InputError, MissingExtraError
from lanner.loading.load import load
from lanner.machine.gpu import this_gpu

needs_no_gpu = pytest.mark.skipif(this_gpu() is not None, reason="needs a machine without a GPU")
needs_plain = pytest.mark.skipif(
    CUDA in ort.get_available_providers(), reason="needs ONNX Runtime without CUDA"
)
needs_cuda = pytest.mark.skipif(
    CUDA not in ort.get_available_providers(), reason="needs ONNX Runtime with CUDA"
)
#: Where onnxruntime-gpu was unpacked, for what it does on a machine without CUDA.
GPU_PACKAGE = os.environ.get("LANNER_ONNXRUNTIME_GPU", "")


def session_of(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return ort.InferenceSession(str(path), options, providers=[CPU])


@needs_no_gpu
def test_without_a_gpu_it_says_so(word_artifact: Path) -> None:
    message = r"^onnxruntime on cuda needs an NVIDIA GPU, but this machine has no NVIDIA driver"
    with pytest.raises(EngineError, match=message):
        open_engine("onnxruntime", word_artifact / "model.fp32.onnx", device="cuda")
    with pytest.raises(EngineError, match=message):
        load(word_artifact, engine="onnxruntime", device="cuda")


@needs_plain
def test_onnxruntime_without_cuda_is_named(word_artifact: Path) -> None:
    message = (
        r"^onnxruntime on cuda needs the package 'onnxruntime-gpu', which is not installed: "
        r"pip install 'lanner\[gpu\]'$"
    )
    with pytest.raises(MissingExtraError, match=message):
        open_on_gpu(word_artifact / "model.fp32.onnx", [(CUDA, {})])


@needs_plain
def test_onnxruntime_over_the_one_with_cuda_is_named(
    word_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime_cuda, "package_version", lambda _: "1.31.1")
    message = (
        r"^onnxruntime on cuda needs onnxruntime-gpu alone, but onnxruntime is installed over it: "
        r"pip uninstall onnxruntime onnxruntime-gpu, then pip install 'lanner\[gpu\]'$"
    )
    with pytest.raises(EngineError, match=message):
        open_on_gpu(word_artifact / "model.fp32.onnx", [(CUDA, {})])


def test_a_provider_that_did_not_start(word_artifact: Path) -> None:
    session = session_of(word_artifact / "model.fp32.onnx")
    require_providers(session, [CPU])
    with pytest.raises(EngineError, match=r"could not start CUDA and would have run on the CPU: "):
        require_providers(session, [TENSORRT, CUDA])
    with pytest.raises(EngineError, match=r"could not start TensorRT and would have run without"):
        require_providers(session, [TENSORRT])


@pytest.mark.skipif(not GPU_PACKAGE, reason="needs LANNER_ONNXRUNTIME_GPU, where it was unpacked")
@pytest.mark.parametrize(
    ("cache", "message"),
    [
        ("None", "could not start CUDA and would have run on the CPU: install the CUDA and cuDNN"),
        (
            "Path('cache')",
            "): omit engine_cache, or build an engine with 'lanner build-engine'",
        ),
    ],
)
def test_the_real_package_without_cuda(
    word_artifact: Path, tmp_path: Path, cache: str, message: str
) -> None:
    code = f"""
import sys
from pathlib import Path
from lanner.engines.onnxruntime_cuda import CudaOnnxRuntimeEngine
CudaOnnxRuntimeEngine(Path(sys.argv[1]), inputs=["input_ids"], engine_cache={cache})
"""
    path = os.pathsep.join([GPU_PACKAGE, *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code, str(word_artifact / "model.fp32.onnx")],
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stderr.splitlines()[-1]
    assert last.startswith("lanner.errors.EngineError: ONNX Runtime ")
    assert message in last
    assert done.stdout == ""


def test_what_is_left_for_the_cpu_is_named(minilm_artifact: Artifact) -> None:
    left = left_for_the_cpu(session_of(minilm_artifact.file("model.fp32.onnx")))
    assert {"MatMul", "LayerNormalization"} <= set(left)
    assert "Shape" not in left


def test_what_is_left_for_the_cpu_is_refused(word_artifact: Path) -> None:
    path = word_artifact / "model.fp32.onnx"
    session = session_of(path)
    operators = re.escape(", ".join(left_for_the_cpu(session)))
    message = (
        rf"^ONNX Runtime \S+ would run part of {re.escape(str(path))} on the CPU \({operators}\): "
        r"install a newer onnxruntime-gpu, load another variant, or load with device='cpu'$"
    )
    with pytest.raises(EngineError, match=message):
        require_kernels(session, path)


def test_bound_buffers_answer_as_arrays_do(word_artifact: Path) -> None:
    """On the CPU, whose bindings are those of a GPU."""
    session = session_of(word_artifact / "model.fp32.onnx")
    random = np.random.default_rng(0)
    first, second = (
        {
            "input_ids": random.integers(2, 8, (2, 3)),
            "attention_mask": random.integers(1, 2, (2, 3)),
        }
        for _ in range(2)
    )
    buffers = Buffers(session, first, "sentence_embedding", "cpu")
    for inputs in (first, second, first):
        expected = session.run(None, inputs)[0]
        kept = buffers.run(inputs)
        buffers.run(second)
        np.testing.assert_array_equal(kept, expected)


def test_tensorrt_gets_one_profile_of_all_buckets(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"a graph")
    cache = tmp_path / "cache"
    inputs = ["input_ids", "attention_mask"]
    options = tensorrt_options(tmp_path / "model.onnx", inputs, "fp16", 256, cache)
    own = str(cache / file_sha256(tmp_path / "model.onnx")[:16])
    assert Path(own).is_dir()
    assert options == {
        "device_id": "0",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": own,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": own,
        "trt_profile_min_shapes": "input_ids:1x1,attention_mask:1x1",
        # Of 16, 24, 32, 48, 64, 96, 128, 192 and 256.
        "trt_profile_opt_shapes": "input_ids:16x64,attention_mask:16x64",
        "trt_profile_max_shapes": "input_ids:128x256,attention_mask:128x256",
        "trt_fp16_enable": "1",
    }
    plain = tensorrt_options(tmp_path / "model.onnx", inputs, "fp32", None, cache)
    assert "trt_fp16_enable" not in plain
    assert plain["trt_profile_max_shapes"] == "input_ids:128x512,attention_mask:128x512"


@pytest.mark.parametrize(
    ("has_cache", "parts"), [(False, [300]), (True, [128, 44])], ids=["CUDA", "TensorRT"]
)
def test_no_batch_is_beyond_what_tensorrt_was_told_of(
    word_artifact: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    has_cache: bool,
    parts: list[int],
) -> None:
    """On the CPU, whose bindings are those of a GPU."""
    path = word_artifact / "model.fp32.onnx"
    told: list[tuple[str, dict[str, str]]] = []
    ran: list[int] = []

    def opened(path: Path, providers: list[tuple[str, dict[str, str]]]) -> ort.InferenceSession:
        told.extend(providers)
        return session_of(path)

    def bound(session: object, inputs: dict[str, np.ndarray], output: str, device: str) -> Buffers:
        assert device == "cuda"
        ran.append(len(inputs["input_ids"]))
        return Buffers(session, inputs, output, "cpu")

    monkeypatch.setattr(onnxruntime_cuda, "open_on_gpu", opened)
    monkeypatch.setattr(onnxruntime_cuda, "Buffers", bound)
    names = ["input_ids", "attention_mask"]
    cache = tmp_path / "cache" if has_cache else None
    engine = onnxruntime_cuda.CudaOnnxRuntimeEngine(path, inputs=names, engine_cache=cache)
    ids = np.random.default_rng(0).integers(2, 8, (300, 3))
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    expected = session_of(path).run(None, inputs)[0]
    np.testing.assert_array_equal(engine.run(inputs), expected)
    assert ran == parts  # the second 128 have buffers already
    assert [name for name, _ in told] == ([TENSORRT, CUDA] if has_cache else [CUDA])
    assert told[-1][1] == {"device_id": "0", "use_tf32": "0"}


def test_a_cache_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"a graph")
    message = r"^cannot use the engine cache .*model.onnx \(.*\): name another directory$"
    with pytest.raises(InputError, match=message):
        tensorrt_options(tmp_path / "model.onnx", [], "fp32", 4, tmp_path / "model.onnx")


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("shape", [(1, 8), (7, 33), (64, 128)], ids=str)
def test_a_gpu_answers_as_the_cpu_does(minilm_artifact: Artifact, shape: tuple[int, int]) -> None:
    path = minilm_artifact.file("model.fp32.onnx")
    engine = open_engine("onnxruntime", path, device="cuda", max_tokens=256)
    expected = open_engine("onnxruntime", path).run(feed_of(*shape))
    for _ in range(3):
        np.testing.assert_allclose(engine.run(feed_of(*shape)), expected, atol=1e-4)


@pytest.mark.gpu
@needs_cuda
@pytest.mark.usefixtures("tensorrt_library")
def test_tensorrt_within_onnxruntime(minilm_artifact: Artifact, tmp_path: Path) -> None:
    path = minilm_artifact.file("model.fp32.onnx")
    expected = open_engine("onnxruntime", path).run(feed_of(4, 32))
    for _ in range(2):  # the second finds the engine of the first
        engine = open_engine(
            "onnxruntime",
            path,
            device="cuda",
            inputs=minilm_artifact.manifest.inputs,
            max_tokens=256,
            engine_cache=tmp_path,
        )
        np.testing.assert_allclose(engine.run(feed_of(4, 32)), expected, atol=5e-3)  # TF32
        assert list(tmp_path.rglob("*.engine"))

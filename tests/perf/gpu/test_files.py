"""The files made from a model for the subjects, tested on a CPU."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the export extra")
pytest.importorskip("torch", reason="needs the export extra")


from tests.support.gpu.artifact import H100
from tests.support.gpu.host_builder import VERSION, HostBuilder

from lanner.artifact.engine_build import Profile
from lanner.engines.onnxruntime import OnnxRuntimeEngine
from lanner.engines.tensorrt import library as tensorrt_library
from lanner.errors import BenchmarkError
from lanner_export.precision.half_precision import write_emulation
from lanner_export.tensorrt import builder
from lanner_perf.gpu import files as gpu_files
from lanner_perf.gpu.files import Model, own_environment
from lanner_perf.gpu.models import inputs_of
from lanner_perf.gpu.subjects import SUBJECTS, subjects_of
from lanner_perf.gpu.worker import least_cosine


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    place = tmp_path_factory.mktemp("models") / "tiny"
    return Model("tiny", "cpu", str(place), [1, 4], [32, 16])


def rounded(path: Path) -> OnnxRuntimeEngine:
    """Run a half-precision graph with the rounding of a GPU."""
    emulation = path.with_name("emulation.onnx")
    write_emulation(path, emulation)
    return OnnxRuntimeEngine(emulation)


def test_no_two_subjects_of_a_device_have_one_name() -> None:
    assert sum(len(subjects_of(device)) for device in ("cuda", "cpu")) == len(SUBJECTS)


def test_engines_do_not_meet_pytorch() -> None:
    code = (
        "import lanner_perf.gpu.worker, lanner_export.tensorrt.builder, sys\n"
        "import lanner_export.tensorrt.graph, lanner_export.tensorrt.profiles\n"
        "import lanner.engines.onnxruntime\n"
        "assert 'onnx' in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], env=own_environment(), check=True)


@pytest.mark.slow
def test_the_graphs_answer_as_pytorch_does(model: Model) -> None:
    inputs = inputs_of(4, 16)
    expected = model.expected()[4, 16]
    np.testing.assert_allclose(model.reference(inputs), expected, atol=1e-6)
    fp32 = OnnxRuntimeEngine(model.onnx("fp32")).run(inputs)
    np.testing.assert_allclose(fp32, expected, atol=1e-5)
    fp16 = rounded(model.onnx("fp16")).run(inputs)
    assert least_cosine(fp16, expected) > 0.99999
    assert not list(model.directory.glob("partial.*"))


@pytest.mark.slow
def test_an_engine_has_a_profile_for_each_length(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = HostBuilder()
    monkeypatch.setattr(builder, "tensorrt", lambda: host)
    monkeypatch.setattr(builder, "open_log", lambda: host.log)
    monkeypatch.setattr(tensorrt_library, "tensorrt_version", lambda: VERSION)
    monkeypatch.setattr(gpu_files, "require_gpu", lambda _: H100)
    path, build = model.engine()
    assert path.name == "model.nvidia-h100-80gb-hbm3-sm90-fp16-10.13.3.9.plan"
    assert build.refusal(gpu=H100.name, compute_capability="9.0", tensorrt=VERSION) == ""
    assert build.profiles == [
        Profile((1, 16), (4, 16), (4, 16)),
        Profile((1, 32), (4, 32), (4, 32)),
    ]
    # The stand-in for the builder returns the graph.
    inputs = inputs_of(4, 16)
    answer = rounded(path).run(inputs)
    assert least_cosine(answer, model.expected()[4, 16]) > 0.99999


@pytest.mark.slow
def test_what_cannot_be_made_is_not_tried_twice(tmp_path: Path) -> None:
    in_the_way = tmp_path / "tiny" / "partial.expected.npz"
    in_the_way.mkdir(parents=True)
    model = Model("tiny", "cpu", str(tmp_path / "tiny"), [1], [8])
    reason = r"could not be made: IsADirectoryError: .*partial.expected.npz"
    with pytest.raises(BenchmarkError, match=rf"^model.fp32.onnx {reason}"):
        model.onnx("fp32")
    in_the_way.rmdir()
    # Another process fails too, and so does everything that is made from it.
    with pytest.raises(BenchmarkError, match=rf"^expected.npz {reason}"):
        Model("tiny", "cpu", str(tmp_path / "tiny"), [1], [8]).expected()

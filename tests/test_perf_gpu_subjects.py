"""What is made of a model for the subjects, as far as a CPU can run it."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the export extra")
pytest.importorskip("torch", reason="needs the export extra")

from lanner.engine_build import Profile
from lanner.engines import tensorrt_library
from lanner.engines.onnxruntime import OnnxRuntimeEngine
from lanner.errors import BenchmarkError
from lanner_export.half_precision import write_emulation
from lanner_export.tensorrt import builder
from lanner_perf import gpu_subjects
from lanner_perf.gpu_models import MODELS, inputs_of
from lanner_perf.gpu_subjects import SUBJECTS, Model, subjects_of
from lanner_perf.gpu_torch import Reference
from lanner_perf.gpu_worker import least_cosine
from tests.gpu_artifact import H100
from tests.host_builder import VERSION, HostBuilder


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return Model(MODELS["tiny"], "cpu", tmp_path / "tiny", 8, [32, 16])


def rounded(path: Path) -> OnnxRuntimeEngine:
    """A graph in half precision, run as a GPU rounds."""
    emulation = path.with_name("emulation.onnx")
    write_emulation(path, emulation)
    return OnnxRuntimeEngine(emulation)


def test_no_two_subjects_of_a_device_have_one_name() -> None:
    assert sum(len(subjects_of(device)) for device in ("cuda", "cpu")) == len(SUBJECTS)


def test_the_graphs_answer_as_pytorch_does(model: Model) -> None:
    inputs = inputs_of(4, 16)
    expected = Reference(model.torch, "cpu")(inputs)
    fp32 = OnnxRuntimeEngine(model.onnx("fp32")).run(inputs)
    np.testing.assert_allclose(fp32, expected, atol=1e-5)
    assert {path.name for path in model.directory.iterdir()} == {"model.fp32.onnx"}
    fp16 = rounded(model.onnx("fp16")).run(inputs)
    assert least_cosine(fp16, expected) > 0.99999


def test_an_engine_has_a_profile_for_each_length(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = HostBuilder()
    monkeypatch.setattr(builder, "tensorrt", lambda: host)
    monkeypatch.setattr(builder, "open_log", lambda: host.log)
    monkeypatch.setattr(tensorrt_library, "tensorrt_version", lambda: VERSION)
    monkeypatch.setattr(gpu_subjects, "require_gpu", lambda _: H100)
    path, build = model.engine()
    assert path.name == "model.nvidia-h100-80gb-hbm3-sm90-fp16-10.13.3.9.plan"
    assert build.refusal(gpu=H100.name, compute_capability="9.0", tensorrt=VERSION) == ""
    assert build.profiles == [
        Profile((1, 16), (8, 16), (8, 16)),
        Profile((1, 32), (8, 32), (8, 32)),
    ]
    # What stands for the builder gives the graph back.
    inputs = inputs_of(4, 16)
    answer = rounded(path).run(inputs)
    assert least_cosine(answer, Reference(model.torch, "cpu")(inputs)) > 0.99999


def test_what_cannot_be_made_is_not_tried_twice(model: Model) -> None:
    in_the_way = model.directory / "partial.model.fp32.onnx"
    in_the_way.mkdir(parents=True)
    reason = r"^model.fp32.onnx could not be made: .*directory"
    with pytest.raises(BenchmarkError, match=reason):
        model.onnx("fp32")
    in_the_way.rmdir()
    # Nor in another process, and whatever is made of it says so, too.
    again = Model(MODELS["tiny"], "cpu", model.directory, 8, [16])
    with pytest.raises(BenchmarkError, match=rf"^model.fp16.onnx could not be made: {reason[1:]}"):
        again.onnx("fp16")

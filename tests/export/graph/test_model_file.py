"""Files of graphs, whose weights are never in memory twice."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the export extra")

import ml_dtypes
import onnx
import onnx_ir as ir

from lanner.engines.onnx.file import external_files
from lanner.engines.onnxruntime import open_session
from lanner_export.graph import model_file
from lanner_export.graph.model_file import (
    files_of,
    load,
    remove,
    save,
    save_beside,
    weights_file,
)

GENERATOR = np.random.default_rng(0)
WEIGHTS = {
    "large": GENERATOR.normal(size=(40, 50)).astype(np.float32),
    "small": GENERATOR.normal(size=50).astype(np.float32),
    "half": GENERATOR.normal(size=(40, 50)).astype(ml_dtypes.bfloat16),
    "bytes": GENERATOR.integers(-128, 127, (40, 50)).astype(np.int8),
}
TEXT = """
<ir_version: 10, opset_import: ["": 20]>
g (float[b, 40] x) => (float[b, 50] y) { z = MatMul(x, large) y = Add(z, small) }
"""


def graph() -> ir.Model:
    model = ir.from_proto(onnx.parser.parse_model(TEXT))
    for name, array in WEIGHTS.items():
        tensor = ir.tensor(array, name=name)
        value = next((v for n in model.graph for v in n.inputs if v and v.name == name), None)
        value = value or ir.Value(name=name)
        value.const_value, value.dtype = tensor, tensor.dtype
        value.shape = ir.Shape(array.shape)
        model.graph.initializers.add(value)
    return model


def test_a_file_is_what_other_programs_write(tmp_path: Path) -> None:
    model = graph()
    save(model, tmp_path / "ours.onnx")
    onnx.checker.check_model(tmp_path / "ours.onnx")
    assert isinstance(model.graph.initializers["large"].const_value, ir.Tensor)  # as before
    ir.save(model, tmp_path / "theirs.onnx")
    ours, theirs = (onnx.load(tmp_path / f"{name}.onnx") for name in ("ours", "theirs"))
    tensors = [
        {tensor.name: (list(tensor.dims), tensor.data_type, tensor.raw_data) for tensor in found}
        for found in (ours.graph.initializer, theirs.graph.initializer)
    ]
    assert tensors[0] == tensors[1]
    assert set(tensors[0]) == set(WEIGHTS)
    for proto in (ours, theirs):
        del proto.graph.initializer[:]
    # Theirs lists the types of weights once more.
    assert {info.name for info in theirs.graph.value_info} == set(WEIGHTS)
    del theirs.graph.value_info[:]
    assert ours == theirs


def test_a_graph_is_the_same_bytes_in_whatever_order_its_weights_were_read(tmp_path: Path) -> None:
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    save(graph(), first)
    model = load(first)
    assert list(model.graph.initializers) != list(WEIGHTS)
    save(model, second)
    assert second.read_bytes() == first.read_bytes()


def test_weights_stay_in_the_file(tmp_path: Path) -> None:
    save(graph(), tmp_path / "model.onnx")
    model = load(tmp_path / "model.onnx")
    found = {name: value.const_value for name, value in model.graph.initializers.items()}
    assert isinstance(found["large"], ir.ExternalTensor)
    for name, array in WEIGHTS.items():
        tensor = found[name]
        assert tensor is not None
        np.testing.assert_array_equal(tensor.numpy(), array)
    save(model, tmp_path / "again.onnx")  # from one file into the other
    again = {t.name: t.raw_data for t in onnx.load(tmp_path / "again.onnx").graph.initializer}
    assert again == {name: array.tobytes() for name, array in WEIGHTS.items()}


def test_more_weights_than_a_message_holds_are_external(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_file, "MOST_BYTES", 8_000)
    path = tmp_path / "model.onnx"
    save(graph(), path)
    assert weights_file(path) == "model.onnx.data"
    assert external_files(path) == {"model.onnx.data"}
    assert path.stat().st_size < 4_000
    onnx.checker.check_model(path)
    proto = onnx.load(path, load_external_data=False)
    places = {
        tensor.name: {entry.key: entry.value for entry in tensor.external_data}
        for tensor in proto.graph.initializer
    }
    assert set(places) == set(WEIGHTS)
    assert not places["small"]  # it stays in the message
    assert all(int(place["offset"]) % 64 == 0 for place in places.values() if place)
    given = {tensor.name: tensor.raw_data for tensor in onnx.load(path).graph.initializer}
    assert given == {name: array.tobytes() for name, array in WEIGHTS.items()}
    # From two files into one, and back.
    monkeypatch.undo()
    save(load(path), tmp_path / "whole.onnx")
    assert weights_file(tmp_path / "whole.onnx") is None
    whole = {t.name: t.raw_data for t in onnx.load(tmp_path / "whole.onnx").graph.initializer}
    assert whole == given
    remove(path)
    assert [found.name for found in tmp_path.iterdir()] == ["whole.onnx"]


def test_a_file_that_is_written_again_leaves_no_old_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(model_file, "MOST_BYTES", 8_000)
        save(graph(), tmp_path / "model.onnx")
    save(graph(), tmp_path / "model.onnx")
    assert files_of(tmp_path / "model.onnx") == [tmp_path / "model.onnx"]
    assert [found.name for found in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("most_bytes", [8_000, 2**31])
def test_a_graph_beside_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_bytes: int
) -> None:
    monkeypatch.setattr(model_file, "MOST_BYTES", most_bytes)
    save(graph(), tmp_path / "model.onnx")
    save_beside(load(tmp_path / "model.onnx"), tmp_path / "beside.onnx")
    assert (tmp_path / "beside.onnx").stat().st_size < 4_000
    given = {"x": GENERATOR.normal(size=(3, 40)).astype(np.float32)}
    answers = [
        open_session(tmp_path / name, maps_weights=True).run(None, given)[0]
        for name in ("model.onnx", "beside.onnx")
    ]
    np.testing.assert_array_equal(answers[0], answers[1])


def test_mapped_weights_answer_the_same(tmp_path: Path) -> None:
    save(graph(), tmp_path / "model.onnx")
    given = {"x": GENERATOR.normal(size=(3, 40)).astype(np.float32)}
    mapped, read = (
        open_session(tmp_path / "model.onnx", maps_weights=is_mapped).run(None, given)[0]
        for is_mapped in (True, False)
    )
    np.testing.assert_array_equal(mapped, read)
    expected = given["x"] @ WEIGHTS["large"] + WEIGHTS["small"]
    np.testing.assert_allclose(mapped, expected, rtol=0, atol=1e-5)


PEAK = """
import resource, sys
from pathlib import Path
import numpy as np
import onnx_ir as ir
from lanner_export.graph.model_file import load, save
weights = [ir.tensor(np.full((2**22,), i, np.float32), name=f"w{i}") for i in range(16)]
values = [ir.Value(name=t.name, shape=t.shape, const_value=t) for t in weights]
graph = ir.Graph([], [], nodes=[], initializers=values, opset_imports={"": 20}, name="g")
def peak_bytes(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak_bytes()
save(ir.Model(graph, ir_version=10), Path(sys.argv[1]))
model = load(Path(sys.argv[1]))
assert len(model.graph.initializers) == 16
print(peak_bytes() - before)
"""


def test_no_second_copy_is_made(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PEAK, str(tmp_path / "model.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (tmp_path / "model.onnx").stat().st_size > 2**28
    assert int(done.stdout) < 2**26

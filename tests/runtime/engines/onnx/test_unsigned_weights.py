import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lanner.engines import onnxruntime
from lanner.engines.onnx.file import GRAPH, tag
from lanner.engines.onnx.unsigned_weights import has_signed_weights, with_unsigned_weights
from lanner.engines.onnxruntime import open_session
from lanner.errors import EngineError
from lanner.machine.machine import this_machine

onnx = pytest.importorskip("onnx", reason="needs the export extra")

#: A product twice with the same weights, as layers that share theirs have it.
SHARED = """
<ir_version: 10, opset_import: ["": 20]>
g (float[n, 64] x) => (float[n, 64] y)
<float s = {0.5}, uint8 z = {10}, int8[64, 64] w, float[64] ws, int8[64] wz, int64 one = {1}>
{
    bytes_ = QuantizeLinear(x, s, z)
    a1 = DequantizeLinear(bytes_, s, z)
    w1 = DequantizeLinear <axis = 1> (w, ws, wz)
    b = MatMul(a1, w1)
    bytes_2 = QuantizeLinear(b, s, z)
    a2 = DequantizeLinear(bytes_2, s, z)
    w2 = DequantizeLinear <axis = 1> (w, ws, wz)
    y = MatMul(a2, w2)
}
"""
#: The largest there are, whose products saturate at 16 bits, and ordinary ones.
WEIGHTS = np.random.default_rng(0).integers(-127, 128, (64, 64)).astype(np.int8)
WEIGHTS[:, 0] = 127
WEIGHTS[:, 1] = -127
SCALES = np.linspace(0.001, 0.002, 64, dtype=np.float32)
X = np.random.default_rng(1).uniform(-5, 130, (3, 64)).astype(np.float32)
X[0] = 122.5  # 255 in bytes


def write(path: Path, text: str = SHARED, *, raw: bool = True) -> Path:
    """The graph with `WEIGHTS`, its bytes as ONNX's own tools write them or one number each."""
    model = onnx.parser.parse_model(text)
    for values, name in ((WEIGHTS, "w"), (SCALES, "ws"), (np.zeros(64, np.int8), "wz")):
        if raw:
            tensor = onnx.numpy_helper.from_array(values, name)
        else:
            kind = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
            tensor = onnx.helper.make_tensor(name, kind, values.shape, values.ravel().tolist())
        old = next((t for t in model.graph.initializer if t.name == name), None)
        if old is None:
            model.graph.initializer.append(tensor)
        else:
            old.CopyFrom(tensor)
    onnx.save(model, path)
    return path


def expected() -> NDArray[Any]:
    """The two products in whole numbers."""
    answer: NDArray[Any] = X
    for _ in range(2):
        activation = np.clip(np.rint(answer / 0.5) + 10, 0, 255).astype(np.int64) - 10
        answer = (activation @ WEIGHTS.astype(np.int64)) * (np.float32(0.5) * SCALES)
    return answer


@pytest.fixture
def _without_vnni(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = replace(this_machine(), cpu_flags=())
    monkeypatch.setattr("lanner.engines.onnxruntime.this_machine", lambda: slow)


@pytest.mark.parametrize("raw", [True, False], ids=["bytes", "numbers"])
@pytest.mark.usefixtures("_without_vnni")
def test_weights_that_products_share_are_loaded_without_vnni(tmp_path: Path, raw: bool) -> None:
    path = write(tmp_path / "shared.onnx", raw=raw)
    answer = open_session(path).run(None, {"x": X})[0]
    np.testing.assert_allclose(answer, expected(), rtol=1e-5)


@pytest.mark.parametrize("raw", [True, False], ids=["bytes", "numbers"])
def test_each_is_rewritten_once_and_nothing_else_is(tmp_path: Path, raw: bool) -> None:
    path = write(tmp_path / "shared.onnx", raw=raw)
    before = onnx.load(path)
    assert {"w", "ws", "wz"} <= {info.name for info in before.graph.value_info}
    before.graph.value_info.append(onnx.helper.make_tensor_value_info("b", 1, ["n", 64]))
    before.metadata_props.add(key="behind", value="the graph")
    onnx.save(before, path)
    assert has_signed_weights(path)
    content = with_unsigned_weights(path)
    assert content is not None
    after = onnx.load_from_string(content)
    onnx.checker.check_model(after, full_check=True)
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in after.graph.initializer}
    assert np.array_equal(tensors.pop("w"), (WEIGHTS.astype(np.int16) + 128).astype(np.uint8))
    assert np.array_equal(tensors.pop("wz"), np.full(64, 128, np.uint8))
    others = {t.name: onnx.numpy_helper.to_array(t) for t in before.graph.initializer}
    assert len(others) == len(tensors) + 2
    assert all(np.array_equal(tensors[name], others[name]) for name in tensors)
    assert after.graph.node == before.graph.node
    assert [info.name for info in after.graph.value_info] == ["ws", "b"]
    assert after.metadata_props == before.metadata_props
    # Unsigned they stay as they are.
    path.write_bytes(content)
    assert not has_signed_weights(path)
    assert with_unsigned_weights(path) is None


@pytest.mark.usefixtures("_without_vnni")
def test_the_fields_of_a_graph_come_in_any_order(tmp_path: Path) -> None:
    whole = onnx.load(write(tmp_path / "model.onnx"))
    types = onnx.GraphProto()
    types.value_info.append(
        onnx.helper.make_tensor_value_info("w", onnx.TensorProto.INT8, [64, 64])
    )
    graph = types.SerializeToString() + whole.graph.SerializeToString()
    whole.ClearField("graph")
    path = tmp_path / "other.onnx"
    path.write_bytes(whole.SerializeToString() + tag(GRAPH, len(graph)) + graph)
    found = open_session(path).run(None, {"x": X})[0]
    np.testing.assert_allclose(found, expected(), rtol=1e-6)


@pytest.mark.parametrize(
    "reader",
    [
        pytest.param("c = Cast <to = 1> (w)", id="another operator"),
        pytest.param("c = Gather(w, one)", id="a table that is looked up"),
        pytest.param("c = DequantizeLinear <axis = 1> (w, ws)", id="a product without zero point"),
        pytest.param("c = QuantizeLinear <axis = 1> (x, ws, wz)", id="signed activations"),
        pytest.param(
            "c = If(k) <then_branch = t () => (int8[64] r) { r = Identity(wz) },"
            " else_branch = e () => (int8[64] r) { r = Identity(wz) }>",
            id="a graph within",
        ),
    ],
)
def test_what_something_else_reads_too_stays_signed(tmp_path: Path, reader: str) -> None:
    text = SHARED.replace("bytes_ = Q", f"{reader}\n    bytes_ = Q")
    text = text.replace("int64 one = {1}", "int64 one = {1}, bool k = {1}")
    path = write(tmp_path / "read.onnx", text)
    onnx.checker.check_model(onnx.load(path))
    assert with_unsigned_weights(path) is None
    assert not has_signed_weights(path)


def test_weights_in_a_file_of_their_own_stay_signed(tmp_path: Path) -> None:
    path = write(tmp_path / "inside.onnx")
    outside = tmp_path / "outside.onnx"
    onnx.save(onnx.load(path), outside, save_as_external_data=True, size_threshold=0)
    assert with_unsigned_weights(outside) is None


@pytest.mark.usefixtures("_without_vnni")
def test_dynamic_scales_of_shared_weights(tmp_path: Path) -> None:
    text = """
    <ir_version: 10, opset_import: ["": 20]>
    g (float[n, 64] x) => (float[n, 64] y)
    <int8[64, 64] w, float[64] ws, int8[64] wz>
    {
        a, s, z = DynamicQuantizeLinear(x)
        i = MatMulInteger(a, w, z, wz)
        f = Cast <to = 1> (i)
        t = Mul(s, ws)
        b = Mul(f, t)
        a2, s2, z2 = DynamicQuantizeLinear(b)
        i2 = MatMulInteger(a2, w, z2, wz)
        f2 = Cast <to = 1> (i2)
        t2 = Mul(s2, ws)
        y = Mul(f2, t2)
    }
    """
    path = write(tmp_path / "dynamic.onnx", text)
    content = with_unsigned_weights(path)
    assert content is not None
    evaluator = importlib.import_module("onnx.reference").ReferenceEvaluator(onnx.load(path))
    reference = evaluator.run(None, {"x": X})[0]
    answer = open_session(path).run(None, {"x": X})[0]
    # A byte is rounded otherwise in one of 64 places at most.
    np.testing.assert_allclose(answer, reference, rtol=0, atol=np.abs(reference).max() / 100)


@pytest.mark.usefixtures("_without_vnni")
def test_of_a_damaged_file_the_engine_says_what_is_wrong(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.onnx").read_bytes()
    path = tmp_path / "cut.onnx"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with_unsigned_weights(path)
        has_signed_weights(path)
    with pytest.raises(EngineError, match=r"^ONNX Runtime \S+ could not load .*cut.onnx: .+$"):
        open_session(path)
    with pytest.raises(EngineError, match=r"^ONNX Runtime \S+ could not load .*gone.onnx: .+$"):
        open_session(tmp_path / "gone.onnx")


@pytest.mark.usefixtures("_without_vnni")
def test_the_graph_is_prepared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "model.onnx")
    prepared: list[str] = []

    def noting(name: str) -> Any:
        prepare = getattr(onnxruntime, name)

        def noted(path: Path) -> bytes | None:
            prepared.append(name)
            content: bytes | None = prepare(path)
            return content

        return noted

    for name in ("without_weights", "with_unsigned_weights"):
        monkeypatch.setattr(onnxruntime, name, noting(name))
    session = open_session(path, maps_weights=True)
    assert prepared == ["with_unsigned_weights"]
    assert session.run(None, {"x": X})[0].shape == (3, 64)
    # Without signed weights there is nothing to rewrite, and the file is mapped.
    prepared.clear()
    (tmp_path / "unsigned.onnx").write_bytes(with_unsigned_weights(path) or b"")
    open_session(tmp_path / "unsigned.onnx", maps_weights=True)
    assert prepared == ["with_unsigned_weights", "without_weights"]

"""Packed weights of ONNX Runtime, which it maps from wherever the weight before them ended."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the export extra to write a graph")
pytest.importorskip("onnxruntime", reason="needs the extra 'onnxruntime'")

import onnx

from lanner.engines.onnx.packed_weights import ALIGNMENT_BYTES, align_packed_weights
from lanner.engines.onnxruntime import WEIGHTS_FILE, open_session
from lanner.engines.registry import open_engine

#: 1,200 bytes, so what follows begins 48 bytes after a multiple of 64.
WIDTH = 300
BIAS = np.arange(WIDTH, dtype=np.float32) % 7
WEIGHTS = [
    (np.arange(rows * columns, dtype=np.float32) % 5 - 2).reshape(rows, columns)
    for rows, columns in ((WIDTH, 48), (48, 64))
]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A bias before two products of weights."""
    make = onnx.helper
    nodes = [
        make.make_node("Cast", ["ids"], ["floats"], to=onnx.TensorProto.FLOAT),
        make.make_node("Add", ["floats", "bias"], ["sum"]),
        make.make_node("MatMul", ["sum", "first"], ["hidden"]),
        make.make_node("Relu", ["hidden"], ["kept"]),
        make.make_node("MatMul", ["kept", "second"], ["answer"]),
    ]
    weights = zip(("bias", "first", "second"), (BIAS, *WEIGHTS), strict=True)
    graph = make.make_graph(
        nodes,
        "model",
        [make.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["n", WIDTH])],
        [make.make_tensor_value_info("answer", onnx.TensorProto.FLOAT, ["n", 64])],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights],
    )
    whole = make.make_model(graph, opset_imports=[make.make_opsetid("", 20)], ir_version=10)
    onnx.save(whole, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def external(path: Path) -> dict[tuple[str, str], str]:
    """Return what a saved model says of its weights' places, by name and key."""
    graph: Any = onnx.load(path, load_external_data=False).graph
    return {(t.name, e.key): e.value for t in graph.initializer for e in t.external_data}


def packed(path: Path) -> dict[str, tuple[int, bytes]]:
    """Return the offset and the bytes of the packed weights."""
    data = path.with_name(WEIGHTS_FILE).read_bytes()
    found = {}
    for (name, key), value in external(path).items():
        if key.startswith("prepacked"):
            offset, length = map(int, value.partition("|")[2].split(";")[:2])
            found[name] = (offset, data[offset : offset + length])
    return found


def test_a_product_behind_an_odd_weight(model: Path) -> None:
    ids = np.arange(3 * WIDTH, dtype=np.int64).reshape(3, WIDTH) % 11
    expected = np.maximum((ids + BIAS) @ WEIGHTS[0], 0) @ WEIGHTS[1]  # whole numbers: exact
    engine = open_engine("onnxruntime", model, threads=2, workers=2)
    for is_alone in (False, True):
        np.testing.assert_array_equal(engine.run({"ids": ids}, is_alone=is_alone), expected)


def test_packed_weights_begin_at_multiples(model: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved" / "model.onnx"
    saved.parent.mkdir()
    open_session(model, save_optimized_to=saved, saves_weights=True)
    before, others = packed(saved), external(saved)
    assert len(before) == 2
    assert all(offset % ALIGNMENT_BYTES for offset, _ in before.values())
    align_packed_weights(saved, saved.with_name(WEIGHTS_FILE))
    after = packed(saved)
    assert not any(offset % ALIGNMENT_BYTES for offset, _ in after.values())
    assert {name: data for name, (_, data) in after.items()} == {
        name: data for name, (_, data) in before.items()
    }
    unpacked = {key: place for key, place in others.items() if not key[1].startswith("prepacked")}
    assert unpacked.items() <= external(saved).items()
    # Nothing is left to do.
    files = [saved.read_bytes(), saved.with_name(WEIGHTS_FILE).read_bytes()]
    align_packed_weights(saved, saved.with_name(WEIGHTS_FILE))
    assert [saved.read_bytes(), saved.with_name(WEIGHTS_FILE).read_bytes()] == files


def test_a_layout_that_is_not_known_is_an_error(model: Path, tmp_path: Path) -> None:
    changed: Any = onnx.load(model)
    entry = changed.graph.initializer[0].external_data.add()
    entry.key, entry.value = "prepacked_0", "name|0"
    onnx.save(changed, model)
    (tmp_path / WEIGHTS_FILE).write_bytes(b"weights")
    with pytest.raises(ValueError, match="not enough values to unpack"):
        align_packed_weights(model, tmp_path / WEIGHTS_FILE)
    assert (tmp_path / WEIGHTS_FILE).read_bytes() == b"weights"

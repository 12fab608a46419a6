"""Operators as their parts, on numbers that are computed by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lanner.errors import UnsupportedError

onnx = pytest.importorskip("onnx", reason="needs the export extra")
ort = pytest.importorskip("onnxruntime", reason="needs the onnxruntime extra")

import onnx_ir as ir  # noqa: E402
from onnx_ir.passes.common import ShapeInferencePass  # noqa: E402

from lanner_export.tensorrt.expansion import expand_norms, expand_rotary  # noqa: E402

Turns = NDArray[np.float32]

#: Two rows of 1 head and 2 tokens of 6 numbers.
GIVEN = np.arange(24, dtype=np.float32).reshape(2, 1, 2, 6)


def rotary(shape: list[Any], pairs: int, **attributes: int) -> ir.Model:
    inputs = [
        onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape),
        *(
            onnx.helper.make_tensor_value_info(
                name, onnx.TensorProto.FLOAT, ["batch", "length", pairs]
            )
            for name in ("cosine", "sine")
        ),
    ]
    node = onnx.helper.make_node(
        "RotaryEmbedding", ["x", "cosine", "sine"], ["z"], name="places", **attributes
    )
    last = onnx.helper.make_node("Neg", ["z"], ["y"])
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape)
    graph = onnx.helper.make_graph([node, last], "graph", inputs, [output])
    imports = [onnx.helper.make_opsetid("", 23)]
    model: ir.Model = ir.from_proto(
        onnx.helper.make_model(graph, opset_imports=imports, ir_version=10)
    )
    ShapeInferencePass()(model)
    return model


def run(model: ir.Model, path: Path, cosine: Turns, sine: Turns) -> Any:
    model.opset_imports[""] = 20
    ir.save(model, path)
    onnx.checker.check_model(path, full_check=True)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"x": GIVEN, "cosine": cosine, "sine": sine})
    return -answer


def turns(*values: float, pairs: int) -> Turns:
    """Return angles that are the same for both rows, with one value for all pairs of a token."""
    return np.repeat(np.asarray([[values]] * 2, np.float32).reshape(2, 2, 1), pairs, axis=2)


def test_pairs_are_turned(tmp_path: Path) -> None:
    """Rotate the first token by nothing, the second by a right angle: (a, b) becomes (-b, a)."""
    model = rotary(["batch", 1, "length", 6], 3)
    assert expand_rotary(model) == 1
    operators = [node.op_type for node in model.graph][:-1]
    assert (
        sorted(operators)
        == ["Add", "Concat", *["Mul"] * 4, *["Slice"] * 2, "Sub"] + ["Unsqueeze"] * 2
    )
    assert all((node.name or "").startswith("places.") for node in list(model.graph)[:-1])
    found = run(model, tmp_path / "m.onnx", turns(1, 0, pairs=3), turns(0, 1, pairs=3))
    expected = GIVEN.copy()
    expected[0, 0, 1] = [-9, -10, -11, 6, 7, 8]
    expected[1, 0, 1] = [-21, -22, -23, 18, 19, 20]
    np.testing.assert_array_equal(found, expected)


def test_what_is_not_turned_stays(tmp_path: Path) -> None:
    model = rotary(["batch", 1, "length", 6], 2, rotary_embedding_dim=4)
    expand_rotary(model)
    found = run(model, tmp_path / "m.onnx", turns(1, 0, pairs=2), turns(0, 1, pairs=2))
    expected = GIVEN.copy()
    expected[0, 0, 1] = [-8, -9, 6, 7, 10, 11]
    expected[1, 0, 1] = [-20, -21, 18, 19, 22, 23]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("shape", "attributes", "problem"),
    [
        (["batch", 1, "length", 6], {"interleaved": 1}, "turns neighbours"),
        (["batch", "length", 6], {"num_heads": 1}, "takes heads side by side"),
        (["batch", 1, "length", "size"], {}, "has heads of unknown width"),
    ],
    ids=["interleaved", "three dimensions", "any width"],
)
def test_what_no_encoder_has_is_refused(
    shape: list[Any], attributes: dict[str, int], problem: str
) -> None:
    message = (
        rf"^the rotary embedding places {problem}, which Lanner does not support for TensorRT: run "
        r"the artifact in another engine$"
    )
    with pytest.raises(UnsupportedError, match=message):
        expand_rotary(rotary(shape, 3, **attributes))


def norm(rank: int, dtype: int = onnx.TensorProto.FLOAT, **attributes: Any) -> ir.Model:
    shape = ["batch", *[2] * (rank - 1)]
    scale = onnx.helper.make_tensor("scale", dtype, [2], [1.0, 2.0])
    node = onnx.helper.make_node(
        "RMSNormalization", ["x", "scale"], ["y"], name="norm", **attributes
    )
    values = [onnx.helper.make_tensor_value_info(name, dtype, shape) for name in "xy"]
    graph = onnx.helper.make_graph([node], "graph", values[:1], values[1:], [scale])
    imports = [onnx.helper.make_opsetid("", 23)]
    model: ir.Model = ir.from_proto(
        onnx.helper.make_model(graph, opset_imports=imports, ir_version=10)
    )
    ShapeInferencePass()(model)
    return model


@pytest.mark.parametrize(
    ("dtype", "given", "tolerance"),
    [
        (onnx.TensorProto.FLOAT, np.array([[3, 4], [0, 0]], np.float32), 1e-6),
        # The square of 800 is beyond the range of half precision.
        (onnx.TensorProto.FLOAT16, np.array([[600, 800], [0, 0]], np.float16), 1e-3),
    ],
)
def test_a_norm_is_computed_in_float32(
    tmp_path: Path, dtype: int, given: NDArray[Any], tolerance: float
) -> None:
    """Divide (3, 4) by the root of 12.5, the mean of 9 and 16, and double the second."""
    model = norm(2, dtype, epsilon=1e-6)
    assert expand_norms(model) == 1
    model.opset_imports[""] = 20
    ir.save(model, tmp_path / "m.onnx")
    onnx.checker.check_model(tmp_path / "m.onnx", full_check=True)
    session = ort.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": given})
    expected = np.array([[0.848528, 2.262742], [0, 0]])
    np.testing.assert_allclose(found, expected, rtol=tolerance)


def test_a_norm_of_two_axes_is_refused() -> None:
    message = r"^the norm norm is over more than the last axis, which Lanner does not support for T"
    with pytest.raises(UnsupportedError, match=message):
        expand_norms(norm(3, axis=1))

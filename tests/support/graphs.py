"""Small hand-made graphs in the form of torch's, and their answers."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

Arrays = Mapping[str, NDArray[Any]]


def graph(
    inputs: str, output: str, body: str, constants: Arrays, shapes: Mapping[str, str] | None = None
) -> ir.Model:
    """Return a graph from ONNX's textual syntax, with its constants by name.

    Args:
        inputs: Its inputs with their types.
        output: Its output with its type.
        body: Its nodes, one on each line.
        constants: Its initializers.
        shapes: The types of inner values that torch would note and ONNX cannot infer.
    """
    text = f'<ir_version: 10, opset_import: ["": 23]>\ng ({inputs}) => ({output}) {{\n{body}\n}}'
    text = text.replace(
        ") {\n", f") <{', '.join(f'{t} {n}' for n, t in (shapes or {}).items())}> {{\n", 1
    )
    model = onnx.parser.parse_model(text)
    for name, array in constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return ir.from_proto(onnx.shape_inference.infer_shapes(model, data_prop=True))


def answers(model: ir.Model, feeds: Arrays) -> list[NDArray[Any]]:
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    taken = {value.name for value in session.get_inputs()}
    found: list[NDArray[Any]] = session.run(None, {n: a for n, a in feeds.items() if n in taken})
    return found


def require_same(
    model: ir.Model,
    apply: Callable[[ir.Model], int],
    feeds: Arrays,
    *,
    count: int,
    compared: NDArray[np.bool_] | None = None,
) -> Counter[str]:
    """Apply a pass, check its count and the answers, and return the remaining operators.

    Args:
        model: A graph; it is rewritten.
        apply: The pass.
        feeds: The inputs of the graph.
        count: The number of matches that the pass must find.
        compared: bool [batch, length], for answers with a row for each token; None for all.
    """
    before = answers(model, feeds)
    nodes = [(node.op_type, node.name) for node in model.graph]
    assert apply(model) == count
    if not count:
        assert [(node.op_type, node.name) for node in model.graph] == nodes
    RemoveUnusedNodesPass()(model)
    after = answers(model, feeds)
    for old, new in zip(before, after, strict=True):
        rows = compared if compared is not None else np.ones(old.shape[:1], np.bool_)
        assert old.shape == new.shape
        np.testing.assert_allclose(new[rows], old[rows], rtol=0, atol=1e-5)
    return Counter(node.op_type for node in model.graph)


def unequal_lengths(lengths: tuple[int, ...] = (7, 3, 1)) -> NDArray[np.int64]:
    return (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)

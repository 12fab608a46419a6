"""The required properties of a half-precision graph, checked in its file."""

from pathlib import Path

import onnx
import onnx_ir as ir

HALF_TYPES = {"fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}
#: Operators that add up many numbers, or turn large numbers into angles.
_FLOAT32_OPS = frozenset({"Softmax", "ReduceSum", "ReduceMean", "ReduceL2", "Pow", "Cos", "Sin"})


def require_half_graph(path: Path, precision: str) -> int:
    """Check every type of a graph; return the number of its products in the half type."""
    # The full check infers every type, and refuses an operator whose inputs differ.
    onnx.checker.check_model(onnx.load(path), full_check=True)
    half, graph = HALF_TYPES[precision], ir.load(path).graph
    assert [value.dtype for value in graph.inputs] == [ir.DataType.INT64] * len(graph.inputs)
    assert [value.dtype for value in graph.outputs] == [ir.DataType.FLOAT]
    nodes = list(graph)
    of_half = {node for node in nodes if node.outputs[0].dtype == half}
    products = {node for node in nodes if node.op_type in ("MatMul", "Gemm")}
    after, before = set(of_half), products & of_half
    for node in nodes:
        if not after.isdisjoint(node.predecessors()):
            after.add(node)
    for node in reversed(nodes):
        if not before.isdisjoint(node.successors()):
            before.add(node)
    # Only values from positions alone, and those after the last product, may be float32.
    assert products & after & before <= of_half
    for node in products & of_half:
        assert all(value is not None and value.dtype == half for value in node.inputs)
    for node in nodes:
        if node.op_type in _FLOAT32_OPS:
            assert node.outputs[0].dtype != half  # INT64 where tokens are counted
        if node.op_type == "Attention":
            assert node in of_half
            assert node.attributes["softmax_precision"].as_int() == onnx.TensorProto.FLOAT
        if node.op_type == "LayerNormalization":
            assert node in of_half or node not in before
            assert node.attributes["stash_type"].as_int() == onnx.TensorProto.FLOAT
    for value in graph.initializers.values():
        # Large values belong to the encoder: none may exist twice or in float32.
        is_matrix = value.shape is not None and len(value.shape) > 1
        users = {usage.node for usage in value.uses()}
        assert users
        assert value.dtype != ir.DataType.FLOAT or not is_matrix or users.isdisjoint(before & after)
    return len(products & of_half)

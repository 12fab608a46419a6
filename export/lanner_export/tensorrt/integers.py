"""Rewrites of integer operators that TensorRT's parsers do not accept."""

import onnx_ir as ir

from lanner_export.graph.edits import insert

_INTEGERS = (ir.DataType.INT32, ir.DataType.INT64)


def rewrite_integers(model: ir.Model) -> None:
    """Rewrite unsupported integer operators; types must be inferred."""
    for node in list(model.graph):
        value = node.inputs[0] if node.inputs else None
        if value is None or value.dtype not in _INTEGERS:
            continue
        if node.op_type == "CumSum":
            _sum_in_floats(node, value, value.dtype)
        elif node.op_type == "Clip":
            _clip(model.graph, node, value)


def _sum_in_floats(node: ir.Node, value: ir.Value, kind: ir.DataType) -> None:
    """Compute a running sum, RoBERTa's positions, in float32, which is exact up to 2^24."""
    float32, total = ir.DataType.FLOAT, node.outputs[0]
    floats = insert(
        node, "Cast", [value], {"to": float32}, name=f"{value.name}_float", dtype=float32
    )
    node.replace_input_with(0, floats)
    users = list(total.uses())
    total.dtype = float32
    whole = ir.val(f"{total.name}_whole", kind, total.shape)
    node.append(ir.node("Cast", [total], {"to": kind}, outputs=[whole]))
    for user, index in users:
        user.replace_input_with(index, whole)


def _clip(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    """Replace Clip, which limits DeBERTa's relative positions, by Max and Min."""
    limits = [*node.inputs[1:], None, None]
    for operator, limit in zip(("Max", "Min"), limits, strict=False):
        if limit is not None:
            value = insert(
                node, operator, [value, limit], name=f"{node.name}_{operator}", dtype=value.dtype
            )
    value.shape = node.outputs[0].shape
    node.outputs[0].replace_all_uses_with(value)
    graph.remove(node, safe=True)

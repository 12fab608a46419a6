"""Operators that TensorRT's parsers do not take, rewritten as products and sums.

RMSNormalization came with ONNX's operator set 23, and RotaryEmbedding is known from TensorRT 10.15
on. The definition of the latter by other operators
(https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html) computes sizes at run time, and slices
off a remainder of width 0; here every size is constant.
"""

import numpy as np
import onnx_ir as ir

from lanner.errors import UnsupportedError
from lanner_export.graph.edits import add_constant, insert

_HEADS_AXIS, _SIZE_AXIS = 1, 3
_FLOAT = ir.DataType.FLOAT


def expand_rotary(model: ir.Model) -> int:
    """Replace every RotaryEmbedding by its parts, in its own type; types must be inferred.

    Raises:
        UnsupportedError: One takes heads side by side, turns neighbours, or looks its angles up,
            which no encoder that Lanner exports does.
    """
    angles: dict[ir.Value, ir.Value] = {}
    found = [node for node in model.graph if node.op_type == "RotaryEmbedding" and not node.domain]
    for node in found:
        _expand_rotary(model.graph, node, angles)
    return len(found)


def expand_norms(model: ir.Model) -> int:
    """Replace every RMSNormalization by its parts; types must be inferred.

    Its definition is https://onnx.ai/onnx/operators/onnx__RMSNormalization.html. The squares are
    computed in float32, as the operator does: those of T5 exceed half precision.

    Raises:
        UnsupportedError: One norms more than the last axis, which no encoder that Lanner exports
            does.
    """
    found = [node for node in model.graph if node.op_type == "RMSNormalization" and not node.domain]
    for node in found:
        _expand_norm(model.graph, node)
    return len(found)


def _expand_rotary(graph: ir.Graph, node: ir.Node, angles: dict[ir.Value, ir.Value]) -> None:
    name, dtype, size = node.name, node.outputs[0].dtype, _size(node)
    given, *turns = (value for value in node.inputs[:3] if value is not None)
    if name is None or dtype is None:
        raise ValueError(name)
    turned = node.attributes.get_int("rotary_embedding_dim", 0) or size
    half = turned // 2

    def add(operator: str, what: str, *inputs: ir.Value, **attributes: object) -> ir.Value:
        return insert(node, operator, inputs, attributes, name=f"{name}.{what}", dtype=dtype)

    def cut(what: str, first: int, last: int) -> ir.Value:
        limits = (
            add_constant(graph, f"{what}_{end}", np.array([value]))
            for end, value in (("first", first), ("last", last), ("axis", _SIZE_AXIS))
        )
        return add("Slice", what, given, *limits)

    for turn in turns:
        if turn not in angles:
            axis = add_constant(graph, "heads_axis", np.array([_HEADS_AXIS]))
            angles[turn] = add("Unsqueeze", f"{turn.name}_of_heads", turn, axis)
    cosine, sine = (angles[turn] for turn in turns)
    left, right = cut("left", 0, half), cut("right", half, turned)
    first = [add("Mul", "left_cosine", left, cosine), add("Mul", "right_sine", right, sine)]
    second = [add("Mul", "left_sine", left, sine), add("Mul", "right_cosine", right, cosine)]
    parts = [add("Sub", "turned_left", *first), add("Add", "turned_right", *second)]
    if turned < size:
        parts.append(cut("rest", turned, size))
    result, output = add("Concat", "turned", *parts, axis=_SIZE_AXIS), node.outputs[0]
    result.shape = output.shape
    output.replace_all_uses_with(result)
    graph.remove(node, safe=True)


def _size(node: ir.Node) -> int:
    """Return the width of a head, or raise an error for an unsupported form."""
    shape = None if node.inputs[0] is None else node.inputs[0].shape
    size = None if shape is None else shape[-1]
    problems = {
        "takes heads side by side": shape is not None and len(shape) != _SIZE_AXIS + 1,
        "turns neighbours": node.attributes.get_int("interleaved", 0),
        "looks its angles up": len(node.inputs) > 3 and node.inputs[3] is not None,
    }
    problem = next((what for what, is_so in problems.items() if is_so), "")
    if problem or not isinstance(size, int):
        msg = (
            f"the rotary embedding {node.name} {problem or 'has heads of unknown width'}, which "
            "Lanner does not support for TensorRT: run the artifact in another engine"
        )
        raise UnsupportedError(msg)
    return size


def _expand_norm(graph: ir.Graph, node: ir.Node) -> None:
    name, output = node.name, node.outputs[0]
    dtype = output.dtype
    given, scale = node.inputs[:2]
    if name is None or dtype is None or given is None or scale is None:
        raise ValueError(name)
    rank = None if given.shape is None else len(given.shape)
    if node.attributes.get_int("axis", -1) not in (-1, rank if rank is None else rank - 1):
        msg = (
            f"the norm {name} is over more than the last axis, which Lanner does not support for "
            "TensorRT: run the artifact in another engine"
        )
        raise UnsupportedError(msg)

    def add(operator: str, what: str, *inputs: ir.Value, **attributes: object) -> ir.Value:
        kind = attributes.get("to")
        made = kind if isinstance(kind, ir.DataType) else _FLOAT
        return insert(node, operator, inputs, attributes, name=f"{name}.{what}", dtype=made)

    epsilon = np.array(node.attributes.get_float("epsilon", 1e-5), np.float32)
    last = add_constant(graph, "last_axis", np.array([-1]))
    exact = given if dtype == _FLOAT else add("Cast", "exact", given, to=_FLOAT)
    square = add("ReduceMean", "square", add("Mul", "squares", exact, exact), last, keepdims=1)
    sure = add("Add", "sure", square, add_constant(graph, "epsilon", epsilon))
    normed = add("Div", "normed", exact, add("Sqrt", "root", sure))
    if dtype != _FLOAT:
        normed = add("Cast", "rounded", normed, to=dtype)
    result = insert(node, "Mul", (normed, scale), {}, name=f"{name}.scaled", dtype=dtype)
    result.shape = output.shape
    output.replace_all_uses_with(result, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    result.name = output.name  # perhaps that of the graph's output

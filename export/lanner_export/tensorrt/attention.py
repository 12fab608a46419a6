"""Attention rewritten as the two products and the softmax that TensorRT recognizes and fuses.

The parser of TensorRT 10.13 does not know ONNX's Attention, and later parsers turn it into a layer
that fails if there is no fused kernel. This module writes the form that all of them recognize
(https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/transformers-fused-attention.html,
its second method):

    queries [batch, heads, length, size]  @  keys [batch, heads, size, length]
        + mask [batch, 1, 1 or length, length]  ->  Softmax  @  values [batch, heads, length, size]

Queries or keys must be scaled before the first product; here the projection's weights are scaled.
"""

import numpy as np
import onnx_ir as ir

from lanner.errors import UnsupportedError
from lanner_export.graph.edits import (
    add_constant,
    array_of,
    biased,
    constant,
    insert,
    only_consumer,
)

_HEADS_FIRST = [0, 2, 1, 3]
#: The permutation with heads first and keys as columns.
_TURNED = [0, 2, 3, 1]
_PAST_INPUTS = slice(4, None)
_SHAPING = ("Reshape", "Transpose")


def scale_queries(model: ir.Model) -> int:
    """Scale the weights of query projections that directly precede an attention.

    They are scaled in float32, before rounding. `expand_attention` scales all other queries.
    """
    scaled: dict[tuple[ir.Value, float], ir.Value] = {}
    count = 0
    for attention in attentions(model):
        scale = _scale(attention)
        places = None if scale == 0 else _projection(attention.inputs[0])
        if places is None:
            continue
        for node, index in places:
            value = node.inputs[index]
            if value is None:
                raise ValueError(node.name)
            if (value, scale) not in scaled:
                array = (array_of(value).astype(np.float64) * scale).astype(np.float32)
                # Layers may share their weights; other readers must get unscaled ones.
                scaled[value, scale] = add_constant(model.graph, f"{value.name}_scaled", array)
            node.replace_input_with(index, scaled[value, scale])
        attention.attributes.add(ir.AttrFloat32("scale", 1.0))
        count += 1
    return count


def expand_attention(model: ir.Model) -> int:
    """Replace every Attention by its parts, in its own type; types must be inferred.

    Raises:
        UnsupportedError: An attention is causal, caches keys, shares keys among heads, or caps
            its scores, which no encoder that Lanner exports does.
    """
    masks: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}
    count = 0
    for attention in attentions(model):
        _require_plain(attention)
        _expand(model.graph, attention, masks)
        count += 1
    return count


def attentions(model: ir.Model) -> list[ir.Node]:
    """Return the nodes of ONNX's operator Attention."""
    return [node for node in model.graph if node.op_type == "Attention" and not node.domain]


def _expand(
    graph: ir.Graph, attention: ir.Node, masks: dict[tuple[ir.Value, ir.DataType], ir.Value]
) -> None:
    name, dtype = attention.name, attention.outputs[0].dtype
    queries, keys, values = (value for value in attention.inputs[:3] if value is not None)
    if name is None or dtype is None:
        raise ValueError(name)

    def add(operator: str, what: str, *inputs: ir.Value, **attributes: object) -> ir.Value:
        return insert(attention, operator, inputs, attributes, name=f"{name}.{what}", dtype=dtype)

    heads = attention.attributes.get_int("q_num_heads", 0)
    if heads:
        split = [
            add("Reshape", f"{what}_heads", value, _shape(graph, value, heads))
            for what, value in (("query", queries), ("key", keys), ("value", values))
        ]
        queries, keys, values = (
            add("Transpose", what, value, perm=perm)
            for what, value, perm in zip(
                ("query", "key", "value"), split, (_HEADS_FIRST, _TURNED, _HEADS_FIRST), strict=True
            )
        )
    else:
        keys = add("Transpose", "key", keys, perm=[0, 1, 3, 2])
    scale = _scale(attention)
    if scale != 1:
        number = np.asarray(scale, dtype.numpy())
        queries = add("Mul", "scaled_query", queries, add_constant(graph, f"{name}.scale", number))
    scores = add("MatMul", "scores", queries, keys)
    mask = attention.inputs[3] if len(attention.inputs) > 3 else None
    if mask is not None:
        scores = add("Add", "masked_scores", scores, _added(graph, attention, mask, dtype, masks))
    weights = add("Softmax", "weights", scores, axis=-1)
    attended = add("MatMul", "context", weights, values)
    output = attention.outputs[0]
    if heads:
        attended = add("Transpose", "context_heads", attended, perm=_HEADS_FIRST)
        width = output.shape[2] if output.shape is not None else None
        shape = np.array([0, 0, width if isinstance(width, int) else -1])
        merged = add_constant(graph, "merged_heads", shape)
        attended = add("Reshape", "merged", attended, merged)
    attended.shape = output.shape
    output.replace_all_uses_with(attended)
    graph.remove(attention, safe=True)


def _shape(graph: ir.Graph, value: ir.Value, heads: int) -> ir.Value:
    width = value.shape[2] if value.shape is not None else None
    size = width // heads if isinstance(width, int) else -1
    return add_constant(graph, "split_heads", np.array([0, 0, heads, size]))


def _added(
    graph: ir.Graph,
    attention: ir.Node,
    mask: ir.Value,
    dtype: ir.DataType,
    masks: dict[tuple[ir.Value, ir.DataType], ir.Value],
) -> ir.Value:
    """Return the bias added to attention scores; made once from the attention mask."""
    if mask.dtype != ir.DataType.BOOL:
        return mask
    if (mask, dtype) not in masks:
        kind = dtype.numpy()
        # Half the lowest value: plus a score it stays finite, so that a fully masked row, such as
        # padding in a window, does not become NaN.
        lowest = np.asarray(float(np.finfo(np.float32).min) / 2, np.float32)
        if dtype == ir.DataType.FLOAT16:
            lowest = np.asarray(float(np.finfo(np.float16).min) / 2, np.float16)
        numbers = (
            add_constant(graph, name, np.asarray(value, kind))
            for name, value in (("attended", 0.0), ("hidden", float(lowest)))
        )
        masks[mask, dtype] = insert(
            attention, "Where", [mask, *numbers], name=f"{mask.name}_added", dtype=dtype
        )
    return masks[mask, dtype]


def _scale(attention: ir.Node) -> float:
    """Return the scale of the attention scores, or 0 if it is known only at run time."""
    given = attention.attributes.get("scale")
    if given is not None:
        return float(given.as_float())
    heads = attention.attributes.get_int("q_num_heads", 0)
    queries = attention.inputs[0]
    shape = None if queries is None else queries.shape
    width = None if shape is None else shape[-1]
    if not isinstance(width, int):
        return 0.0
    return float((width // heads if heads else width) ** -0.5)


def _projection(queries: ir.Value | None) -> list[tuple[ir.Node, int]] | None:
    """Return the inputs to scale for scaled queries: weights, and a bias if there is one."""
    places: list[tuple[ir.Node, int]] = []
    value = queries
    while value is not None:
        node = value.producer()
        if node is None or only_consumer(value, _user(value)) is None:
            return None
        if node.op_type in _SHAPING:
            value = node.inputs[0]
        elif node.op_type == "Add" and not places and (parts := biased(node)) is not None:
            places.append((node, node.inputs.index(parts[1])))
            value = parts[0]
        elif node.op_type == "MatMul" and constant(node.inputs[1]) is not None:
            return [*places, (node, 1)]
        else:
            return None
    return None


def _user(value: ir.Value) -> str:
    return next((use.node.op_type for use in value.uses()), "")


def _require_plain(attention: ir.Node) -> None:
    attributes = attention.attributes
    problems = {
        "is causal": attributes.get_int("is_causal", 0),
        "caps its scores": attributes.get_float("softcap", 0.0),
        "has past keys": any(value is not None for value in attention.inputs[_PAST_INPUTS]),
        "gives more than one output": len(attention.outputs) > 1,
        "shares keys among heads": attributes.get_int("q_num_heads", 0)
        != attributes.get_int("kv_num_heads", 0),
        "has no scale that is known": _scale(attention) == 0,
    }
    found = [problem for problem, is_so in problems.items() if is_so]
    if found:
        msg = (
            f"the attention {attention.name} {found[0]}, which Lanner does not support for "
            "TensorRT: run the artifact in another engine"
        )
        raise UnsupportedError(msg)

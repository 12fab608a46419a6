"""Rewrites of attention: no transposes around it, one mask for all layers, no bias on values."""

from collections.abc import Collection

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from lanner_export.graph.edits import (
    add_constant,
    array_of,
    biased,
    constant,
    insert,
    only_consumer,
    producer,
    replace_input,
    scalar,
)
from lanner_export.graph.tensors import INPUTS

_MASK = INPUTS[1]
_HEADS_FIRST = [0, 2, 1, 3]
#: Masks are compared on texts of this many tokens, or more if a window could be wider.
_PROBED_TOKENS = 1_024
#: The most tokens for the comparison; more would take too much memory.
_MOST_PROBED_TOKENS = 4_096
#: Larger constants are not windows but ends of slices, or floats that stand for infinity.
_NO_WINDOW = 2**24


def attention_without_transposes(model: ir.Model) -> int:
    """Make Attention take [batch, length, width] and split the heads itself.

    ONNX's Attention takes both forms (https://onnx.ai/onnx/operators/onnx__Attention.html). Torch
    writes the form with heads as a dimension, and a transpose of each of its four tensors.
    """
    count = 0
    for attention in _attentions(model):
        sources = [_before_heads(value) for value in attention.inputs[:3]]
        output = attention.outputs[0]
        transpose = only_consumer(output, "Transpose")
        merged = only_consumer(transpose.outputs[0], "Reshape") if transpose is not None else None
        if transpose is None or merged is None or not _is_heads_first(transpose):
            continue
        if not _merges_heads(merged, output) or any(source is None for source in sources):
            continue
        heads = [_dimension(_split(value), 2) for value in attention.inputs[:2]]
        for index, source in enumerate(sources):
            attention.replace_input_with(index, source)
        attention.attributes.add(ir.AttrInt64("q_num_heads", heads[0]))
        attention.attributes.add(ir.AttrInt64("kv_num_heads", heads[1]))
        output.shape = merged.outputs[0].shape
        merged.outputs[0].replace_all_uses_with(output)
        count += 1
    return count


def one_mask(model: ir.Model) -> int:
    """Replace torch's twenty or so mask operators by three, shared by all layers.

    A token attends to every token that is not padding, and the output of padding is never read: so
    `key >= query` of the attention mask is equivalent to the broadcast mask. Running the graph's
    own mask tells whether it means more (a window, a prompt).
    """
    graph = model.graph
    masks = {node.inputs[3]: node for node in reversed(_attentions(model)) if len(node.inputs) > 3}
    attention_mask = next(value for value in graph.inputs if value.name == _MASK)
    count = 0
    for mask, first in masks.items():
        part = None if mask is None else _computation(model, mask)
        if mask is None or part is None:
            continue
        rows = _at_most_one(attention_mask, {node.outputs[0].name for node in part})
        if not _hides_padding_alone(part, highest=1 if rows is attention_mask else 2):
            continue
        keys, queries = (
            insert(
                first,
                "Unsqueeze",
                [rows, add_constant(graph, f"{name}_axes", np.array(axes))],
                name=f"{name}_mask",
                dtype=ir.DataType.INT64,
            )
            for name, axes in (("key", [1, 2]), ("query", [1, 3]))
        )
        simple = insert(
            first, "GreaterOrEqual", [keys, queries], name="attends", dtype=ir.DataType.BOOL
        )
        for use in list(mask.uses()):
            if use.node.op_type == "Attention":
                use.node.replace_input_with(use.idx, simple)
                count += 1
    return count


def move_value_bias(model: ir.Model) -> int:
    """Move the bias of values behind the attention, whose weights sum to 1.

    With the output projection W it becomes `bias @ W` and is added to the existing bias there.
    """
    graph, count = model.graph, 0
    for attention in _merged_attentions(model):
        parts = biased(producer(attention.inputs[2], "Add"))
        projection = only_consumer(attention.outputs[0], "MatMul")
        weight = constant(projection.inputs[1]) if projection is not None else None
        add = only_consumer(projection.outputs[0], "Add") if projection is not None else None
        behind = biased(add)
        if parts is None or add is None or behind is None or weight is None:
            continue
        if len(array_of(parts[1])) != len(weight):  # fewer heads of values than of queries
            continue
        moved = array_of(behind[1]) + array_of(parts[1]).astype(np.float64) @ weight
        replace_input(
            add, behind[1], add_constant(graph, f"{behind[1].name}_moved", moved.astype(np.float32))
        )
        attention.replace_input_with(2, parts[0])
        count += 1
    return count


def _attentions(model: ir.Model) -> list[ir.Node]:
    return [node for node in model.graph if node.op_type == "Attention" and not node.domain]


def _merged_attentions(model: ir.Model) -> list[ir.Node]:
    # With merged heads, a projection's bias directly precedes the attention, unless rotary
    # embeddings stand between.
    return [
        node
        for node in _attentions(model)
        if node.attributes.get_int("q_num_heads", 0) and not _changes_scores(node)
    ]


def _changes_scores(attention: ir.Node) -> bool:
    softcap = attention.attributes.get_float("softcap", 0.0)
    has_past = any(value is not None for value in attention.inputs[4:])
    return bool(softcap) or has_past or len(attention.outputs) > 1


def _before_heads(value: ir.Value | None) -> ir.Value | None:
    transpose = producer(value, "Transpose")
    split = _split(value)
    reshape = producer(split, "Reshape")
    if transpose is None or reshape is None or not _is_heads_first(transpose):
        return None
    source = reshape.inputs[0]
    if source is None:
        return None
    heads, width = _dimension(split, 2), _dimension(split, 3)
    is_split = source.shape is not None and len(source.shape) == 3 and heads and width
    return source if is_split and _dimension(source, 2) == heads * width else None


def _split(value: ir.Value | None) -> ir.Value | None:
    transpose = producer(value, "Transpose")
    return None if transpose is None else transpose.inputs[0]


def _merges_heads(reshape: ir.Node, attended: ir.Value) -> bool:
    merged = reshape.outputs[0]
    if merged.shape is None or len(merged.shape) != 3 or merged.is_graph_output():
        return False
    return 0 < _dimension(merged, 2) == _dimension(attended, 1) * _dimension(attended, 3)


def _is_heads_first(transpose: ir.Node) -> bool:
    return list(transpose.attributes.get_ints("perm", ())) == _HEADS_FIRST


def _dimension(value: ir.Value | None, axis: int) -> int:
    """Return a static dimension, or 0 if it is dynamic."""
    if value is None or value.shape is None or len(value.shape) <= axis:
        return 0
    size = value.shape[axis]
    return size if isinstance(size, int) else 0


def _at_most_one(attention_mask: ir.Value, computed: Collection[str | None]) -> ir.Value:
    # If prompts are not pooled, their tokens have 2 in the mask, which the graph turns into 1.
    for use in attention_mask.uses():
        node = use.node
        limits = {"Min": node.inputs[1:], "Clip": node.inputs[2:]}.get(node.op_type, ())
        if node.outputs[0].name in computed and any(scalar(limit) == 1 for limit in limits):
            return node.outputs[0]
    return attention_mask


def _computation(model: ir.Model, mask: ir.Value) -> ir.Graph | None:
    """Return the subgraph from token ids and attention mask to a mask; None if it needs more."""
    inputs = [value for value in model.graph.inputs if value.name in INPUTS]
    try:
        part = ir.convenience.extract(model.graph, inputs, [mask])
    except ValueError:
        return None
    part.outputs[0].shape = None
    return part


def _hides_padding_alone(part: ir.Graph, *, highest: int) -> bool:
    longest = max(_PROBED_TOKENS, _widest_window(part) + 2)
    if longest > _MOST_PROBED_TOKENS:
        return False
    session = ort.InferenceSession(
        ir.to_proto(ir.Model(part, ir_version=10)).SerializeToString(),
        providers=["CPUExecutionProvider"],
    )
    names = {value.name for value in session.get_inputs()}
    for length in (5, longest):
        rows = np.ones((2, length), dtype=np.int64)
        rows[:, 0] = highest
        rows[1, length // 2 :] = 0
        feeds: dict[str, NDArray[np.int64]] = {
            INPUTS[0]: np.ones_like(rows),
            _MASK: rows,
        }
        try:
            (found,) = session.run(None, {n: v for n, v in feeds.items() if n in names})
        except Exception:  # noqa: BLE001 (longer than a table in it, for example)
            return False
        expected = np.broadcast_to(rows[:, None, None, :] > 0, (2, 1, length, length))
        if found.dtype != np.bool_ or found.shape != expected.shape:
            return False
        # Rows of padding are never read.
        if not (found == expected)[rows[:, None, :].astype(bool)].all():
            return False
    return True


def _widest_window(part: ir.Graph) -> int:
    """Return the largest constant that could be the width of a window, in tokens."""
    arrays = [
        array for value in part.initializers.values() if (array := constant(value)) is not None
    ]
    sizes = [np.abs(array.astype(np.float64)) for array in arrays if array.dtype != np.bool_]
    return int(max((size[size < _NO_WINDOW].max(initial=0) for size in sizes), default=0))

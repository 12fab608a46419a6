"""Rewrites of what stands behind the last layer."""

import onnx_ir as ir

from lanner_export.graph.edits import constant, only_consumer, producer


def normalize_sum(model: ir.Model) -> int:
    """The sum of the tokens' vectors, where their mean would be normalised: the same direction."""
    count = 0
    for norm in _norms(model):
        mean = producer(norm.inputs[0], "Div")
        if mean is None:
            continue
        total, tokens = producer(mean.inputs[0], "ReduceSum"), producer(mean.inputs[1], "Clip")
        if total is None or tokens is None or producer(tokens.inputs[0], "ReduceSum") is None:
            continue
        users = [use.node for use in mean.outputs[0].uses()]
        others = [node for node in users if node is not norm]
        # By nothing but its own length is it divided: other users would see the sum.
        if len(others) != 1 or others[0].op_type != "Div" or mean.outputs[0].is_graph_output():
            continue
        is_divided = others[0].inputs[0] is mean.outputs[0]
        if not is_divided or not _is_length(others[0].inputs[1], norm):
            continue
        if not _is_one_number_a_row(mean.inputs[1], norm):
            continue
        mean.outputs[0].replace_all_uses_with(total.outputs[0])
        count += 1
    return count


def broadcast_norm(model: ir.Model) -> int:
    """A vector divided by its length as it is, where torch first writes the length out."""
    count = 0
    for norm in _norms(model):
        clip = only_consumer(norm.outputs[0], "Clip")
        expand = only_consumer(clip.outputs[0], "Expand") if clip is not None else None
        division = only_consumer(expand.outputs[0], "Div") if expand is not None else None
        if clip is None or expand is None or division is None:
            continue
        source = norm.inputs[0]
        if source is None or source.shape != expand.outputs[0].shape:
            continue
        if division.inputs[1] is expand.outputs[0] and division.inputs[0] is source:
            division.replace_input_with(1, clip.outputs[0])
            count += 1
    return count


def _is_length(value: ir.Value | None, norm: ir.Node) -> bool:
    """Whether a value is what a norm gives, clipped and written out, and nothing else sees it."""
    while value is not None and not value.is_graph_output() and len(list(value.uses())) == 1:
        node = value.producer()
        if node is norm:
            return True
        value = node.inputs[0] if node is not None and node.op_type in ("Clip", "Expand") else None
    return False


def _is_one_number_a_row(tokens: ir.Value | None, norm: ir.Node) -> bool:
    axes = constant(norm.inputs[1] if len(norm.inputs) > 1 else None)
    if tokens is None or tokens.shape is None or axes is None:
        return False
    if list(axes % len(tokens.shape)) != [len(tokens.shape) - 1]:
        return False
    return tokens.shape[-1] == 1 or _is_written_out(tokens)


def _is_written_out(value: ir.Value | None) -> bool:
    """Whether it has the same number for every component, as sentence-transformers 5 counts."""
    while value is not None:
        node = value.producer()
        if node is None or node.op_type not in ("Clip", "ReduceSum", "Cast", "Expand"):
            return False
        value = node.inputs[0]
        if node.op_type == "Expand":
            return value is not None and value.shape is not None and value.shape[-1] == 1
    return False


def _norms(model: ir.Model) -> list[ir.Node]:
    return [
        node
        for node in model.graph
        if node.op_type == "ReduceL2" and node.attributes.get_int("keepdims", 1) == 1
    ]

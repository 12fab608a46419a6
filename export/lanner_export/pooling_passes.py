"""Rewrites of what stands behind the last layer."""

import onnx_ir as ir

from lanner_export.graph_edits import only_consumer, producer


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
        if len(others) != 1 or others[0].op_type != "Div":
            continue
        if others[0].inputs[0] is not mean.outputs[0] or mean.outputs[0].is_graph_output():
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
        if division.inputs[1] is expand.outputs[0] and division.inputs[0] is norm.inputs[0]:
            division.replace_input_with(1, clip.outputs[0])
            count += 1
    return count


def _norms(model: ir.Model) -> list[ir.Node]:
    return [
        node
        for node in model.graph
        if node.op_type == "ReduceL2" and node.attributes.get_int("keepdims", 1) == 1
    ]

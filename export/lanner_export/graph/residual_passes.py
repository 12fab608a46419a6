"""Rewrites of the residual stream and of the feed-forward layers beside it."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lanner_export.graph.edits import (
    add_constant,
    biased,
    constant,
    only_consumer,
    producer,
    replace_input,
)

#: How much of what a layer norm puts out a shift may be. int8 has one range for the whole tensor,
#: which a larger shift would widen.
_LARGEST_SHIFT = 0.25
#: A normalised component is rarely beyond three standard deviations.
_DEVIATIONS = 3.0


def shift_residual_bias(model: ir.Model) -> int:
    """A feed-forward layer's last bias, added by the layer norm before the layer.

    In ``norm(x) = y; y + f(y @ V + a) @ W + b`` the norm may put out ``y + b``, if the first bias
    becomes ``a - b @ V``. One addition less in each layer of a post-norm encoder.
    """
    graph, count = model.graph, 0
    for norm in [node for node in graph if node.op_type == "LayerNormalization"]:
        shifted = norm.outputs[0]
        consumers = [use.node for use in shifted.uses()]
        products = [node for node in consumers if node.op_type == "MatMul"]
        sums = [node for node in consumers if node.op_type == "Add"]
        is_seen_by_two = len(consumers) == 2 and not shifted.is_graph_output()
        if not is_seen_by_two or len(products) != 1 or len(sums) != 1:
            continue
        last = biased(_other(sums[0], shifted).producer())
        first = only_consumer(products[0].outputs[0], "Add")
        entry, weight = biased(first), constant(products[0].inputs[1])
        if last is None or entry is None or first is None or weight is None:
            continue
        bias, beta = constant(last[1]), constant(norm.inputs[2] if len(norm.inputs) > 2 else None)
        gamma, entry_bias = constant(norm.inputs[1]), constant(entry[1])
        if bias is None or beta is None or gamma is None or entry_bias is None:
            continue
        # The sum must be of the same layer, and no broadcast.
        is_same = producer(last[0], "MatMul") is not None and bias.shape == beta.shape
        if not is_same or not _is_small(bias, gamma, beta):
            continue
        norm.replace_input_with(
            2, add_constant(graph, f"{_name(norm.inputs[2])}_shifted", beta + bias)
        )
        corrected = entry_bias - bias.astype(np.float64) @ weight
        replace_input(
            first,
            entry[1],
            add_constant(graph, f"{entry[1].name}_shifted", corrected.astype(np.float32)),
        )
        replace_input(sums[0], _other(sums[0], shifted), last[0])
        count += 1
    return count


def _is_small(
    bias: NDArray[np.float32], gamma: NDArray[np.float32], beta: NDArray[np.float32]
) -> bool:
    reach = (_DEVIATIONS * np.abs(gamma) + np.abs(beta)).max()
    return bool(np.abs(bias).max() <= _LARGEST_SHIFT * reach)


def _other(add: ir.Node, value: ir.Value) -> ir.Value:
    left, right = add.inputs
    other = right if left is value else left
    if other is None:
        raise ValueError(add.name)
    return other


def _name(value: ir.Value | None) -> str:
    return "" if value is None or value.name is None else value.name

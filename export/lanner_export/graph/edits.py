"""Basic operations for rewriting graphs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray


def constant(value: ir.Value | None) -> NDArray[Any] | None:
    """Return the array of an initializer, or None if the value is computed."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


def array_of(value: ir.Value | None) -> NDArray[Any]:
    """Return the array of a value that is known to be an initializer."""
    array = constant(value)
    if array is None:
        raise ValueError(None if value is None else value.name)
    return array


def scalar(value: ir.Value | None) -> float | None:
    """Return the number of an initializer with one element, or None."""
    array = constant(value)
    return None if array is None or array.size != 1 else float(array.reshape(()))


def add_constant(graph: ir.Graph, name: str, array: NDArray[Any]) -> ir.Value:
    """Add an array to the graph under that name, or a longer one if the name is taken."""
    name = _free_name(graph, name)
    tensor = ir.tensor(np.asarray(array, order="C"), name=name)
    value = ir.Value(
        name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.register_initializer(value)
    return value


def insert(
    before: ir.Node,
    operator: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, Any] | None = None,
    *,
    name: str,
    dtype: ir.DataType | None = None,
) -> ir.Value:
    """Insert a node with one output before another node; return its output.

    Args:
        before: The node to insert it before.
        operator: The operator, of the standard set.
        inputs: The inputs.
        attributes: The attributes.
        name: The name of the node and of its output, or a longer one if the name is taken.
        dtype: The type of the output, if a later pass needs it.
    """
    graph = before.graph
    if not isinstance(graph, ir.Graph):  # a node without a graph has no position
        raise TypeError(before.name)
    name = _free_name(graph, name)
    node = ir.node(operator, inputs, attributes or {}, name=name)
    output = node.outputs[0]
    output.name = name
    if dtype is not None:
        output.dtype = dtype
    graph.insert_before(before, node)
    return output


def _free_name(graph: ir.Graph, name: str) -> str:
    taken = {value.name for node in graph for value in node.outputs}
    taken |= {value.name for value in (*graph.inputs, *graph.initializers.values())}
    base, count = name, 1
    while name in taken:
        count += 1
        name = f"{base}_{count}"
    return name


def producer(value: ir.Value | None, operator: str) -> ir.Node | None:
    """Return the node that makes a value, if it has that operator."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == operator else None


def only_consumer(value: ir.Value, operator: str) -> ir.Node | None:
    """Return the only consumer of a value, if it has that operator."""
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output() or uses[0].node.op_type != operator:
        return None
    return uses[0].node


def biased(add: ir.Node | None) -> tuple[ir.Value, ir.Value] | None:
    """Return the operands of an Add of a value and a constant vector; None for any other node."""
    if add is None or add.op_type != "Add":
        return None
    for value, bias in (add.inputs, add.inputs[::-1]):
        array = constant(bias)
        if value is not None and bias is not None and array is not None and array.ndim == 1:
            return (value, bias) if constant(value) is None else None
    return None


def replace_input(node: ir.Node, old: ir.Value, new: ir.Value) -> None:
    """Replace all uses of a value in a node's inputs."""
    for index, value in enumerate(node.inputs):
        if value is old:
            node.replace_input_with(index, new)

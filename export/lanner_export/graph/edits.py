"""Small steps that the rewrites of a graph are made of."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray


def constant(value: ir.Value | None) -> NDArray[Any] | None:
    """The array of an initializer, or None where the value is computed."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


def array_of(value: ir.Value | None) -> NDArray[Any]:
    """The array of what is known to be an initializer."""
    array = constant(value)
    if array is None:
        raise ValueError(None if value is None else value.name)
    return array


def scalar(value: ir.Value | None) -> float | None:
    """The number that an initializer of one element holds, or None."""
    array = constant(value)
    return None if array is None or array.size != 1 else float(array.reshape(()))


def add_constant(graph: ir.Graph, name: str, array: NDArray[Any]) -> ir.Value:
    """Puts an array into the graph, under that name or, where it is taken, a longer one."""
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
    """Puts a node of one output in front of another, and gives its output.

    Args:
        before: The node that it stands in front of.
        operator: Its operator, of the standard set.
        inputs: What it takes.
        attributes: Its attributes.
        name: Its own name and that of its output; where it is taken, a longer one.
        dtype: The type of its output, where a later pass asks for it.
    """
    graph = before.graph
    if not isinstance(graph, ir.Graph):  # a node that no graph holds has no place in front of it
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
    """The node that makes a value, if it is of that operator."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == operator else None


def only_consumer(value: ir.Value, operator: str) -> ir.Node | None:
    """The node that takes a value, if it is alone and of that operator."""
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output() or uses[0].node.op_type != operator:
        return None
    return uses[0].node


def biased(add: ir.Node | None) -> tuple[ir.Value, ir.Value] | None:
    """What an Add adds a constant vector to, and that vector; None for any other Add or node."""
    if add is None or add.op_type != "Add":
        return None
    for value, bias in (add.inputs, add.inputs[::-1]):
        array = constant(bias)
        if value is not None and bias is not None and array is not None and array.ndim == 1:
            return (value, bias) if constant(value) is None else None
    return None


def replace_input(node: ir.Node, old: ir.Value, new: ir.Value) -> None:
    """Makes a node take another value, wherever it took the old one."""
    for index, value in enumerate(node.inputs):
        if value is old:
            node.replace_input_with(index, new)

"""Walking through a graph from its output, with an account of its nodes and tensors."""

from collections.abc import Mapping

import numpy as np

from lanner.engines.native.evaluation import Value, evaluate, split
from lanner.engines.native.plan import refuse
from lanner.engines.onnx.graph import Array, Graph, Node


class Matcher:
    """Takes the nodes of a graph one by one, and remembers them.

    At the end no part of a graph may be left (`require_all_taken`): a node that was not taken would
    silently not be computed.

    Args:
        graph: The graph.

    Raises:
        EngineError: A node comes before one that it reads, or two write the same value.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._producers: dict[str, Node] = {}
        for node in graph.nodes:
            # A walk through a cycle would never end.
            is_known = [
                n in self._producers or n in graph.tensors or n in graph.inputs
                for n in node.inputs
                if n
            ]
            is_new = not any(name in self._producers for name in node.outputs)
            if not all(is_known) or not is_new or not node.outputs:
                refuse(f"{named(node)}, which is not in order")
            self._producers |= dict.fromkeys(filter(None, node.outputs), node)
        self._taken: set[str] = set()
        self._read: set[str] = set()

    def operator(self, value: str) -> str:
        """Return the operator that computes a value; an empty string for inputs and tensors."""
        node = self._producers.get(value)
        return "" if node is None else node.operator

    def look(self, value: str) -> Node:
        """Return the node that computes a value, without taking it.

        Raises:
            EngineError: No node computes it.
        """
        node = self._producers.get(value)
        if node is None:
            refuse(f"what it should do with the value {value!r} itself")
        return node

    def take(self, value: str, *operators: str) -> Node:
        """Take the node that computes a value.

        Raises:
            EngineError: It has none of these operators, or several outputs, or a subgraph.
        """
        node = self.look(value)
        if node.operator not in operators:
            refuse(f"{named(node)} where {' or '.join(operators)} should stand")
        return self._take(node)

    def _take(self, node: Node) -> Node:
        if node.has_subgraph or (len(node.outputs) > 1 and node.operator != "Split"):
            refuse(f"{named(node)} with a subgraph or several outputs")
        self._taken.add(node.outputs[0])
        return node

    def is_constant(self, value: str) -> bool:
        """True for a tensor of the file."""
        return value in self.graph.tensors

    def constant(self, value: str) -> Array:
        """Read a tensor of the file.

        Raises:
            EngineError: The value is computed, or an input.
        """
        if value not in self.graph.tensors:
            refuse(f"the value {value!r} where a constant should stand")
        self._read.add(value)
        return self.graph.tensors[value]

    def scalar(self, value: str) -> float:
        """Read a tensor of one element.

        Raises:
            EngineError: It is no constant, or has more elements.
        """
        found = self.constant(value)
        if found.size != 1:
            refuse(f"the tensor {value!r} of shape {list(found.shape)} for a single number")
        return float(found.ravel()[0])

    def evaluate(self, value: str, known: Mapping[str, Value]) -> Value:
        """Compute a value from others, and take all nodes on the way.

        Args:
            value: The name of a value.
            known: The inputs of the graph, or other values to start from.

        Raises:
            EngineError: It depends on other values, or on an operator that is not known.
        """
        values: dict[str, Value] = dict(known)
        open_ = [value]
        while open_:
            name = open_[-1]
            if name in values:
                open_.pop()
                continue
            if self.is_constant(name):
                values[name] = self.constant(name)
                continue
            node = self.look(name)
            missing = [item for item in node.inputs if item and item not in values]
            if missing:
                open_ += missing
                continue
            inputs = [values[item] if item else np.empty(0) for item in node.inputs]
            try:
                if node.operator == "Split":
                    parts = split(inputs, node.attributes, len(node.outputs))
                    values |= zip(node.outputs, parts, strict=True)
                else:
                    values[name] = evaluate(node.operator, inputs, node.attributes)
            except (KeyError, ValueError, IndexError, TypeError):
                refuse(f"{named(node)} among its indices and masks")
            self._take(node)
        return values[value]

    def constants_behind(self, value: str) -> set[int]:
        """Return the single integers that a value is computed from."""
        found = (self.graph.tensors[name] for name in self.tensors_behind(value))
        return {int(item.ravel()[0]) for item in found if item.size == 1 and item.dtype.kind == "i"}

    def nodes_behind(self, value: str) -> list[Node]:
        """Return the nodes that a value is computed by."""
        open_, found = [value], dict[str, Node]()
        while open_:
            name = open_.pop()
            if name in self._producers and name not in found:
                found[name] = self._producers[name]
                open_ += found[name].inputs
        return list(found.values())

    def tensors_behind(self, value: str) -> set[str]:
        """Return the names of the tensors of the file that a value is computed from."""
        open_, seen = [value], set[str]()
        while open_:
            name = open_.pop()
            if name not in seen and name in self._producers:
                open_ += self._producers[name].inputs
            seen.add(name)
        return seen & self.graph.tensors.keys()

    def require_all_taken(self) -> None:
        """Check that every node and every tensor of the graph was met.

        Raises:
            EngineError: Something was not.
        """
        left = next((n for n in self.graph.nodes if n.outputs[0] not in self._taken), None)
        if left is not None:
            refuse(f"what {named(left)} is for")
        unread = sorted(self.graph.tensors.keys() - self._read)
        if unread:
            refuse(f"what the tensor {unread[0]!r} is for")


def named(node: Node) -> str:
    """Return the operator and the name of a node, for a message."""
    return f"the operator {node.operator} ({node.name or ', '.join(node.outputs)})"

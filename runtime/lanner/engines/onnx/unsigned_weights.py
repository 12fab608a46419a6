"""Signed weights of an ONNX graph rewritten as unsigned ones, for processors without VNNI.

Without VNNI the kernel for unsigned times signed bytes saturates at 16 bits, and the kernel for
unsigned times unsigned bytes is exact. ONNX Runtime can rewrite the weights
(``session.x64quantprecision``), but it fails if two products share their weights, because it makes
the same new initializer for each (1.31 and 1.32). Adding 128 to a weight and to its zero point
changes no product, so each initializer of the file is rewritten once, and nothing is renamed.
"""

import mmap
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lanner.engines.onnx.file import (
    DATA_TYPE,
    GRAPH,
    INITIALIZER,
    RAW_DATA,
    TENSOR_NAME,
    VARINT,
    Field,
    inside,
    mapped,
    tag,
)
from lanner.engines.onnx.graph import (
    GRAPH_INPUT,
    GRAPH_OUTPUT,
    INT32_DATA,
    NODE,
    VALUE_INFO,
    VALUE_NAME,
    Node,
    graph_field,
    numbers,
    read_node,
    text,
)

#: Operator -> the indices of the inputs with the weights and with their zero point.
_PRODUCTS = {
    "DequantizeLinear": (0, 2),
    "MatMulInteger": (1, 3),
    "com.microsoft.DynamicQuantizeMatMul": (1, 3),
    "com.microsoft.MatMulIntegerToFloat": (1, 5),
}
_UINT8, _INT8 = 2, 3  # of TensorProto.DataType


def with_unsigned_weights(path: Path) -> bytes | None:
    """Return a model with unsigned weights in the place of signed ones.

    Args:
        path: An ONNX file.

    Returns:
        The model; None if no product has signed weights, or the file is damaged.
    """
    with mapped(path) as data:
        try:
            graph = _Graph.read(data)
            names = graph.signed_weights()
            return _rewritten(data, graph, names) if names else None
        except (ValueError, IndexError):
            return None


def has_signed_weights(path: Path) -> bool:
    """Return True if products of a model have signed weights.

    Args:
        path: An ONNX file, as it was exported or as ONNX Runtime optimized it.
    """
    with mapped(path) as data:
        try:
            return bool(_Graph.read(data).signed_weights())
        except (ValueError, IndexError):
            return False


class _Graph(NamedTuple):
    """The parts of a graph that matter here.

    Attributes:
        field: The field of the graph in the model.
        nodes: The nodes.
        tensors: The initializers of signed bytes, by name.
        notes: The names of values and the fields with their types.
        outer: The names of the graph's inputs and outputs.
    """

    field: Field
    nodes: list[Node]
    tensors: dict[str, Field]
    notes: list[tuple[str, Field]]
    outer: frozenset[str]

    @classmethod
    def read(cls, data: mmap.mmap) -> Self:
        """Read the graph of a model.

        Raises:
            ValueError: The file is damaged, or not a model; an IndexError if it ends too early.
        """
        graph = graph_field(data)
        nodes, tensors, notes, outer = [], {}, [], set()
        for field in inside(data, graph):
            if field.number == NODE:
                nodes.append(read_node(data, field))
            elif field.number == INITIALIZER and _is_signed(data, field):
                tensors[text(data, field, TENSOR_NAME)] = field
            elif field.number == VALUE_INFO:
                notes.append((text(data, field, VALUE_NAME), field))
            elif field.number in (GRAPH_INPUT, GRAPH_OUTPUT):
                outer.add(text(data, field, VALUE_NAME))
        return cls(graph, nodes, tensors, notes, frozenset(outer))

    def signed_weights(self) -> frozenset[str]:
        """Return the names of the signed weights and of their zero points.

        Weights without a zero point, and tensors that other nodes read as well, are left out.
        """
        if any(node.has_subgraph for node in self.nodes):
            return frozenset()  # a subgraph may read the same tensors
        found, used = set(self.tensors) - self.outer, set[str]()
        while True:
            refused: set[str] = set()
            for node in self.nodes:
                roles = _PRODUCTS.get(node.operator, ())
                pair = {node.inputs[role] for role in roles if role < len(node.inputs)}
                is_whole = len(pair) == len(roles) > 0 and pair <= found
                others = {n for i, n in enumerate(node.inputs) if not (is_whole and i in roles)}
                used |= pair if is_whole else set()
                refused |= others & found
            if not refused:
                return frozenset(found & used)
            found -= refused


def _rewritten(data: mmap.mmap, graph: _Graph, names: Collection[str]) -> bytes:
    """Return the model with those initializers unsigned."""
    edits = [(graph.tensors[name], _unsigned(data, graph.tensors[name])) for name in names]
    # The noted types of the rewritten tensors are no longer true.
    edits += [(field, b"") for name, field in graph.notes if name in names]
    parts, place, field = [], graph.field.content, graph.field
    for old, new in sorted(edits, key=lambda edit: edit[0].begin):  # fields come in any order
        parts += [data[place : old.begin], new]
        place = old.end
    parts.append(data[place : field.end])
    header = tag(GRAPH, sum(map(len, parts)))
    return b"".join([data[: field.begin], header, *parts, data[field.end :]])


def _unsigned(data: mmap.mmap, tensor: Field) -> bytes:
    """Return an initializer as a field, with 128 added to each byte."""
    parts, values = [], b""
    for field in inside(data, tensor):
        if field.number == RAW_DATA:
            values = data[field.content : field.end]
        elif field.number == INT32_DATA:
            values += bytes(value & 0xFF for value in numbers(data, field))
        elif field.number != DATA_TYPE:
            parts.append(data[field.begin : field.end])
    moved: NDArray[np.uint8] = np.frombuffer(values, np.uint8) ^ np.uint8(0x80)
    parts += [bytes([DATA_TYPE << 3 | VARINT, _UINT8]), tag(RAW_DATA, len(moved))]
    parts.append(moved.tobytes())
    return b"".join([tag(INITIALIZER, sum(map(len, parts))), *parts])


def _is_signed(data: mmap.mmap, tensor: Field) -> bool:
    """Return True for a tensor of signed bytes that is in this file."""
    kind, numbers = None, set()
    for field in inside(data, tensor):
        numbers.add(field.number)
        kind = field.value if field.number == DATA_TYPE else kind
    return kind == _INT8 and not numbers.isdisjoint((RAW_DATA, INT32_DATA))

"""Signed weights of an ONNX graph rewritten as unsigned ones, for processors without VNNI.

Without VNNI the kernel for unsigned times signed bytes saturates at 16 bits, and the kernel for
unsigned times unsigned bytes is exact. ONNX Runtime can rewrite the weights
(``session.x64quantprecision``), but it fails if two products share their weights, because it makes
the same new initializer for each (1.31 and 1.32). Adding 128 to a weight and to its zero point
changes no product, so each initializer of the file is rewritten once, and nothing is renamed.
"""

import mmap
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lanner.engines.onnx_file import (
    CONTENT,
    DATA_TYPE,
    GRAPH,
    INITIALIZER,
    RAW_DATA,
    TENSOR_NAME,
    VARINT,
    Field,
    fields,
    inside,
    mapped,
    tag,
    varint,
)

#: Operator -> the indices of the inputs with the weights and with their zero point.
_PRODUCTS = {
    "DequantizeLinear": (0, 2),
    "MatMulInteger": (1, 3),
    "DynamicQuantizeMatMul": (1, 3),
    "MatMulIntegerToFloat": (1, 5),
}
_NODE, _GRAPH_INPUT, _GRAPH_OUTPUT, _VALUE_INFO = 1, 11, 12, 13  # of GraphProto
_NODE_INPUT, _OPERATOR, _ATTRIBUTE = 1, 4, 5  # of NodeProto
_SUBGRAPHS = (6, 11)  # of AttributeProto
_VALUE_NAME = 1  # of ValueInfoProto
_INT32_DATA = 5  # of TensorProto
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


class _Node(NamedTuple):
    """A node: its operator, its inputs, and whether it has a subgraph."""

    operator: str
    inputs: list[str]
    has_subgraph: bool


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
    nodes: list[_Node]
    tensors: dict[str, Field]
    notes: list[tuple[str, Field]]
    outer: frozenset[str]

    @classmethod
    def read(cls, data: mmap.mmap) -> Self:
        """Read the graph of a model.

        Raises:
            ValueError: The file is damaged, or not a model; an IndexError if it ends too early.
        """
        parts = fields(data, 0, len(data))
        graph = next((field for field in parts if field.number == GRAPH), None)
        if graph is None:
            msg = "it holds no graph"
            raise ValueError(msg)
        nodes, tensors, notes, outer = [], {}, [], set()
        for field in inside(data, graph):
            if field.number == _NODE:
                nodes.append(_node(data, field))
            elif field.number == INITIALIZER and _is_signed(data, field):
                tensors[_text(data, field, TENSOR_NAME)] = field
            elif field.number == _VALUE_INFO:
                notes.append((_text(data, field, _VALUE_NAME), field))
            elif field.number in (_GRAPH_INPUT, _GRAPH_OUTPUT):
                outer.add(_text(data, field, _VALUE_NAME))
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
        elif field.number == _INT32_DATA:
            values += bytes(value & 0xFF for value in _numbers(data, field))
        elif field.number != DATA_TYPE:
            parts.append(data[field.begin : field.end])
    moved: NDArray[np.uint8] = np.frombuffer(values, np.uint8) ^ np.uint8(0x80)
    parts += [bytes([DATA_TYPE << 3 | VARINT, _UINT8]), tag(RAW_DATA, len(moved))]
    parts.append(moved.tobytes())
    return b"".join([tag(INITIALIZER, sum(map(len, parts))), *parts])


def _node(data: mmap.mmap, node: Field) -> _Node:
    operator, inputs, has_subgraph = "", [], False
    for field in inside(data, node):
        if field.number == _NODE_INPUT:
            inputs.append(data[field.content : field.end].decode())
        elif field.number == _OPERATOR:
            operator = data[field.content : field.end].decode()
        elif field.number == _ATTRIBUTE:
            has_subgraph |= any(part.number in _SUBGRAPHS for part in inside(data, field))
    return _Node(operator, inputs, has_subgraph)


def _is_signed(data: mmap.mmap, tensor: Field) -> bool:
    """Return True for a tensor of signed bytes that is in this file."""
    kind, numbers = None, set()
    for field in inside(data, tensor):
        numbers.add(field.number)
        kind = field.value if field.number == DATA_TYPE else kind
    return kind == _INT8 and not numbers.isdisjoint((RAW_DATA, _INT32_DATA))


def _text(data: mmap.mmap, message: Field, number: int) -> str:
    """Return a string field of a message; an empty string if the field is missing."""
    found = (f for f in inside(data, message) if f.number == number)
    return next((data[f.content : f.end].decode() for f in found), "")


def _numbers(data: mmap.mmap, field: Field) -> Iterator[int]:
    """Yield the numbers of a field: one, or several packed ones."""
    if data[field.begin] & 7 != CONTENT:
        yield field.value
        return
    place = field.content
    while place < field.end:
        value, place = varint(data, place)
        yield value

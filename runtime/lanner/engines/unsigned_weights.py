"""Signed weights of an ONNX graph rewritten as unsigned ones, for processors without VNNI.

Without VNNI the kernel for unsigned times signed bytes saturates at 16 bits, and the kernel for
unsigned times unsigned bytes is exact. ONNX Runtime can rewrite the weights
(``session.x64quantprecision``), but it fails if two products share their weights, because it makes
the same new initializer for each (1.31 and 1.32). Adding 128 to a weight and to its zero point
changes no product, so each initializer of the file is rewritten once, and nothing is renamed.

The file is read in protobuf's wire format (https://protobuf.dev/programming-guides/encoding),
because the runtime does not depend on the package onnx. Field numbers are those of onnx.proto.
"""

import mmap
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

#: Operator -> the indices of the inputs with the weights and with their zero point.
_PRODUCTS = {
    "DequantizeLinear": (0, 2),
    "MatMulInteger": (1, 3),
    "DynamicQuantizeMatMul": (1, 3),
    "MatMulIntegerToFloat": (1, 5),
}
_GRAPH = 7  # of ModelProto
_NODE, _INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _VALUE_INFO = 1, 5, 11, 12, 13  # of GraphProto
_NODE_INPUT, _OPERATOR, _ATTRIBUTE = 1, 4, 5  # of NodeProto
_SUBGRAPHS = (6, 11)  # of AttributeProto
_VALUE_NAME = 1  # of ValueInfoProto
_DATA_TYPE, _INT32_DATA, _TENSOR_NAME, _RAW_DATA = 2, 5, 8, 9  # of TensorProto
_UINT8, _INT8 = 2, 3  # of TensorProto.DataType
_NUMBER, _EIGHT_BYTES, _CONTENT, _FOUR_BYTES = 0, 1, 2, 5  # wire types


class _Field(NamedTuple):
    """A field of a message.

    Attributes:
        number: The field number in the message.
        begin: The offset of the tag.
        content: The offset of the content.
        end: The offset after the content.
        value: The value of a numeric field; the length of any other.
    """

    number: int
    begin: int
    content: int
    end: int
    value: int


def with_unsigned_weights(path: Path) -> bytes | None:
    """Return a model with unsigned weights in the place of signed ones.

    Args:
        path: An ONNX file.

    Returns:
        The model; None if no product has signed weights, or the file is damaged.
    """
    with _opened(path) as data:
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
    with _opened(path) as data:
        try:
            return bool(_Graph.read(data).signed_weights())
        except (ValueError, IndexError):
            return False


def _opened(path: Path) -> mmap.mmap:
    """Map a file into memory; for an empty one, which cannot be mapped, an empty page."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            return mmap.mmap(-1, 1)
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


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

    field: _Field
    nodes: list[_Node]
    tensors: dict[str, _Field]
    notes: list[tuple[str, _Field]]
    outer: frozenset[str]

    @classmethod
    def read(cls, data: mmap.mmap) -> Self:
        """Read the graph of a model.

        Raises:
            ValueError: The file is damaged, or not a model; an IndexError if it ends too early.
        """
        fields = list(_fields(data, 0, len(data)))
        graph = next((field for field in fields if field.number == _GRAPH), None)
        if graph is None:
            msg = "it holds no graph"
            raise ValueError(msg)
        nodes, tensors, notes, outer = [], {}, [], set()
        for field in _inside(data, graph):
            if field.number == _NODE:
                nodes.append(_node(data, field))
            elif field.number == _INITIALIZER and _is_signed(data, field):
                tensors[_text(data, field, _TENSOR_NAME)] = field
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
    for old, new in sorted(edits):
        parts += [data[place : old.begin], new]
        place = old.end
    parts.append(data[place : field.end])
    header = _tag(_GRAPH, sum(map(len, parts)))
    return b"".join([data[: field.begin], header, *parts, data[field.end :]])


def _unsigned(data: mmap.mmap, tensor: _Field) -> bytes:
    """Return an initializer as a field, with 128 added to each byte."""
    parts, values = [], b""
    for field in _inside(data, tensor):
        if field.number == _RAW_DATA:
            values = data[field.content : field.end]
        elif field.number == _INT32_DATA:
            values += bytes(value & 0xFF for value in _numbers(data, field))
        elif field.number != _DATA_TYPE:
            parts.append(data[field.begin : field.end])
    moved: NDArray[np.uint8] = np.frombuffer(values, np.uint8) ^ np.uint8(0x80)
    parts += [bytes([_DATA_TYPE << 3 | _NUMBER, _UINT8]), _tag(_RAW_DATA, len(moved))]
    parts.append(moved.tobytes())
    return b"".join([_tag(_INITIALIZER, sum(map(len, parts))), *parts])


def _node(data: mmap.mmap, node: _Field) -> _Node:
    operator, inputs, has_subgraph = "", [], False
    for field in _inside(data, node):
        if field.number == _NODE_INPUT:
            inputs.append(data[field.content : field.end].decode())
        elif field.number == _OPERATOR:
            operator = data[field.content : field.end].decode()
        elif field.number == _ATTRIBUTE:
            has_subgraph |= any(part.number in _SUBGRAPHS for part in _inside(data, field))
    return _Node(operator, inputs, has_subgraph)


def _is_signed(data: mmap.mmap, tensor: _Field) -> bool:
    """Return True for a tensor of signed bytes that is in this file."""
    kind, numbers = None, set()
    for field in _inside(data, tensor):
        numbers.add(field.number)
        kind = field.value if field.number == _DATA_TYPE else kind
    return kind == _INT8 and not numbers.isdisjoint((_RAW_DATA, _INT32_DATA))


def _text(data: mmap.mmap, message: _Field, number: int) -> str:
    """Return a string field of a message; an empty string if the field is missing."""
    found = (f for f in _inside(data, message) if f.number == number)
    return next((data[f.content : f.end].decode() for f in found), "")


def _numbers(data: mmap.mmap, field: _Field) -> Iterator[int]:
    """Yield the numbers of a field: one, or several packed ones."""
    if data[field.begin] & 7 != _CONTENT:
        yield field.value
        return
    place = field.content
    while place < field.end:
        value, place = _varint(data, place)
        yield value


def _inside(data: mmap.mmap, message: _Field) -> Iterator[_Field]:
    return _fields(data, message.content, message.end)


def _fields(data: mmap.mmap, begin: int, end: int) -> Iterator[_Field]:
    """Yield the fields of a message.

    Raises:
        ValueError: The bytes are not a message.
    """
    while begin < end:
        tag, content = _varint(data, begin)
        kind, value = tag & 7, 0
        if kind == _NUMBER:
            value, stop = _varint(data, content)
        elif kind == _CONTENT:
            value, content = _varint(data, content)
            stop = content + value
        elif kind in (_FOUR_BYTES, _EIGHT_BYTES):
            stop = content + (4 if kind == _FOUR_BYTES else 8)
        else:
            msg = f"wire type {kind}"
            raise ValueError(msg)
        if stop > end:
            msg = "a field is cut off"
            raise ValueError(msg)
        yield _Field(tag >> 3, begin, content, stop, value)
        begin = stop


def _varint(data: mmap.mmap, place: int) -> tuple[int, int]:
    """Return a number and the offset after it."""
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7


def _tag(number: int, length: int) -> bytes:
    """Return the tag and the length that precede a field of `length` bytes."""
    written = bytearray([number << 3 | _CONTENT])
    while length >= 0x80:
        written.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([*written, length])

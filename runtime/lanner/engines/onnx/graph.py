"""The nodes and tensors of an ONNX graph, read without the package onnx.

Field numbers are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lanner.engines.onnx.file import (
    CONTENT,
    DATA_TYPE,
    EXTERNAL_DATA,
    GRAPH,
    INITIALIZER,
    RAW_DATA,
    TENSOR_NAME,
    Field,
    external_entry,
    fields,
    inside,
    mapped,
    varint,
)

NODE, GRAPH_INPUT, GRAPH_OUTPUT, VALUE_INFO = 1, 11, 12, 13  # of GraphProto
VALUE_NAME = 1  # of ValueInfoProto
INT32_DATA = 5  # of TensorProto
_DIMENSIONS = 1  # of TensorProto
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _OPERATOR, _ATTRIBUTE, _DOMAIN = 1, 2, 3, 4, 5, 7
_ATTRIBUTE_NAME, _FLOAT, _INT, _STRING, _TENSOR, _FLOATS, _INTS = 1, 2, 3, 4, 5, 7, 8
_SUBGRAPHS = (6, 11)  # of AttributeProto
#: TensorProto.DataType -> numpy.
_TYPES: dict[int, type[np.generic]] = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    10: np.float16,
    11: np.float64,
}
#: Fields of TensorProto with the data of small tensors, and the type of their elements.
_INLINE = {4: np.float32, INT32_DATA: np.int32, 7: np.int64, 10: np.float64}
Array = NDArray[np.generic]
Attribute = float | int | str | list[int] | list[float] | Array


class Node(NamedTuple):
    """A node of a graph.

    Attributes:
        name: The name, which may be empty.
        operator: The operator, with its domain unless that is ONNX's own.
        inputs: The names of its inputs; an empty name is an input that is left out.
        outputs: The names of its outputs.
        attributes: Its attributes by name, without subgraphs.
        has_subgraph: True if an attribute is a graph.
    """

    name: str
    operator: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Attribute]
    has_subgraph: bool


class Graph(NamedTuple):
    """A graph in memory.

    Attributes:
        nodes: The nodes, each after those that it reads.
        tensors: The initializers by name: views of the mapped file.
        inputs: The names of the inputs.
        outputs: The names of the outputs.
    """

    nodes: list[Node]
    tensors: dict[str, Array]
    inputs: list[str]
    outputs: list[str]

    @classmethod
    def read(cls, data: mmap.mmap, directory: Path | None = None) -> Self:
        """Read the graph of a model.

        Args:
            data: The mapped file.
            directory: The directory of its external weights; None if it may have none.

        Raises:
            ValueError: The file is damaged, not a model, or has a tensor of another kind; an
                IndexError if it ends too early; an OSError if external weights are missing.
        """
        graph = cls([], {}, [], [])
        outside = ExternalWeights(directory)
        for field in inside(data, graph_field(data)):
            if field.number == NODE:
                graph.nodes.append(read_node(data, field))
            elif field.number == INITIALIZER:
                graph.tensors[text(data, field, TENSOR_NAME)] = read_tensor(data, field, outside)
            elif field.number == GRAPH_INPUT:
                graph.inputs.append(text(data, field, VALUE_NAME))
            elif field.number == GRAPH_OUTPUT:
                graph.outputs.append(text(data, field, VALUE_NAME))
        return graph


def graph_field(data: mmap.mmap) -> Field:
    """Return the field of the graph in a model.

    Raises:
        ValueError: The file is damaged, or not a model; an IndexError if it ends too early.
    """
    found = next((field for field in fields(data, 0, len(data)) if field.number == GRAPH), None)
    if found is None:
        msg = "it holds no graph"
        raise ValueError(msg)
    return found


def read_node(data: mmap.mmap, message: Field) -> Node:
    """Read a NodeProto."""
    found = Node(text(data, message, _NODE_NAME), "", [], [], {}, has_subgraph=False)
    operator, domain, has_subgraph = "", "", False
    for field in inside(data, message):
        if field.number in (_NODE_INPUT, _NODE_OUTPUT):
            names = found.inputs if field.number == _NODE_INPUT else found.outputs
            names.append(_decoded(data, field))
        elif field.number == _OPERATOR:
            operator = _decoded(data, field)
        elif field.number == _DOMAIN:
            domain = _decoded(data, field)
        elif field.number == _ATTRIBUTE:
            name, value, is_graph = _attribute(data, field)
            has_subgraph |= is_graph
            if value is not None:
                found.attributes[name] = value
    operator = f"{domain}.{operator}" if domain not in ("", "ai.onnx") else operator
    return found._replace(operator=operator, has_subgraph=has_subgraph)


class ExternalWeights:
    """The files of a model's external weights, each mapped once.

    Args:
        directory: Their directory; None if there is none.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._mapped: dict[str, mmap.mmap] = {}

    def read(self, place: dict[str, str], dtype: np.dtype[np.generic], name: str) -> Array:
        """Return a tensor's elements, a view of its file.

        Args:
            place: The entries of its external data.
            dtype: The type of its elements.
            name: Its name, for messages.

        Raises:
            ValueError: The file may not be read, or is too short.
        """
        location = place.get("location", "")
        if self._directory is None or Path(location).name != location or not location:
            msg = f"the data of {name} is in another file"
            raise ValueError(msg)
        if location not in self._mapped:
            self._mapped[location] = mapped(self._directory / location)
        size = int(place.get("length", 0)) // dtype.itemsize
        return np.frombuffer(self._mapped[location], dtype, size, int(place.get("offset", 0)))


def read_tensor(data: mmap.mmap, message: Field, outside: ExternalWeights | None = None) -> Array:
    """Read a TensorProto as an array, a view of the file where its data is raw.

    Args:
        data: The mapped file.
        message: The field of the tensor.
        outside: The files of external weights; None if the tensor may not be external.

    Raises:
        ValueError: Its type is none of numpy's, its data is in another file that may not be read,
            or the number of its elements is not that of its shape.
    """
    kind, shape, raw, parts = 0, list[int](), None, list[Array]()
    place: dict[str, str] = {}
    for field in inside(data, message):
        if field.number == DATA_TYPE:
            kind = field.value
        elif field.number == _DIMENSIONS:
            shape += numbers(data, field)
        elif field.number == RAW_DATA:
            raw = field
        elif field.number == EXTERNAL_DATA:
            place |= dict([external_entry(data, field)])
        elif field.number in _INLINE:
            parts.append(_inline(data, field))
    if kind not in _TYPES:
        msg = f"the tensor {text(data, message, TENSOR_NAME)} has the type {kind}"
        raise ValueError(msg)
    dtype = np.dtype(_TYPES[kind])
    if place:
        name = text(data, message, TENSOR_NAME)
        found: Array = (outside or ExternalWeights(None)).read(place, dtype, name)
    elif raw is not None:
        size = raw.value // dtype.itemsize
        found = np.frombuffer(data, dtype, size, raw.content)
    else:
        found = np.concatenate([np.empty(0, dtype), *parts]).astype(dtype)
    return found.reshape(shape)


def text(data: mmap.mmap, message: Field, number: int) -> str:
    """Return a string field of a message; an empty string if the field is missing."""
    return next((_decoded(data, f) for f in inside(data, message) if f.number == number), "")


def numbers(data: mmap.mmap, field: Field) -> Iterator[int]:
    """Yield the numbers of a field: one, or several packed ones."""
    if data[field.begin] & 7 != CONTENT:
        yield _signed(field.value)
        return
    place = field.content
    while place < field.end:
        value, place = varint(data, place)
        yield _signed(value)


def _inline(data: mmap.mmap, field: Field) -> Array:
    dtype = _INLINE[field.number]
    if issubclass(dtype, np.floating):
        size = (field.end - field.content) // np.dtype(dtype).itemsize
        return np.frombuffer(data, dtype, size, field.content)
    return np.array(list(numbers(data, field)), np.int64)


def _attribute(data: mmap.mmap, message: Field) -> tuple[str, Attribute | None, bool]:
    """Return the name and value of an attribute, and whether it is a graph."""
    value: Attribute | None = None
    ints, floats, is_graph = list[int](), list[float](), False
    for field in inside(data, message):
        content = data[field.content : field.end]
        if field.number == _FLOAT:
            (value,) = struct.unpack("<f", content)
        elif field.number == _INT:
            value = _signed(field.value)
        elif field.number == _STRING:
            value = content.decode()
        elif field.number == _TENSOR:
            value = read_tensor(data, field).copy()  # or the file could not be closed
        elif field.number == _INTS:
            ints += numbers(data, field)
        elif field.number == _FLOATS:
            floats += np.frombuffer(content, "<f4").tolist()
        is_graph |= field.number in _SUBGRAPHS
    if value is None and (ints or floats):
        value = ints or floats
    return text(data, message, _ATTRIBUTE_NAME), value, is_graph


def _decoded(data: mmap.mmap, field: Field) -> str:
    return data[field.content : field.end].decode()


def _signed(value: int) -> int:
    """Return a varint as the int64 that it encodes."""
    return value - 2**64 if value >= 2**63 else value

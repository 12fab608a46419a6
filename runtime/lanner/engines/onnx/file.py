"""ONNX files in protobuf's wire format, for the runtime, which does not depend on the package onnx.

https://protobuf.dev/programming-guides/encoding; field numbers are those of onnx.proto.
"""

import mmap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

GRAPH = 7  # of ModelProto
INITIALIZER = 5  # of GraphProto
DATA_TYPE, TENSOR_NAME, RAW_DATA = 2, 8, 9  # of TensorProto
EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of TensorProto
_KEY, _VALUE = 1, 2  # of StringStringEntryProto
_EXTERNAL = 1  # of TensorProto.DataLocation
VARINT, _EIGHT_BYTES, CONTENT, _FOUR_BYTES = 0, 1, 2, 5  # wire types
_LOCATION = "location"  # of an external weight, its key
#: The fields with messages that may name external weights, at any depth: of a model, a graph, a
#: node or function, an attribute, a sparse tensor.
_INNER: dict[str, dict[int, str]] = {
    "model": {GRAPH: "graph", 25: "function"},
    "graph": {1: "node", INITIALIZER: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
#: Smaller weights stay in the message.
FEWEST_BYTES = 1_024


class Field(NamedTuple):
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


def mapped(path: Path) -> mmap.mmap:
    """Map a file into memory; for an empty one, which cannot be mapped, an empty page."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            return mmap.mmap(-1, 1)
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def without_weights(path: Path) -> bytes:
    """Return a model whose larger weights are external: they lie in the file itself.

    Whoever loads it maps the weights from the file, instead of reading them into memory twice.

    Args:
        path: An ONNX file, which must not change while the model is in use.

    Raises:
        ValueError: The file is damaged; an IndexError if it ends too early.
    """
    with mapped(path) as data:
        return with_changed_graph(data, lambda field: _without_weights(data, field, path.name))


def with_changed_graph(data: mmap.mmap, change: Callable[[Field], bytes]) -> bytes:
    """Return a model with what `change` makes of each field of its graph.

    Raises:
        ValueError: The bytes are not a message.
    """
    parts: list[bytes] = []
    for field in fields(data, 0, len(data)):
        if field.number != GRAPH:
            parts.append(data[field.begin : field.end])
            continue
        graph = [change(inner) for inner in inside(data, field)]
        parts += [tag(GRAPH, sum(map(len, graph))), *graph]
    return b"".join(parts)


def external_files(path: Path) -> set[str]:
    """Return the places of a model's external weights, as the model names them.

    Args:
        path: An ONNX file.

    Raises:
        ValueError: The file is damaged; an IndexError if it ends too early.
    """
    with mapped(path) as data:
        whole = Field(0, 0, 0, len(data), 0)
        return set(_locations(data, whole, "model"))


def _locations(data: mmap.mmap, message: Field, kind: str) -> Iterator[str]:
    inner = _INNER.get(kind, {})
    for field in inside(data, message):
        if kind == "tensor" and field.number == EXTERNAL_DATA:
            key, value = external_entry(data, field)
            if key == _LOCATION:
                yield value
        elif field.number in inner:
            yield from _locations(data, field, inner[field.number])


def external_entry(data: mmap.mmap, message: Field) -> tuple[str, str]:
    """Return the key and the value of a StringStringEntryProto."""
    found = {
        field.number: data[field.content : field.end].decode() for field in inside(data, message)
    }
    return found.get(_KEY, ""), found.get(_VALUE, "")


def written_entry(key: str, value: str) -> bytes:
    """Return a field of external data with a StringStringEntryProto."""
    entry = _text(_KEY, key) + _text(_VALUE, value)
    return tag(EXTERNAL_DATA, len(entry)) + entry


def _without_weights(data: mmap.mmap, field: Field, location: str) -> bytes:
    """Return a field of the graph, with the place of a larger weight instead of its data."""
    if field.number != INITIALIZER or field.value < FEWEST_BYTES:
        return data[field.begin : field.end]
    raw, parts = None, []
    for inner in inside(data, field):
        if inner.number == RAW_DATA:
            raw = inner
        else:
            parts.append((inner.begin, inner.end))
    if raw is None or raw.value < FEWEST_BYTES:
        return data[field.begin : field.end]
    tensor = b"".join(data[begin:end] for begin, end in parts)
    place = {"location": location, "offset": str(raw.content), "length": str(raw.value)}
    for key, value in place.items():
        tensor += written_entry(key, value)
    tensor += bytes([_DATA_LOCATION << 3 | VARINT, _EXTERNAL])
    return tag(INITIALIZER, len(tensor)) + tensor


def inside(data: mmap.mmap, message: Field) -> Iterator[Field]:
    """Yield the fields of an inner message; see `fields`."""
    return fields(data, message.content, message.end)


def fields(data: mmap.mmap, begin: int, end: int) -> Iterator[Field]:
    """Yield the fields of a message.

    Raises:
        ValueError: The bytes are not a message.
    """
    while begin < end:
        key, content = varint(data, begin)
        kind, value = key & 7, 0
        if kind == VARINT:
            value, stop = varint(data, content)
        elif kind == CONTENT:
            value, content = varint(data, content)
            stop = content + value
        elif kind in (_FOUR_BYTES, _EIGHT_BYTES):
            stop = content + (4 if kind == _FOUR_BYTES else 8)
        else:
            msg = f"wire type {kind}"
            raise ValueError(msg)
        if stop > end:
            msg = "a field is cut off"
            raise ValueError(msg)
        yield Field(key >> 3, begin, content, stop, value)
        begin = stop


def varint(data: mmap.mmap, place: int) -> tuple[int, int]:
    """Return a number and the offset after it."""
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7


def tag(number: int, length: int) -> bytes:
    """Return the tag and the length that precede a field of `length` bytes."""
    written = bytearray([number << 3 | CONTENT])
    while length >= 0x80:
        written.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([*written, length])


def _text(number: int, text: str) -> bytes:
    content = text.encode()
    return tag(number, len(content)) + content

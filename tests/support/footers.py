"""Footers of .parquet files, read and written in Thrift's compact protocol, and forged ones."""

import random
from collections.abc import Iterator
from typing import Any

_BOOLS, _BYTE, _INTEGERS, _DOUBLE, _BINARY = (1, 2), 3, (4, 5, 6), 7, 8
_LISTS, _MAP, _STRUCT = (9, 10), 11, 12
MAGIC = b"PAR1"
#: The numbers of a forger, for rows, bytes, places and kinds.
NUMBERS = [
    0,
    1,
    -1,
    5,
    255,
    2**16,
    2**20,
    2**31 - 1,
    2**31,
    2**32,
    10**12,
    2**62,
    2**63 - 1,
    -(2**63),
]


class Node:
    """A value of Thrift: its type and its content."""

    def __init__(self, kind: int, value: Any) -> None:
        self.kind, self.value = kind, value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def value(self, kind: int) -> Any:  # noqa: PLR0911 (a return a type)
        if kind in _BOOLS:
            return kind == 1
        if kind == _BYTE:
            return self.byte()
        if kind in _INTEGERS:
            raw = self.varint()
            return (raw >> 1) ^ -(raw & 1)
        if kind == _DOUBLE:
            self.at += 8
            return self.data[self.at - 8 : self.at]
        if kind == _BINARY:
            size = self.varint()
            self.at += size
            return self.data[self.at - size : self.at]
        if kind in _LISTS:
            head = self.byte()
            size = head >> 4 if head >> 4 < 15 else self.varint()
            return [self.item(head & 15) for _ in range(size)]
        assert kind == _STRUCT, kind
        fields: list[tuple[int, Node]] = []
        last = 0
        while head := self.byte():
            if head >> 4:
                last += head >> 4
            else:
                raw = self.varint()
                last = (raw >> 1) ^ -(raw & 1)
            fields.append((last, Node(head & 15, self.value(head & 15))))
        return fields

    def item(self, kind: int) -> Node:
        if kind in _BOOLS:
            return Node(kind, self.byte() == 1)
        return Node(kind, self.value(kind))


def _varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _zigzag(value: int) -> bytes:
    return _varint((value << 1) ^ (value >> 63))


def _written(node: Node) -> bytes:  # noqa: PLR0911 (a return a type)
    kind, value = node.kind, node.value
    if kind in _BOOLS:
        return b""
    if kind == _BYTE:
        return bytes([value & 255])
    if kind in _INTEGERS:
        return _zigzag(value)
    if kind == _DOUBLE:
        return bytes(value)
    if kind == _BINARY:
        return _varint(len(value)) + bytes(value)
    if kind in _LISTS:
        size, item = len(value), value[0].kind if value else _BYTE
        head = bytes([size << 4 | item]) if size < 15 else bytes([0xF0 | item]) + _varint(size)
        ends = [
            bytes([1 if one.value else 2]) if item in _BOOLS else _written(one) for one in value
        ]
        return head + b"".join(ends)
    out, last = b"", 0
    for number, field in value:
        step = number - last
        out += (
            bytes([step << 4 | field.kind])
            if 0 < step < 16
            else (bytes([field.kind]) + _zigzag(number))
        )
        out += _written(field)
        last = number
    return out + b"\0"


def footer(data: bytes) -> Node:
    """Return the footer of a file."""
    size = int.from_bytes(data[-8:-4], "little")
    return Node(_STRUCT, _Reader(data[-8 - size : -8]).value(_STRUCT))


def with_footer(data: bytes, node: Node) -> bytes:
    """Return the file with another footer."""
    size = int.from_bytes(data[-8:-4], "little")
    body = _written(node)
    return data[: -8 - size] + body + len(body).to_bytes(4, "little") + data[-4:]


def with_first_page(data: bytes, uncompressed_bytes: int) -> bytes:
    """Return a file of one column and one page that claims to unpack to that many bytes."""
    reader = _Reader(data)
    reader.at = len(MAGIC)
    header = Node(_STRUCT, reader.value(_STRUCT))
    dict(header.value)[2].value = uncompressed_bytes
    written = _written(header)
    root = footer(data)
    for path, node in numbers(root):
        if path[-2:] == (3, 7):  # the packed bytes of the column
            node.value += len(written) - (reader.at - len(MAGIC))
    return with_footer(MAGIC + written + data[reader.at :], root)


def numbers(node: Node, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Node]]:
    """Yield every number of a footer, with the fields that lead to it."""
    if node.kind in _INTEGERS:
        yield path, node
    elif node.kind in _LISTS:
        for index, item in enumerate(node.value):
            yield from numbers(item, (*path, index))
    elif node.kind == _STRUCT:
        for number, field in node.value:
            yield from numbers(field, (*path, number))


def lists(node: Node) -> Iterator[Node]:
    """Yield every list of a footer."""
    if node.kind in _LISTS:
        yield node
        for item in node.value:
            yield from lists(item)
    elif node.kind == _STRUCT:
        for _, field in node.value:
            yield from lists(field)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Return a file whose footer has one to three false values or damaged bytes."""
    root = footer(data)
    for _ in range(rng.choice([1, 1, 2, 3])):
        if rng.random() < 0.85:
            _, node = rng.choice(list(numbers(root)))
            node.value = rng.choice([*NUMBERS, node.value * 2, node.value + 1, node.value - 1])
        else:
            some = rng.choice(list(lists(root))).value
            some[:] = some * rng.choice([0, 2, 1_000]) if some else some
    made = bytearray(with_footer(data, root))
    if rng.random() < 0.15:
        size = int.from_bytes(made[-8:-4], "little")
        place = rng.randrange(len(made) - 8 - size, len(made) - 4)
        made[place] = rng.randrange(256)
    return bytes(made)

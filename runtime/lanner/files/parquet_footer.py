"""The footer of a .parquet file: the places and sizes of its columns, checked before they are read.

If a footer contradicts itself, pyarrow ends the process; it also believes all sizes. The footer and
the headers of pages are in Thrift's compact protocol.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

from lanner.errors import InputError

_MAGIC = b"PAR1"
#: No file of texts has a larger footer: 100,000 row groups take about 30 MB.
_MOST_BYTES = 2**28
_MOST_DEPTH = 16
#: The numbers of Parquet's format for the encodings by a dictionary.
_DICTIONARIES = {2, 8}
#: The bytes of a page's header to read first, and the most; some contain the least and greatest
#: value.
_HEADER_BYTES, _MOST_HEADER_BYTES = 2**10, 2**24
#: A page is unpacked as a whole. So a page, or a column of a row group, with more bytes than the
#: first number may not be packed by more than the second factor.
_PLAIN_BYTES, _MOST_PACKED = 2**28, 1_000


class Chunk(NamedTuple):
    """A column of a row group.

    Attributes:
        column: The name of the column, or the path of a part of it, joined by dots.
        has_dictionary: True if values are repeated from a dictionary.
    """

    column: str
    has_dictionary: bool


@dataclass(frozen=True)
class Footer:
    """The footer of a file.

    Attributes:
        rows: The number of rows of each row group.
        chunks: Those of the columns that are read.
    """

    rows: Sequence[int]
    chunks: Sequence[Chunk]


def read_footer(
    file: BinaryIO, name: str, columns: Collection[str], groups: range | None = None
) -> Footer:
    """Read and check the footer of a file.

    Args:
        file: The file; its position is left at the start.
        name: Its name, for messages.
        columns: The names of the columns that are read.
        groups: The row groups that are read; None for all.

    Raises:
        InputError: It is not a .parquet file, the footer contradicts itself or the file's size, or
            a column unpacks to far more than any text does.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    end = file.read(8)
    length = int.from_bytes(end[:4], "little")
    if size < 12 or end[4:] != _MAGIC or length > min(size - 12, _MOST_BYTES):
        raise _damaged(name, "it does not end as one")
    file.seek(size - 8 - length)
    try:
        fields = _Thrift(file.read(length)).struct()
        rows = [group[3] for group in fields[4]]
        chunks = [
            (chunk[3], groups is None or number in groups)
            for number, group in enumerate(fields[4])
            for chunk in group[1]
        ]
        is_counted = all(count >= 0 for count in rows) and sum(rows) == fields[3]
        if not is_counted:
            raise _damaged(name, "the rows of its parts are not those of the whole")
        return Footer(rows, _checked(file, chunks, size, name, columns))
    except InputError:
        raise
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise _damaged(name, "its footer is not of Parquet's format") from error
    finally:
        file.seek(0)


def _checked(
    file: BinaryIO,
    chunks: Sequence[tuple[dict[int, Any], bool]],
    size: int,
    name: str,
    columns: Collection[str],
) -> list[Chunk]:
    found = []
    left = size
    for chunk, is_read in chunks:
        column = b".".join(chunk[3]).decode()
        plain, packed = chunk[6], chunk[7]
        start = min(chunk[9], chunk.get(11) or chunk[9])
        left -= packed
        if min(plain, packed, chunk[5], start) < 0 or start + packed > size or left < 0:
            raise _damaged(name, f"its column {column!r} would not fit into the file")
        if is_read and column in columns:
            _require_usual(plain, packed, column, name)
            for of_page in _pages(file, start, start + packed):
                _require_usual(*of_page, column, name)
            found.append(Chunk(column, not _DICTIONARIES.isdisjoint(chunk[2])))
    return found


def _pages(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the bytes of each page between two places, unpacked and packed."""
    while start < end:
        file.seek(start)
        thrift = _Thrift(file.read(_HEADER_BYTES))
        try:
            header = thrift.struct()
        except IndexError:
            file.seek(start)
            thrift = _Thrift(file.read(_MOST_HEADER_BYTES))
            header = thrift.struct()
        plain, packed = header[2], header[3]
        if min(plain, packed) < 0:
            raise ValueError(packed)
        yield plain, packed
        start += thrift.at + packed


def _require_usual(plain: int, packed: int, column: str, name: str) -> None:
    if plain > max(_PLAIN_BYTES, _MOST_PACKED * packed):
        msg = (
            f"the column {column!r} of {name} unpacks {plain:,} bytes from {packed:,}, as no "
            "text does: write the file again"
        )
        raise InputError(msg)


def _damaged(name: str, why: str) -> InputError:
    return InputError(f"{name} is not a .parquet file, or is damaged: {why}")


class _Thrift:
    """Reads Thrift's compact protocol; structures become dicts by the numbers of their fields."""

    def __init__(self, data: bytes) -> None:
        self._data, self.at, self._depth = data, 0, 0

    def struct(self) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            msg = "nested too deeply"
            raise ValueError(msg)
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            kind = head & 15
            fields[number] = kind == 1 if kind in (1, 2) else self._value(kind)
        self._depth -= 1
        return fields

    def _value(self, kind: int) -> Any:
        if kind in (1, 2, 3):  # a truth value in a list, a byte
            return self._byte()
        if kind in (4, 5, 6):
            return self._integer()
        if kind == 7:  # a float
            return self._bytes(8)
        if kind == 8:
            return self._bytes(self._varint())
        if kind in (9, 10):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            return [self._value(head & 15) for _ in range(count)]
        if kind == 12:
            return self.struct()
        msg = f"no type {kind} in a footer"
        raise ValueError(msg)

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _bytes(self, count: int) -> bytes:
        self.at += count
        if self.at > len(self._data):
            raise IndexError(self.at)
        return self._data[self.at - count : self.at]

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) > 127:
            value |= (byte & 127) << shift
            shift += 7
            if shift > 63:
                msg = "a number of more than 64 bits"
                raise ValueError(msg)
        return value | byte << shift

    def _integer(self) -> int:
        raw = self._varint()
        return raw >> 1 ^ -(raw & 1)

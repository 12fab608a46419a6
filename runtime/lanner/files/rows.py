"""Rows of a file of any size, one after another.

A bad row is an item like any other, so that reading can continue after it.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from lanner.errors import InputError


class Columns(NamedTuple):
    """The columns or keys that a row must have.

    Attributes:
        texts: The columns with texts.
        kept: The columns that are copied to the output, whatever they hold.
        ids: Those of `kept` that must not be empty.
    """

    texts: Sequence[str] = ()
    kept: Sequence[str] = ()
    ids: Sequence[str] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Return all columns, each once."""
        return tuple(dict.fromkeys([*self.texts, *self.kept]))

    @property
    def is_one_text(self) -> bool:
        """True if a row may be a single text."""
        return len(self.names) == len(self.texts) == 1


class Row(NamedTuple):
    """A good row.

    Attributes:
        place: The file and the line that it ends in, or its number in a .parquet file.
        values: The values by column; see `Rows.types`.
        characters: The approximate size in the file.
    """

    place: str
    values: Mapping[str, Any]
    characters: int


class BadRow(NamedTuple):
    """A bad row.

    Attributes:
        message: The fault and its place.
        characters: The approximate size in the file.
    """

    message: str
    characters: int


class Rows(ABC):
    """An iterator over the rows of one file.

    Attributes:
        name: The name of the file in messages.
        columns: The columns that each row must have.
        total: The size of the file in units of `position`; None if unknown.
        types: The types of kept columns: ``"text"``, ``"json"`` for any JSON value, or a type of
            pyarrow, whose values are arrays of length 1.
    """

    def __init__(self, name: str, columns: Columns) -> None:
        self.name = name
        self.columns = columns
        self.total: int | None = None
        self.types: dict[str, Any] = {}

    def __iter__(self) -> Iterator[Row | BadRow]:
        return self

    @abstractmethod
    def __next__(self) -> Row | BadRow:
        """Return the next row, good or bad."""

    @abstractmethod
    def skip(self, count: int) -> int:
        """Skip rows, good or bad, without parsing them; return their number."""

    @property
    @abstractmethod
    def position(self) -> int:
        """Return the position in the file, in bytes or rows."""

    @abstractmethod
    def digest(self) -> str:
        """Return a SHA-256 that identifies the input read so far."""

    def json_problem(self) -> str:
        """Name the kept column with a type that JSON does not have, or return an empty string."""
        return ""

    def json_value(self, value: Any) -> Any:
        """Return the JSON value of a kept column."""
        return value


class GivenRows(Rows):
    """Rows of texts that are in memory."""

    def __init__(self, texts: Sequence[str], column: str = "text") -> None:
        super().__init__("the texts", Columns([column]))
        self.total = len(texts)
        self._texts = texts
        self._position = 0

    def __next__(self) -> Row:
        """Return the next text."""
        if self._position == len(self._texts):
            raise StopIteration
        text = self._texts[self._position]
        self._position += 1
        return Row(f"text {self._position}", {self.columns.texts[0]: text}, len(text))

    def skip(self, count: int) -> int:
        """Skip texts; see `Rows.skip`."""
        skipped = min(count, len(self._texts) - self._position)
        self._position += skipped
        return skipped

    @property
    def position(self) -> int:
        """Return the number of texts that were read."""
        return self._position

    def digest(self) -> str:
        """Return the SHA-256 of the texts that were read."""
        return sha256(json.dumps(self._texts[: self._position]).encode()).hexdigest()


def require_columns(name: str, wanted: Sequence[str], known: Sequence[str], *, where: str) -> None:
    """Check that a file has each column exactly once.

    Raises:
        InputError: A column is missing or repeated; the message names it.
    """
    for column in wanted:
        count = known.count(column)
        if count == 0:
            has = ", ".join(known)[:200] or "nothing"
            msg = f"{name} has no column {column!r} in {where}, which holds {has}"
            raise InputError(msg)
        if count > 1:
            msg = f"{name} has {count} columns {column!r}: rename all but one"
            raise InputError(msg)

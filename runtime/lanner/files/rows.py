"""Rows of a file of any size, one after another.

A row that cannot be used is an item like any other, so that whoever reads may go on behind it.
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
        texts: Those that hold text.
        kept: Those that are carried along, whatever they hold.
        ids: Which of `kept` may not be empty.
    """

    texts: Sequence[str] = ()
    kept: Sequence[str] = ()
    ids: Sequence[str] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, each once."""
        return tuple(dict.fromkeys([*self.texts, *self.kept]))

    @property
    def is_one_text(self) -> bool:
        """Whether a row may be a text alone."""
        return len(self.names) == len(self.texts) == 1


class Row(NamedTuple):
    """A row that can be used.

    Attributes:
        place: The file and the line that it ends in, or its number in a .parquet file.
        values: What stands there by column; see `Rows.types`.
        characters: Its size in the file, about.
    """

    place: str
    values: Mapping[str, Any]
    characters: int


class BadRow(NamedTuple):
    """A row that cannot be used.

    Attributes:
        message: What is wrong with it, and where.
        characters: Its size in the file, about.
    """

    message: str
    characters: int


class Rows(ABC):
    """An iterator over the rows of one file.

    Attributes:
        name: What messages call the file.
        columns: What each row must have.
        total: The size of the file in units of `position`; None where nobody knows it.
        types: What the values of kept columns are: ``"text"``, ``"json"`` for any JSON value, or
            a type of pyarrow, whose values are arrays of length 1.
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
        """The next row, good or bad."""

    @abstractmethod
    def skip(self, count: int) -> int:
        """Passes over rows, good or bad, without a look at them; says how many there were."""

    @property
    @abstractmethod
    def position(self) -> int:
        """How far the file has been read, in bytes or in rows."""

    @abstractmethod
    def digest(self) -> str:
        """A SHA-256 that tells whether what was read until now is what was read before."""

    def json_problem(self) -> str:
        """Which kept column is of a type that JSON does not have; empty where none is."""
        return ""

    def json_value(self, value: Any) -> Any:
        """The value of a kept column as JSON has it."""
        return value


class GivenRows(Rows):
    """Texts that are there already."""

    def __init__(self, texts: Sequence[str], column: str = "text") -> None:
        super().__init__("the texts", Columns([column]))
        self.total = len(texts)
        self._texts = texts
        self._position = 0

    def __next__(self) -> Row:
        """The next text."""
        if self._position == len(self._texts):
            raise StopIteration
        text = self._texts[self._position]
        self._position += 1
        return Row(f"text {self._position}", {self.columns.texts[0]: text}, len(text))

    def skip(self, count: int) -> int:
        """See `Rows.skip`."""
        skipped = min(count, len(self._texts) - self._position)
        self._position += skipped
        return skipped

    @property
    def position(self) -> int:
        """How many texts were read."""
        return self._position

    def digest(self) -> str:
        """The SHA-256 of the texts that were read."""
        return sha256(json.dumps(self._texts[: self._position]).encode()).hexdigest()


def require_columns(name: str, wanted: Sequence[str], known: Sequence[str], *, where: str) -> None:
    """Refuses a file that does not have a column, or has it twice.

    Raises:
        InputError: It is so; the message names the column.
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

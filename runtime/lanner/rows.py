"""Rows of a file of any size, one after another: .txt, .csv and .jsonl, UTF-8, and .parquet.

A row that cannot be used is an item like any other, so that whoever reads may go on behind it.
"""

import csv
import io
import json
import os
import stat
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from lanner.errors import InputError

TEXT_SUFFIXES = (".txt", ".csv", ".jsonl", ".parquet")
COLUMN_SUFFIXES = (".csv", ".jsonl", ".parquet")
#: What `"-"` stands for.
STANDARD_INPUT = "standard input"
#: The longest field of a .csv. A quote that is never closed takes in the rest of the file; this is
#: where that ends, before memory does.
FIELD_CHARACTERS = 2**26


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


class Damage(NamedTuple):
    """What stands in the place of a row that is no CSV: its first line, and the reason."""

    first_line: int
    reason: str


class LineRows(Rows):
    """Rows of a text file; `position` is in bytes."""

    def __init__(self, file: TextIO, name: str, columns: Columns) -> None:
        super().__init__(name, columns)
        self._file = file
        self._sha256 = sha256()
        self._bytes = 0
        self._line = 0
        self._items = self._raw()

    def __next__(self) -> Row | BadRow:
        """See `Rows`."""
        return self._row(next(self._items))

    def skip(self, count: int) -> int:
        """See `Rows.skip`."""
        return sum(1 for _ in islice(self._items, count))

    @property
    def position(self) -> int:
        """How many bytes were read."""
        return self._bytes

    def digest(self) -> str:
        """The SHA-256 of the lines that were read."""
        return self._sha256.hexdigest()

    @abstractmethod
    def _raw(self) -> Iterator[Any]:
        """What makes a row, so little of it that passing over rows is fast."""

    @abstractmethod
    def _row(self, raw: Any) -> Row | BadRow:
        """A row of what makes it."""

    def _lines(self) -> Iterator[str]:
        for line in self._file:
            raw = line.encode("utf-8", "surrogateescape")
            self._sha256.update(raw)
            self._bytes += len(raw)
            self._line += 1
            yield line

    def _place(self) -> str:
        return f"{self.name}, line {self._line}"

    def _not_utf8(self, characters: int) -> BadRow:
        return BadRow(
            f"{self._place()}: not UTF-8: convert the file, for example with iconv", characters
        )


class TxtRows(LineRows):
    """A text a line."""

    def _raw(self) -> Iterator[str]:
        return self._lines()

    def _row(self, raw: str) -> Row | BadRow:
        if not is_unicode(raw):
            return self._not_utf8(len(raw))
        return Row(self._place(), {self.columns.texts[0]: raw.rstrip("\r\n")}, len(raw))


class CsvRows(LineRows):
    """Rows below a header; all values are text, and None where a row is shorter than the header.

    Raises:
        InputError: The header is damaged, or does not name a column just once.
    """

    def __init__(self, file: TextIO, name: str, columns: Columns) -> None:
        super().__init__(file, name, columns)
        header: list[str] | Damage = next(self._items, [])
        if isinstance(header, Damage):
            msg = f"{name}, line 1: not valid CSV ({header.reason})"
            raise InputError(msg)
        if not all(map(is_unicode, header)):
            raise InputError(self._not_utf8(0).message)
        require_columns(name, columns.names, header, where="its first line")
        self._header = header
        self.types = dict.fromkeys(columns.kept, "text")

    def _raw(self) -> Iterator[list[str] | Damage]:
        for _, row in csv_items(self._lines()):
            # A blank line is no row, but as the first one it is a header without names.
            if row or self._line == 1:
                yield row

    def _row(self, raw: list[str] | Damage) -> Row | BadRow:
        if isinstance(raw, Damage):
            line, reason = raw
            return BadRow(f"{self.name}, from line {line} on: not valid CSV ({reason})", 0)
        size = sum(map(len, raw))
        if not all(map(is_unicode, raw)):
            return self._not_utf8(size)
        if len(raw) > len(self._header):
            columns = f"{len(raw)} values for the {len(self._header)} columns of the first line"
            return BadRow(f"{self._place()}: {columns}", size)
        raw = raw + [None] * (len(self._header) - len(raw))  # type: ignore[list-item]
        values = dict(zip(self._header, raw, strict=True))
        for column in self.columns.names:
            if values[column] is None or (column in self.columns.ids and not values[column]):
                return BadRow(f"{self._place()}: no value in the column {column!r}", size)
        return Row(self._place(), values, size)


class JsonlRows(LineRows):
    """An object a line; where one text is all that is wanted, it may be a string."""

    def __init__(self, file: TextIO, name: str, columns: Columns) -> None:
        super().__init__(file, name, columns)
        self.types = dict.fromkeys(columns.kept, "json")

    def _raw(self) -> Iterator[str]:
        return (line for line in self._lines() if line.strip())

    def _row(self, raw: str) -> Row | BadRow:
        if not is_unicode(raw):
            return self._not_utf8(len(raw))
        try:
            values = json.loads(raw)
        except (ValueError, RecursionError):
            values = None
        if isinstance(values, str) and self.columns.is_one_text:
            values = {self.columns.texts[0]: values}
        if message := self._problem(values, raw):
            return BadRow(f"{self._place()}: {message}", len(raw))
        return Row(self._place(), values, len(raw))

    def _problem(self, values: Any, line: str) -> str:
        is_object = isinstance(values, dict)
        texts, kept, ids = self.columns
        wrong = [
            f"{name!r} as text"
            for name in dict.fromkeys(texts)
            if not is_object or not isinstance(values.get(name), str)
        ]
        wrong += [repr(name) for name in kept if not is_object or name not in values]
        if wrong or not is_object:
            what = "a JSON string or an object" if self.columns.is_one_text else "an object"
            return f"expected {what} with {' and '.join(wrong) or 'keys'}"
        empty = [name for name in ids if values[name] in (None, "")]
        if empty:
            return f"no value at the key {empty[0]!r}"
        # Half a surrogate pair, which UTF-8 cannot say, can only come from an escape.
        if "\\ud" in line.lower() and not is_unicode(json.dumps(values, ensure_ascii=False)):
            return r"not valid Unicode (half a surrogate pair as a \u escape)"
        return ""


@contextmanager
def open_rows(path: Path | str, columns: Columns, *, kind: str | None = None) -> Iterator[Rows]:
    """The rows of a file, read as they are asked for.

    Args:
        path: A file; ``"-"`` for standard input, of lines unless `kind` says otherwise.
        columns: What each row must have; of a .txt file there is one, its text.
        kind: One of `TEXT_SUFFIXES`, where the name of the file does not end in it.

    Raises:
        InputError: The file is missing, of another kind, or lacks a column; the message names it.
    """
    suffix = kind or (".txt" if str(path) == "-" else Path(path).suffix.lower())
    suffixes: Sequence[str] = TEXT_SUFFIXES if columns.is_one_text else COLUMN_SUFFIXES
    if str(path) == "-":
        suffixes = [known for known in suffixes if known != ".parquet"]  # read from its end
    require_suffix(path, suffix, suffixes)
    if suffix == ".parquet":
        from lanner.parquet_rows import ParquetRows  # noqa: PLC0415 (an extra)

        with open_file(path, lambda path: path.open("rb")) as file:
            yield ParquetRows(file, str(path), columns)
        return
    opener: Any = {".txt": TxtRows, ".csv": CsvRows, ".jsonl": JsonlRows}[suffix]
    with open_text(path) as (name, text):
        rows: LineRows = opener(text, name, columns)
        found = os.fstat(text.fileno()) if name != STANDARD_INPUT else None
        if found is not None and stat.S_ISREG(found.st_mode):
            rows.total = found.st_size
        yield rows


@contextmanager
def open_text(path: Path | str) -> Iterator[tuple[str, TextIO]]:
    """A UTF-8 file as lines, and what messages call it; bytes that are no UTF-8 become surrogates.

    Raises:
        InputError: It is missing, or cannot be read.
    """
    encoding: dict[str, Any] = {
        "encoding": "utf-8-sig",
        "errors": "surrogateescape",
        "newline": "",
    }
    if str(path) == "-":
        wrapper = io.TextIOWrapper(sys.stdin.buffer, **encoding)
        try:
            yield STANDARD_INPUT, wrapper
        finally:
            wrapper.detach()  # who closes it is not us
    else:
        with open_file(path, lambda path: path.open(**encoding)) as file:
            yield str(path), file


def open_file(path: Path | str, opener: Callable[[Path], Any]) -> Any:
    """What the opener makes of the path.

    Raises:
        InputError: It is missing, or cannot be read.
    """
    try:
        return opener(Path(path))
    except FileNotFoundError:
        msg = f"there is no file {path}: check the path"
        raise InputError(msg) from None
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
        raise InputError(msg) from None


def csv_items(lines: Iterator[str]) -> Iterator[tuple[int, list[str] | Damage]]:
    """Rows of a .csv with the line that each ends in.

    Behind a damaged row the next one is looked for in the line after that of the damage.
    """
    csv.field_size_limit(FIELD_CHARACTERS)  # its 128 kB would refuse long texts
    reader = csv.reader(lines, strict=True)
    while True:
        first = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield reader.line_num, Damage(first, str(error))
        else:
            yield reader.line_num, row


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can say it: it holds no surrogates."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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


def require_suffix(path: Path | str, suffix: str, suffixes: Sequence[str]) -> None:
    """Refuses a file of another kind.

    Raises:
        InputError: The suffix is none of them.
    """
    if suffix not in suffixes:
        name = STANDARD_INPUT if str(path) == "-" else path
        msg = f"{name} is of a kind that cannot be read: use {', '.join(suffixes)}"
        raise InputError(msg)

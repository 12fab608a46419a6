"""Rows of UTF-8 files of any size: .txt, .csv and .jsonl."""

import csv
import io
import json
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Never, TextIO

from lanner.errors import InputError
from lanner.files.rows import BadRow, Columns, Row, Rows, require_columns

#: The name of `"-"` in messages.
STANDARD_INPUT = "standard input"
#: The longest field of a .csv. An unclosed quote takes in the rest of the file; this limit stops it
#: before the memory is full.
FIELD_CHARACTERS = 2**26
#: The longest line. A longer line is a bad row, and is never in memory as a whole.
LINE_CHARACTERS = 2**26
#: A line that is not CSV.
_NO_CSV = '"x"y\n'


class LongLine(str):
    """A stand-in for a line that is too long."""

    __slots__ = ()


class Damage(NamedTuple):
    """The first line and the fault of a row that is not valid CSV."""

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
        """Return the next row; see `Rows`."""
        return self._row(next(self._items))

    def skip(self, count: int) -> int:
        """Skip rows; see `Rows.skip`."""
        return sum(1 for _ in islice(self._items, count))

    @property
    def position(self) -> int:
        """Return the number of bytes that were read."""
        return self._bytes

    def digest(self) -> str:
        """Return the SHA-256 of the lines that were read."""
        return self._sha256.hexdigest()

    @abstractmethod
    def _raw(self) -> Iterator[Any]:
        """Yield raw rows, with so little parsing that skipping is fast."""

    @abstractmethod
    def _row(self, raw: Any) -> Row | BadRow:
        """Return the row of a raw row."""

    def _lines(self) -> Iterator[str]:
        for line in iter(partial(self._file.readline, LINE_CHARACTERS), ""):
            self._count(line)
            self._line += 1
            if len(line) == LINE_CHARACTERS and line[-1] not in "\r\n":
                for rest in iter(partial(self._file.readline, LINE_CHARACTERS), ""):
                    self._count(rest)
                    if rest[-1] in "\r\n":
                        break
                yield LongLine("...")
            else:
                yield line

    def _count(self, line: str) -> None:
        raw = line.encode("utf-8", "surrogateescape")
        self._sha256.update(raw)
        self._bytes += len(raw)

    def _place(self) -> str:
        return f"{self.name}, line {self._line}"

    def _too_long(self) -> BadRow:
        return BadRow(f"{self._place()}: longer than {LINE_CHARACTERS:,} characters", 0)

    def _not_utf8(self, characters: int) -> BadRow:
        return BadRow(
            f"{self._place()}: not UTF-8: convert the file, for example with iconv", characters
        )


class TxtRows(LineRows):
    """Rows of a .txt file, one text per line."""

    def _raw(self) -> Iterator[str]:
        return self._lines()

    def _row(self, raw: str) -> Row | BadRow:
        if isinstance(raw, LongLine):
            return self._too_long()
        if not is_unicode(raw):
            return self._not_utf8(len(raw))
        return Row(self._place(), {self.columns.texts[0]: raw.rstrip("\r\n")}, len(raw))


class CsvRows(LineRows):
    """Rows of a .csv file with a header; values are text, or None if a row is too short.

    Raises:
        InputError: The header is damaged, or does not name each column exactly once.
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
        too_long = False

        def lines() -> Iterator[str]:
            nonlocal too_long
            for line in self._lines():
                too_long = isinstance(line, LongLine)
                yield _NO_CSV if too_long else line

        for _, row in csv_items(lines()):
            if isinstance(row, Damage) and too_long:
                yield row._replace(reason=f"a line longer than {LINE_CHARACTERS:,} characters")
                continue
            # A blank line is not a row, but a blank first line is a header without names.
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
    """Rows of a .jsonl file, one object per line, or a string if only one text is needed."""

    def __init__(self, file: TextIO, name: str, columns: Columns) -> None:
        super().__init__(file, name, columns)
        self.types = dict.fromkeys(columns.kept, "json")

    def _raw(self) -> Iterator[str]:
        return (line for line in self._lines() if line.strip())

    def _row(self, raw: str) -> Row | BadRow:
        if isinstance(raw, LongLine):
            return self._too_long()
        if not is_unicode(raw):
            return self._not_utf8(len(raw))
        try:
            values = json.loads(raw, parse_constant=_refuse_constant)
        except NotFiniteJsonError as error:
            return BadRow(f"{self._place()}: {error} is no JSON: write null", len(raw))
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
        # A lone surrogate, which UTF-8 cannot encode, can only come from an escape.
        for name in self.columns.names if "\\ud" in line.lower() else ():
            if not is_unicode(json.dumps(values[name], ensure_ascii=False)):
                return f"{name!r} is not valid Unicode (it has half of a surrogate pair)"
        return ""


class NotFiniteJsonError(ValueError):
    """A line holds NaN or an infinity."""


def _refuse_constant(name: str) -> Never:
    raise NotFiniteJsonError(name)


@contextmanager
def open_text(path: Path | str) -> Iterator[tuple[str, TextIO]]:
    """Open a UTF-8 file; yield its name for messages and its lines.

    Bytes that are not UTF-8 become surrogates.

    Raises:
        InputError: The file is missing, or cannot be read.
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
            wrapper.detach()  # leave standard input open
    else:
        with open_file(path, lambda path: path.open(**encoding)) as file:
            yield str(path), file


def open_file(path: Path | str, opener: Callable[[Path], Any]) -> Any:
    """Return `opener(path)`.

    Raises:
        InputError: The file is missing, or cannot be read.
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
    """Yield the rows of a .csv, each with the line that it ends in.

    After a damaged row, parsing resumes in the line after the damage.
    """
    csv.field_size_limit(FIELD_CHARACTERS)  # the default of 128 kB would refuse long texts
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
    """True if the text can be encoded as UTF-8 (no lone surrogates)."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

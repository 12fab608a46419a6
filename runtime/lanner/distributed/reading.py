"""Reading a fragment: record batches of its good rows, and its bad rows."""

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from lanner.distributed.fragments import Fragment, content_of
from lanner.distributed.storage import filesystem
from lanner.errors import InputError
from lanner.files.lines import CsvRows, JsonlRows, LineRows, TxtRows
from lanner.files.parquet_footer import read_footer
from lanner.files.rows import BadRow, Columns, require_columns
from lanner.models.base import TEXTS_AT_ONCE

_ROWS: dict[str, type[CsvRows | JsonlRows | TxtRows]] = {
    ".txt": TxtRows,
    ".csv": CsvRows,
    ".jsonl": JsonlRows,
}


class Bad(NamedTuple):
    """A bad row.

    Attributes:
        row: Its number, from 1: in the file, or in the fragment of a .jsonl or .txt file that is
            cut into several.
        reason: The fault and its place.
    """

    row: int
    reason: str


class Part(NamedTuple):
    """Some rows of a fragment.

    Attributes:
        batch: The good rows, with the kept columns and the texts.
        bad: The bad ones.
    """

    batch: Any
    bad: list[Bad]


def parts_of(fragment: Fragment, columns: Columns) -> Iterator[Part]:
    """Yield the rows of a fragment.

    Args:
        fragment: The fragment.
        columns: The columns that each row must have. Those of a .csv file are text; those of a
            .jsonl file too, as JSON unless they are strings.

    Raises:
        InputError: The file is missing or damaged, lacks a column, or has changed.
    """
    with ExitStack() as opened:
        files, path = filesystem(fragment.file)
        try:
            is_same = content_of(files.info(path)) == fragment.content
            file = opened.enter_context(files.open(path, "rb"))
        except FileNotFoundError:
            is_same = False
        if not is_same:
            msg = f"{fragment.file} has changed since the run began: start it again"
            raise InputError(msg)
        if fragment.suffix == ".parquet":
            yield from _of_parquet(file, fragment, columns)
        else:
            yield from _of_lines(_rows(file, fragment, columns), columns)


def _rows(file: Any, fragment: Fragment, columns: Columns) -> LineRows:
    """Return the rows of a file of lines that begin within a fragment."""
    end = int(fragment.content.partition(" ")[0])
    start = fragment.start
    name = fragment.file
    if start:
        file.seek(start - 1)
        # The line that begins before the fragment belongs to the one before.
        start += _bytes_to_line_end(file) - 1
        name = f"{name} behind byte {start:,}"
    if fragment.end < end:
        file.seek(fragment.end - 1)
        end = fragment.end - 1 + _bytes_to_line_end(file)
    file.seek(min(start, end))
    text = io.TextIOWrapper(
        io.BufferedReader(_Range(file, max(0, end - start)), 2**20),
        encoding="utf-8" if start else "utf-8-sig",
        errors="surrogateescape",
        newline="",
    )
    return _ROWS[fragment.suffix](text, name, columns)


def _bytes_to_line_end(file: Any) -> int:
    """Return the number of bytes up to the end of the line, which are read in pieces."""
    count = 0
    while piece := file.read(2**16):
        at = piece.find(b"\n")
        if at >= 0:
            return int(count + at + 1)
        count += len(piece)
    return count


class _Range(io.RawIOBase):
    """The next bytes of a file, up to a number of them."""

    def __init__(self, file: Any, count: int) -> None:
        self._file, self._left = file, count

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._file.read(min(len(buffer), self._left))
        buffer[: len(piece)] = piece
        self._left -= len(piece)
        return len(piece)


def _of_lines(rows: LineRows, columns: Columns) -> Iterator[Part]:
    good: list[Any] = []
    bad: list[Bad] = []
    for number, row in enumerate(rows, 1):
        if isinstance(row, BadRow):
            bad.append(Bad(number, row.message))
        else:
            good.append(row.values)
        if len(good) + len(bad) == TEXTS_AT_ONCE:
            yield Part(_batch(good, rows, columns), bad)
            good, bad = [], []
    yield Part(_batch(good, rows, columns), bad)


def _batch(good: Sequence[Any], rows: LineRows, columns: Columns) -> Any:
    texts = set(columns.texts)
    arrays = [
        pa.array(
            [one[name] if name in texts else _as_text(rows, one[name]) for one in good],
            pa.string(),
        )
        for name in columns.names
    ]
    return pa.record_batch(arrays, names=list(columns.names))


def _as_text(rows: LineRows, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(rows.json_value(value), ensure_ascii=False)


def _of_parquet(file: Any, fragment: Fragment, columns: Columns) -> Iterator[Part]:
    groups = range(fragment.start, fragment.end)
    read_footer(file, fragment.file, columns.names, groups)
    try:
        found = pq.ParquetFile(file, buffer_size=2**20)
        names = found.schema_arrow.names
        require_columns(fragment.file, columns.names, names, where="its schema")
        row = fragment.first_row
        yield Part(_empty(found.schema_arrow, columns), [])  # a fragment may have no rows
        # A thread of Arrow that drops a Python file while the interpreter ends aborts the process.
        batches = found.iter_batches(
            batch_size=TEXTS_AT_ONCE,
            row_groups=groups,
            columns=list(columns.names),
            use_threads=False,
        )
        for batch in batches:
            yield _checked(batch.select(list(columns.names)), row, fragment.file, columns)
            row += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        msg = f"{fragment.file} is damaged: {str(error).strip().partition(chr(10))[0]}"
        raise InputError(msg) from None


def _empty(schema: Any, columns: Columns) -> Any:
    fields = [schema.field(name) for name in columns.names]
    plain = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in fields
    ]
    return pa.RecordBatch.from_pylist([], schema=pa.schema(plain))


def _checked(batch: Any, first_row: int, name: str, columns: Columns) -> Part:
    """Put the rows without a text, or without an id, apart."""
    bad: dict[int, str] = {}
    arrays = dict(zip(batch.schema.names, batch.columns, strict=True))
    for column, found in arrays.items():
        if pa.types.is_dictionary(found.type):
            arrays[column] = found.dictionary_decode()
    for column in columns.texts:
        values, reasons = _strings(arrays[column], column, name)
        arrays[column] = values
        bad = {**reasons, **bad}
    for column in columns.ids:
        nulls = arrays[column].is_null().to_numpy(zero_copy_only=False).nonzero()[0]
        bad = {**{int(row): f"no value in the column {column!r}" for row in nulls}, **bad}
    whole = pa.record_batch(list(arrays.values()), names=list(arrays))
    if bad:
        good = [row for row in range(batch.num_rows) if row not in bad]
        whole = whole.take(pa.array(good, pa.int64()))
    faults = [
        Bad(number, f"{name}, row {number}: {bad[number - first_row - 1]}")
        for number in (first_row + row + 1 for row in sorted(bad))
    ]
    return Part(whole, faults)


def _strings(column: Any, name: str, file: str) -> tuple[Any, dict[int, str]]:
    """Return a column of texts, with the reasons why rows have none."""
    types = pa.types
    found = column.type
    if not (types.is_string(found) or types.is_large_string(found) or types.is_string_view(found)):
        msg = f"the column {name!r} of {file} is {found}, not text: name another"
        raise InputError(msg)
    reasons: dict[int, str] = {}
    if column.null_count:
        nulls = column.is_null().to_numpy(zero_copy_only=False).nonzero()[0]
        reasons = {int(row): f"no text in the column {name!r}, but null" for row in nulls}
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        texts: list[str | None] = []
        for row, value in enumerate(column):
            try:
                texts.append(value.as_py())
            except UnicodeDecodeError:
                texts.append(None)
                reasons[row] = f"not UTF-8 in the column {name!r}"
        column = pa.array(texts, pa.string())
    return column, reasons

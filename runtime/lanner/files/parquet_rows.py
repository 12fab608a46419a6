"""Rows of a .parquet file of any size."""

import os
from collections.abc import Iterator
from hashlib import sha256
from itertools import islice
from typing import Any, BinaryIO

from lanner.errors import InputError, MissingExtraError
from lanner.files.parquet_footer import Footer, read_footer
from lanner.files.rows import BadRow, Columns, Row, Rows, require_columns

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    what = "reading .parquet files"
    raise MissingExtraError(what, "parquet", "pyarrow") from error

_ROWS_AT_ONCE = 1_024
#: The buffer of a column; without it the columns of a row group are read as a whole.
_BUFFER_BYTES = 2**20


class ParquetRows(Rows):
    """Rows of a .parquet file; `position` is in rows.

    Values of kept columns are arrays of length 1, so that every type is preserved.

    Raises:
        InputError: It is not a .parquet file, lacks a column, or has one of an unusable type.
    """

    def __init__(self, file: BinaryIO, name: str, columns: Columns) -> None:
        super().__init__(name, columns)
        status = os.fstat(file.fileno())
        # A resumed run must not read all earlier rows again, so the file is identified as a whole.
        self._identity = f"{status.st_size} {status.st_mtime_ns}"
        footer = read_footer(file, name, columns.names)
        try:
            self._file = _opened(file, footer)
            schema = self._file.schema_arrow
            names = schema.names
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            msg = f"{name} is not a .parquet file, or is damaged: {_first_line(error)}"
            raise InputError(msg) from None
        require_columns(name, columns.names, names, where="its schema")
        for column in columns.texts:
            _require_text(name, column, _plain(schema.field(column).type))
        self.types = {column: _plain(schema.field(column).type) for column in columns.kept}
        for column, found in self.types.items():
            if "dictionary<" in str(found):
                msg = f"the column {column!r} of {name} is {found}, which cannot be kept"
                raise InputError(msg)
        self._rows_of_groups = footer.rows
        self.total = sum(footer.rows)
        self._position = 0
        self._items = self._raw(0)

    def __next__(self) -> Row | BadRow:
        """Return the next row; see `Rows`."""
        values = next(self._items)
        self._position += 1
        return self._row(dict(zip(self.columns.names, values, strict=True)))

    def skip(self, count: int) -> int:
        """Skip rows without reading whole row groups; call it before reading any row."""
        group = start = 0
        for rows in self._rows_of_groups:
            if start + rows > count:
                break
            start += rows
            group += 1
        self._items = self._raw(group)
        self._position = start + sum(1 for _ in islice(self._items, count - start))
        return self._position

    @property
    def position(self) -> int:
        """Return the number of rows that were read."""
        return self._position

    def digest(self) -> str:
        """Return the SHA-256 of the size and the modification time of the file."""
        return sha256(self._identity.encode()).hexdigest()

    def json_value(self, value: Any) -> Any:
        """Return the JSON value; dates, times and decimals become text."""
        if _is_text_in_json(value.type):
            value = value.cast(pa.string())
        return value[0].as_py()

    def _raw(self, first_group: int) -> Iterator[tuple[Any, ...]]:
        names = list(self.columns.names)
        if first_group == len(self._rows_of_groups):
            return  # older releases of pyarrow fail on an empty list
        # A thread of Arrow that drops a Python file while the interpreter ends aborts the process.
        batches = self._file.iter_batches(
            batch_size=_ROWS_AT_ONCE,
            row_groups=range(first_group, len(self._rows_of_groups)),
            columns=names,
            use_threads=False,
        )
        done = sum(self._rows_of_groups[:first_group])
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError) as error:
                msg = f"{self.name} is damaged behind row {done}: {_first_line(error)}"
                raise InputError(msg) from None
            if batch is None:
                if done != self.total:
                    msg = f"{self.name} is damaged: it has {done} rows, where it says {self.total}"
                    raise InputError(msg)
                return
            done += batch.num_rows
            columns = [batch.column(name) for name in names]
            for row in range(batch.num_rows):
                # Decoded row by row: all rows may have one value of the dictionary, a long one.
                yield tuple(_decoded(column.slice(row, 1)) for column in columns)

    def _row(self, values: dict[str, Any]) -> Row | BadRow:
        place = f"{self.name}, row {self._position}"
        for column in self.columns.ids:
            if values[column].null_count:
                return BadRow(f"{place}: no value in the column {column!r}", 0)
        size = sum(map(_bytes, values.values()))
        for column in self.columns.texts:
            try:
                text = values[column][0].as_py()
            except UnicodeDecodeError:
                return BadRow(f"{place}: not UTF-8 in the column {column!r}", size)
            if text is None:
                return BadRow(f"{place}: no text in the column {column!r}, but null", size)
            values[column] = text
        return Row(place, values, size)

    def json_problem(self) -> str:
        """Return the fault of a kept column; see `Rows.json_problem`."""
        for column, found in self.types.items():
            if not (_is_json(found) or _is_text_in_json(found)):
                return f"the column {column!r} of {self.name} is {found}, which JSON does not have"
        return ""


def _opened(file: BinaryIO, footer: Footer) -> Any:
    """Open a file, so that texts of a dictionary are not repeated in memory for each row."""
    found = pq.ParquetFile(file, buffer_size=_BUFFER_BYTES)
    repeated = {chunk.column for chunk in footer.chunks if chunk.has_dictionary}
    texts = [one for one in repeated if pa.types.is_string(found.schema_arrow.field(one).type)]
    if not texts:
        return found
    return pq.ParquetFile(
        file, metadata=found.metadata, buffer_size=_BUFFER_BYTES, read_dictionary=sorted(texts)
    )


def _require_text(name: str, column: str, found: Any) -> None:
    if not _is_text(found):
        msg = f"the column {column!r} of {name} is {found}, not text: name another"
        raise InputError(msg)


def _plain(found: Any) -> Any:
    """Return the type without a dictionary, which would differ from batch to batch."""
    return found.value_type if pa.types.is_dictionary(found) else found


def _decoded(column: Any) -> Any:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _is_text(found: Any) -> bool:
    types = pa.types
    return bool(
        types.is_string(found) or types.is_large_string(found) or types.is_string_view(found)
    )


def _is_text_in_json(found: Any) -> bool:
    return bool(pa.types.is_temporal(found) or pa.types.is_decimal(found))


def _is_json(found: Any) -> bool:
    types = pa.types
    if types.is_struct(found):
        return all(_is_json(field.type) for field in found)
    if types.is_list(found) or types.is_large_list(found) or types.is_fixed_size_list(found):
        return _is_json(found.value_type)
    is_number = types.is_integer(found) or types.is_float32(found) or types.is_float64(found)
    return bool(is_number or types.is_null(found) or types.is_boolean(found) or _is_text(found))


def _bytes(value: Any) -> int:
    """Return the size of a text or of bytes, which does not depend on the batch."""
    if not (_is_text(value.type) or pa.types.is_binary(value.type)) or value.null_count:
        return 0
    return int(value[0].as_buffer().size)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]

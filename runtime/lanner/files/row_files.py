"""Opening files of rows by their kind: .txt, .csv, .jsonl and .parquet."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lanner.errors import InputError
from lanner.files.lines import (
    STANDARD_INPUT,
    CsvRows,
    JsonlRows,
    LineRows,
    TxtRows,
    open_file,
    open_text,
)
from lanner.files.rows import Columns, Rows

TEXT_SUFFIXES = (".txt", ".csv", ".jsonl", ".parquet")
COLUMN_SUFFIXES = (".csv", ".jsonl", ".parquet")


@contextmanager
def open_rows(path: Path | str, columns: Columns, *, kind: str | None = None) -> Iterator[Rows]:
    """Open a file of rows, which are read on demand.

    Args:
        path: A file; ``"-"`` for standard input, by default in lines.
        columns: The columns that each row must have; a .txt file has one, its text.
        kind: One of `TEXT_SUFFIXES`, if the file name does not end in it.

    Raises:
        InputError: The file is missing, of another kind, or lacks a column; the message names it.
    """
    suffix = kind or (".txt" if str(path) == "-" else Path(path).suffix.lower())
    suffixes: Sequence[str] = TEXT_SUFFIXES if columns.is_one_text else COLUMN_SUFFIXES
    if str(path) == "-":
        suffixes = [known for known in suffixes if known != ".parquet"]  # it needs seeking
    require_suffix(path, suffix, suffixes)
    if suffix == ".parquet":
        from lanner.files.parquet_rows import ParquetRows  # noqa: PLC0415 (an extra)

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


def require_suffix(path: Path | str, suffix: str, suffixes: Sequence[str]) -> None:
    """Check the kind of a file.

    Raises:
        InputError: The suffix is not one of `suffixes`.
    """
    if suffix not in suffixes:
        name = STANDARD_INPUT if str(path) == "-" else path
        msg = f"{name} has an unsupported format: use {', '.join(suffixes)}"
        raise InputError(msg)

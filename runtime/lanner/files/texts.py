"""Reading whole files of texts and of labelled pairs."""

import math
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from lanner.errors import InputError
from lanner.files.lines import Damage, csv_items, is_unicode, open_text
from lanner.files.row_files import open_rows, require_suffix
from lanner.files.rows import BadRow, Columns, Row

RECORD_SUFFIXES = (".csv", ".jsonl")
PAIRS_HEADER = ("sentence1", "sentence2", "score")


class Record(NamedTuple):
    """A row of a .csv or a line of a .jsonl file.

    Attributes:
        place: The file and line that it ends in, for messages.
        values: The values by column or key; strings for a .csv.
    """

    place: str
    values: dict[str, Any]


class LabelledPairs(NamedTuple):
    """Pairs of texts with a gold similarity each, as in the STS benchmark."""

    left: list[str]
    right: list[str]
    scores: list[float]


def read_texts(path: Path | str, *, column: str = "text") -> list[str]:
    """Read the texts of a file, in order.

    Args:
        path: ``.txt`` (one text per line), ``.csv`` (with a header), ``.jsonl`` (one object or
            string per line) or ``.parquet``; ``"-"`` for lines of standard input.
        column: Column or key with the text; ``.txt`` needs none.

    Raises:
        InputError: The file is missing, of another kind, or has a bad row; the message names it.
    """
    return [row.values[column] for row in _rows(path, Columns([column]))]


def read_pairs(
    path: Path | str, *, columns: tuple[str, str] = ("text", "text_pair")
) -> list[tuple[str, str]]:
    """Read the pairs of texts of a file, in order.

    Args:
        path: ``.csv`` with a header, ``.jsonl`` with one object per line, or ``.parquet``.
        columns: Columns or keys with the two texts.

    Raises:
        InputError: The file is missing, of another kind, or has a bad row; the message names it.
    """
    left, right = columns
    return [(row.values[left], row.values[right]) for row in _rows(path, Columns(columns))]


def read_records(path: Path | str, *, columns: Sequence[str]) -> list[Record]:
    """Read the rows of a file with named columns, in order.

    Args:
        path: ``.csv`` with a header, or ``.jsonl`` with one object per line.
        columns: Columns or keys that every row must have.

    Raises:
        InputError: The file is missing, of another kind, or has a bad line; the message names it.
    """
    require_suffix(path, Path(path).suffix.lower(), RECORD_SUFFIXES)
    return [
        Record(row.place, dict(row.values)) for row in _rows(path, Columns(kept=tuple(columns)))
    ]


def read_first_row(path: Path | str) -> list[str]:
    """Read the first row of a .csv file, perhaps its header; an empty list for an empty file.

    Raises:
        InputError: The file is missing, or is not CSV.
    """
    return next((row for _, row in _csv_rows(path) if row), [])


def shipped_sentences() -> list[str]:
    """Return the sentences shipped with Lanner: several kinds, several languages."""
    file = resources.files("lanner") / "data" / "sentences.txt"
    return file.read_text(encoding="utf-8").splitlines()


def read_labelled_pairs(path: Path | str) -> LabelledPairs:
    """Read labelled pairs from a CSV file ``sentence1,sentence2,score``, with or without a header.

    Raises:
        InputError: The file is missing, empty, or has a bad row; the message names its line.
    """
    pairs = LabelledPairs([], [], [])
    for line, row in _csv_rows(path):
        if not row or (line == 1 and tuple(row) == PAIRS_HEADER):
            continue
        try:
            left, right, score = row
            pairs.scores.append(_finite(score))
        except ValueError:
            msg = (
                f"{path}, line {line}: expected sentence1,sentence2,score "
                f"with a number last, found {len(row)} columns: {','.join(row)[:80]!r}"
            )
            raise InputError(msg) from None
        pairs.left.append(left)
        pairs.right.append(right)
    if not pairs.scores:
        msg = f"{path} holds no pairs: expected rows of sentence1,sentence2,score"
        raise InputError(msg)
    return pairs


def _rows(path: Path | str, columns: Columns) -> Iterator[Row]:
    """Yield rows; the first bad row is an error."""
    with open_rows(path, columns) as rows:
        for row in rows:
            if isinstance(row, BadRow):
                raise InputError(row.message)
            yield row


def _csv_rows(path: Path | str) -> Iterator[tuple[int, list[str]]]:
    """Yield rows, the first included, each with the line that it ends in."""
    with open_text(path) as (name, file):
        for line, row in csv_items(iter(file)):
            if isinstance(row, Damage):
                msg = f"{name}, from line {row.first_line} on: not valid CSV ({row.reason})"
                raise InputError(msg)
            if not all(map(is_unicode, row)):
                msg = f"{name}, line {line}: not UTF-8: convert the file, for example with iconv"
                raise InputError(msg)
            yield line, row


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value

"""Files of texts and of labelled pairs: .txt, .csv and .jsonl, UTF-8."""

import csv
import json
import math
import sys
from collections.abc import Iterator, Sequence
from importlib import resources
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from lanner.errors import InputError

TEXT_SUFFIXES = (".txt", ".csv", ".jsonl")
PAIR_SUFFIXES = (".csv", ".jsonl")
PAIRS_HEADER = ("sentence1", "sentence2", "score")


class Record(NamedTuple):
    """A row of a .csv or a line of a .jsonl file.

    Attributes:
        place: The file and line that it ends in, for messages.
        values: What stands there, by column or key; of a .csv strings.
    """

    place: str
    values: dict[str, Any]


class LabelledPairs(NamedTuple):
    """Pairs of texts with a gold similarity each, as the STS benchmark has them."""

    left: list[str]
    right: list[str]
    scores: list[float]


def read_texts(path: Path | str, *, column: str = "text") -> list[str]:
    """The texts of a file, in order.

    Args:
        path: ``.txt`` (a text a line), ``.csv`` (with a header) or ``.jsonl`` (an object or a
            string a line); ``"-"`` for lines of standard input.
        column: Column or key that holds the text in ``.csv`` and ``.jsonl``.

    Raises:
        InputError: The file is missing, of another kind, or has a bad line; the message names it.
    """
    if str(path) == "-":
        return _lines(StringIO(_decoded(sys.stdin.buffer.read(), "standard input"), newline=""))
    path = Path(path)
    suffix = _require_suffix(path, TEXT_SUFFIXES)
    with _open(path) as file:
        if suffix == ".txt":
            return _lines(file)
        if suffix == ".csv":
            return [text for (text,) in _csv_columns(path, file, [column])]
        return [_jsonl_text(path, number, line, column) for number, line in _numbered(file)]


def read_pairs(
    path: Path | str, *, columns: tuple[str, str] = ("text", "text_pair")
) -> list[tuple[str, str]]:
    """The pairs of texts of a file, in order.

    Args:
        path: ``.csv`` with a header, or ``.jsonl`` with an object a line.
        columns: Columns or keys that hold the two texts.

    Raises:
        InputError: The file is missing, of another kind, or has a bad line; the message names it.
    """
    path = Path(path)
    suffix = _require_suffix(path, PAIR_SUFFIXES)
    with _open(path) as file:
        if suffix == ".csv":
            return [(left, right) for left, right in _csv_columns(path, file, columns)]
        return [
            (
                _jsonl_text(path, number, line, columns[0], is_pair=True),
                _jsonl_text(path, number, line, columns[1], is_pair=True),
            )
            for number, line in _numbered(file)
        ]


def read_records(path: Path | str, *, columns: Sequence[str]) -> list[Record]:
    """The rows of a file with named columns, in order.

    Args:
        path: ``.csv`` with a header, or ``.jsonl`` with an object a line.
        columns: Columns or keys that every row must have, among others.

    Raises:
        InputError: The file is missing, of another kind, or has a bad line; the message names it.
    """
    path = Path(path)
    suffix = _require_suffix(path, PAIR_SUFFIXES)
    with _open(path) as file:
        if suffix == ".csv":
            return list(_csv_records(path, file, columns))
        return [_jsonl_record(path, number, line, columns) for number, line in _numbered(file)]


def read_first_row(path: Path | str) -> list[str]:
    """The first row of a .csv file: its header, if it has one; nothing of an empty file.

    Raises:
        InputError: The file is missing, or no CSV.
    """
    path = Path(path)
    with _open(path) as file:
        return next((row for _, row in _csv_rows(path, csv.reader(file, strict=True)) if row), [])


def shipped_sentences() -> list[str]:
    """The sentences that come with Lanner: several kinds, some languages."""
    file = resources.files("lanner") / "data" / "sentences.txt"
    return file.read_text(encoding="utf-8").splitlines()


def read_labelled_pairs(path: Path | str) -> LabelledPairs:
    """Labelled pairs from a CSV file ``sentence1,sentence2,score``, with or without a header.

    Raises:
        InputError: The file is missing, empty, or has a bad row; the message names its line.
    """
    path = Path(path)
    pairs = LabelledPairs([], [], [])
    with _open(path) as file:
        for line, row in _csv_rows(path, csv.reader(file, strict=True)):
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


def _open(path: Path) -> TextIO:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        msg = f"there is no file {path}: check the path"
        raise InputError(msg) from None
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
        raise InputError(msg) from None
    return StringIO(_decoded(raw, str(path)), newline="")


def _lines(file: TextIO) -> list[str]:
    return [line.rstrip("\r\n") for line in file]


def _decoded(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"{where} is not UTF-8 (byte {error.start}): convert it, for example with iconv"
        raise InputError(msg) from None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _csv_rows(path: Path, reader: Any) -> Iterator[tuple[int, Any]]:
    """Rows with the line that each ends in; the module's own errors get their place."""
    csv.field_size_limit(sys.maxsize)  # its 128 kB would refuse long texts
    last = reader.line_num
    try:
        for row in reader:
            last = reader.line_num
            yield last, row
    except csv.Error as error:
        msg = f"{path}, from line {last + 1} on: not valid CSV ({error})"
        raise InputError(msg) from None


def _numbered(file: TextIO) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(file, start=1) if line.strip())


def _csv_columns(path: Path, file: TextIO, columns: Sequence[str]) -> Iterator[list[str]]:
    for record in _csv_records(path, file, columns):
        yield [record.values[column] for column in columns]


def _csv_records(path: Path, file: TextIO, columns: Sequence[str]) -> Iterator[Record]:
    reader = csv.DictReader(file, strict=True)
    csv.field_size_limit(sys.maxsize)
    try:
        names = reader.fieldnames or ()
    except csv.Error as error:
        msg = f"{path}, line 1: not valid CSV ({error})"
        raise InputError(msg) from None
    for column in columns:
        if column not in names:
            known = ", ".join(names) or "nothing"
            msg = f"{path} has no column {column!r} in its first line, which holds {known[:200]}"
            raise InputError(msg)
    for line, row in _csv_rows(path, reader):
        for column in columns:
            if row[column] is None:
                msg = f"{path}, line {line}: no value in the column {column!r}"
                raise InputError(msg)
        yield Record(f"{path}, line {line}", row)


def _jsonl_record(path: Path, number: int, line: str, columns: Sequence[str]) -> Record:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        values = None
    missing = [name for name in columns if not isinstance(values, dict) or name not in values]
    if missing or not isinstance(values, dict):
        wanted = " and ".join(map(repr, missing or columns)) or "keys"
        msg = f"{path}, line {number}: expected an object with {wanted}"
        raise InputError(msg)
    return Record(f"{path}, line {number}", values)


def _jsonl_text(path: Path, number: int, line: str, column: str, *, is_pair: bool = False) -> str:
    try:
        value = json.loads(line)
        text = value if isinstance(value, str) and not is_pair else value[column]
    except (ValueError, KeyError, TypeError, IndexError):
        text = None
    if not isinstance(text, str):
        what = "an object" if is_pair else "a JSON string or an object"
        msg = f"{path}, line {number}: expected {what} with {column!r} as text"
        raise InputError(msg)
    return text


def _require_suffix(path: Path, suffixes: Sequence[str]) -> str:
    suffix = path.suffix.lower()
    if suffix not in suffixes:
        msg = f"{path} is of a kind that cannot be read: use {', '.join(suffixes)}"
        raise InputError(msg)
    return suffix

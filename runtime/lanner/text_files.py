"""Files of texts and of labelled pairs: .txt, .csv and .jsonl, UTF-8."""

import csv
import json
import sys
from collections.abc import Iterator
from importlib import resources
from io import StringIO
from pathlib import Path
from typing import NamedTuple, TextIO

from lanner.errors import InputError

TEXT_SUFFIXES = (".txt", ".csv", ".jsonl")


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
        return [line.rstrip("\r\n") for line in sys.stdin]
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in TEXT_SUFFIXES:
        msg = f"{path} is of a kind that cannot be read: use {', '.join(TEXT_SUFFIXES)}"
        raise InputError(msg)
    with _open(path) as file:
        if suffix == ".txt":
            return [line.rstrip("\r\n") for line in file]
        if suffix == ".csv":
            return list(_csv_column(path, file, column))
        return [_jsonl_text(path, number, line, column) for number, line in _numbered(file)]


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
        reader = csv.reader(file)
        for row in reader:
            if not row:
                continue
            try:
                left, right, score = row
                pairs.scores.append(float(score))
            except ValueError:
                if not pairs.scores and reader.line_num == 1 and len(row) == 3:
                    continue  # a header
                msg = (
                    f"{path}, line {reader.line_num}: expected sentence1,sentence2,score "
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
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        msg = f"there is no file {path}: check the path"
        raise InputError(msg) from None
    except UnicodeDecodeError as error:
        msg = f"{path} is not UTF-8 (byte {error.start}): convert it, for example with iconv"
        raise InputError(msg) from None
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
        raise InputError(msg) from None
    return StringIO(text, newline="")


def _numbered(file: TextIO) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(file, start=1) if line.strip())


def _csv_column(path: Path, file: TextIO, column: str) -> Iterator[str]:
    reader = csv.DictReader(file)
    if column not in (reader.fieldnames or ()):
        msg = f"{path} has no column {column!r} in its header: name one of it with --column"
        raise InputError(msg)
    for row in reader:
        if row[column] is None:
            msg = f"{path}, line {reader.line_num}: no value in the column {column!r}"
            raise InputError(msg)
        yield row[column]


def _jsonl_text(path: Path, number: int, line: str, column: str) -> str:
    try:
        value = json.loads(line)
        text = value if isinstance(value, str) else value[column]
    except (ValueError, KeyError, TypeError, IndexError):
        text = None
    if not isinstance(text, str):
        msg = f"{path}, line {number}: expected a JSON string or an object with {column!r} as text"
        raise InputError(msg)
    return text

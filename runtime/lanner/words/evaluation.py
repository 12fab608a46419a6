"""The usual evaluations of word vectors: similarities that people gave, and analogies.

Both are those of gensim's `evaluate_word_pairs` and `evaluate_word_analogies`, with its defaults:
the 300,000 first words, upper and lower case are the same, and rows with other words are left out
and counted.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lanner.errors import InputError
from lanner.models.answers import ranks
from lanner.words.table import WordTable, unit

#: The number of words that gensim evaluates by default.
RESTRICT = 300_000
_BLOCK_QUESTIONS = 256
#: The candidates of gensim, of which the first that is none of the question's words counts.
_CANDIDATES = 5
_WORDS_OF_QUESTION = 4


class PairsResult(NamedTuple):
    """The agreement with similarities that people gave.

    Attributes:
        spearman: Spearman's rank correlation.
        pearson: Pearson's correlation.
        pairs: The number of pairs with two known words.
        unknown: The number of pairs with another word, which are left out.
    """

    spearman: float
    pearson: float
    pairs: int
    unknown: int


@dataclass
class Section:
    """The answers to one section of analogies."""

    name: str
    correct: int = 0
    questions: int = 0
    unknown: int = 0


@dataclass
class AnalogiesResult:
    """The answers to analogies.

    Attributes:
        sections: The sections in the order of the file.
    """

    sections: list[Section] = field(default_factory=list)

    @property
    def total(self) -> Section:
        """Return the sum of all sections."""
        counts = [(one.correct, one.questions, one.unknown) for one in self.sections]
        return Section("total", *(sum(column) for column in zip(*counts, strict=True)))


def is_analogies(path: Path) -> bool:
    """Return True if a file has the format of analogies: a section is its first line.

    Raises:
        InputError: The file cannot be read.
    """
    first = next(iter(_lines(path)), (0, ""))[1]
    return first.startswith(":")


def evaluate_pairs(table: WordTable, path: Path) -> PairsResult:
    """Compare the cosines of pairs of words with the similarities in a file.

    Args:
        table: The words, restricted to `RESTRICT`.
        path: Two words and a number a line, separated by tabs or, in a .csv, by commas. Lines that
            begin with "#" and a header are skipped.

    Raises:
        InputError: The file cannot be read, has a bad line, or no pair of known words.
    """
    rows = _rows_by_upper_case(table)
    gold, cosines, unknown = [], [], 0
    for left, right, score in _pairs(path):
        a, b = (rows.get(word.upper()) for word in (left, right))
        if a is None or b is None:
            unknown += 1
            continue
        gold.append(score)
        cosines.append(float(table.vectors[a] @ table.vectors[b]))
    if len(gold) < 2:
        msg = f"{path} has {len(gold)} pairs of words of the table, and two are needed at least"
        raise InputError(msg)
    found, given = np.array(cosines), np.array(gold)
    return PairsResult(
        spearman=_correlation(ranks(found), ranks(given)),
        pearson=_correlation(found, given),
        pairs=len(gold),
        unknown=unknown,
    )


def evaluate_analogies(table: WordTable, path: Path) -> AnalogiesResult:
    """Ask for the fourth word of analogies: b - a + c, nearest by the cosine (3CosAdd).

    Args:
        table: The words, restricted to `RESTRICT`.
        path: Lines of four words, in sections that begin with a line ``: NAME``.

    Raises:
        InputError: The file cannot be read, has a bad line, or no question of known words.
    """
    rows = _rows_by_upper_case(table)
    result = AnalogiesResult()
    waiting: list[tuple[Section, list[int], str]] = []

    def answer() -> None:
        if not waiting:
            return
        asked = np.array([ids for _, ids, _ in waiting])
        a, b, c = (table.vectors[asked[:, place]] for place in range(3))
        given = [set(ids[:3]) for _, ids, _ in waiting]
        found = table.nearest(unit(b - a + c), _CANDIDATES + 3)
        for (section, ids, expected), near, left_out in zip(waiting, found, given, strict=True):
            words = [table.words[row].upper() for row, _ in near if row not in left_out]
            asked_for = {table.words[row].upper() for row in ids[:3]}
            guess = next((word for word in words[:_CANDIDATES] if word not in asked_for), None)
            section.correct += guess == expected
        waiting.clear()

    for number, line in _lines(path):
        if line.startswith(":"):
            result.sections.append(Section(line.lstrip(": ").strip()))
            continue
        words = line.upper().split()
        if not result.sections or len(words) != _WORDS_OF_QUESTION:
            msg = (
                f"line {number} of {path} is not four words behind a section (': NAME'): repair "
                "or remove it"
            )
            raise InputError(msg)
        section = result.sections[-1]
        ids = [rows.get(word) for word in words]
        if None in ids:
            section.unknown += 1
            continue
        section.questions += 1
        waiting.append((section, [one for one in ids if one is not None], words[-1]))
        if len(waiting) == _BLOCK_QUESTIONS:
            answer()
    answer()
    if not result.sections or not result.total.questions:
        msg = f"{path} has no analogy of four words of the table"
        raise InputError(msg)
    return result


def _rows_by_upper_case(table: WordTable) -> dict[str, int]:
    """Return the row of each word in upper case; of words that differ in case, the first counts."""
    return {word.upper(): row for row, word in reversed(list(enumerate(table.words)))}


def _pairs(path: Path) -> Iterator[tuple[str, str, float]]:
    for number, line in _lines(path):
        if line.startswith("#"):
            continue
        delimiter = "\t" if "\t" in line else ","
        fields = next(csv.reader([line], delimiter=delimiter), [])
        try:
            left, right, score = fields[0].strip(), fields[1].strip(), float(fields[2])
        except (IndexError, ValueError):
            if number == 1:  # a header
                continue
            msg = f"line {number} of {path} is not two words and a number: repair or remove it"
            raise InputError(msg) from None
        yield left, right, score


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number and text of each line that is not blank."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read as lines of UTF-8 ({error}): check the file"
        raise InputError(msg) from None


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return Pearson's correlation; 0 if one side does not vary."""
    left, right = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((left @ left) * (right @ right)))
    return float(left @ right) / scale if scale else 0.0

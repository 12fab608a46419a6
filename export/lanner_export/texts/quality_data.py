"""Labelled data for measuring quality: the format of its files, by head."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.heads import HEADS, InputKind
from lanner.errors import InputError, UnsupportedError
from lanner.files.texts import (
    PAIRS_HEADER,
    LabelledPairs,
    Record,
    read_first_row,
    read_labelled_pairs,
    read_records,
)
from lanner.text.entities import parse_tags
from lanner.text.tokenization import Pair

#: The label of tokens outside of entities.
OUTSIDE = "O"
#: The separator of a text's labels in a .csv file; a .jsonl file has a list.
_LABEL_SEPARATOR = "|"
_EXPECTED = (
    "the columns sentence1,sentence2,score (heads embed and score), text,label (classify) or "
    "text,entities (tag)"
)
#: Messages name up to this many labels, and count more.
_MOST_LABELS = 10


class Span(NamedTuple):
    """An entity: its label, and its start and end in characters."""

    label: str
    start: int
    end: int


@dataclass(frozen=True)
class LabelledTexts:
    """Texts or pairs with the label, the labels or the number of each.

    Attributes:
        inputs: The texts or pairs.
        records: The row of the file for each.
    """

    inputs: list[str | Pair]
    records: list[Record]

    def holding(self, names: Sequence[str], *, is_many: bool) -> NDArray[np.bool_]:
        """Return the labels that hold for each text, [n, labels].

        Args:
            names: The labels of a checkpoint, in the order of its logits. The file gives a label
                by its name or its number.
            is_many: True if any number of labels may hold at once, False for exactly one.

        Raises:
            InputError: The checkpoint has no such label.
        """
        holds = np.zeros((len(self.records), len(names)), dtype=bool)
        for row, record in enumerate(self.records):
            value = record.values["label"]
            for part in _parts(value, names) if is_many else [value]:
                holds[row, _index(part, names, record)] = True
        return holds

    def numbers(self) -> list[float]:
        """Return the number of each text.

        Raises:
            InputError: A value is not a finite number.
        """
        return [_number(record, "label") for record in self.records]


@dataclass(frozen=True)
class TaggedTexts:
    """Texts with the entities of each.

    Attributes:
        inputs: The texts.
        entities: The entities of each.
        records: The row of the file for each.
    """

    inputs: list[str]
    entities: list[frozenset[Span]]
    records: list[Record]

    def require_kinds(self, labels: Sequence[str]) -> None:
        """Check that a checkpoint knows all kinds of entities.

        Args:
            labels: The labels of its tokens, ``B-PER`` for example.

        Raises:
            InputError: A kind is unknown.
        """
        known = sorted({tag.kind for tag in parse_tags(labels)} - {OUTSIDE})
        for entities, record in zip(self.entities, self.records, strict=True):
            unknown = sorted({span.label for span in entities} - set(known))
            if unknown:
                raise InputError(_no_such_label(record, unknown[0], known))


@dataclass(frozen=True)
class QualityData:
    """Labelled data with its name on the quality card."""

    name: str
    labelled: LabelledPairs | LabelledTexts | TaggedTexts

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file of one of three kinds, which its columns tell.

        - ``sentence1,sentence2,score`` (.csv, with or without a header): pairs of texts.
        - ``text``, perhaps ``text_pair``, and ``label`` (.csv, .jsonl): texts or pairs with a
          label by its name or number, several (a list, or in .csv separated by "|"), or the number
          that a regression should answer.
        - ``text`` and ``entities``, each with ``label``, ``start`` and ``end`` in characters
          (.jsonl).

        Raises:
            InputError: The file is missing or empty, lacks a column or has a bad line, or nothing
                can be measured on it.
        """
        return cls(path.name, _read(path))

    def inputs(self, head: str) -> list[str | Pair]:
        """Return the inputs for a head: each text once, or each row for `score` and `classify`.

        Args:
            head: One that the data fit (`require_measurable`).
        """
        labelled = self.labelled
        if not isinstance(labelled, LabelledPairs):
            return list(labelled.inputs)
        if HEADS[head].inputs is InputKind.PAIRS:
            return list(zip(labelled.left, labelled.right, strict=True))
        return list(dict.fromkeys(labelled.left + labelled.right))

    def require_measurable(self, head: str, labels: Sequence[str], activation: str) -> None:
        """Check that the data can measure a checkpoint.

        Args:
            head: The head of the checkpoint.
            labels: The labels of its logits.
            activation: The activation; "identity" means a regression.

        Raises:
            UnsupportedError: The data are for another head, or the checkpoint returns several
                numbers per text.
            InputError: A label is unknown to the checkpoint, or not a number for a regression, or
                all numbers are equal.
        """
        what, columns = _PURPOSES[type(self.labelled)]
        if HEADS[head].labelled_columns != columns:
            msg = (
                f"{self.name} holds {what}, and this checkpoint has the head {head!r}: "
                f"give one of {HEADS[head].labelled_columns}, or leave --quality-data out"
            )
            raise UnsupportedError(msg)
        if isinstance(self.labelled, TaggedTexts):
            self.labelled.require_kinds(labels)
        if not isinstance(self.labelled, LabelledTexts):
            return
        if activation != "identity":
            self.labelled.holding(labels, is_many=activation == "sigmoid")
        elif len(labels) > 1:
            msg = (
                f"this checkpoint answers {len(labels)} numbers for each text, and Lanner measures "
                "one: leave --quality-data out"
            )
            raise UnsupportedError(msg)
        elif len(set(self.labelled.numbers())) < 2:
            msg = f"{self.name} has no two differing numbers in 'label' to rank by: give others"
            raise InputError(msg)


#: Kind of data -> its content and its columns, which are those of the heads that it measures.
_PURPOSES: dict[type, tuple[str, str]] = {
    LabelledPairs: ("pairs with a score", "sentence1,sentence2,score"),
    LabelledTexts: ("texts with labels", "text,label"),
    TaggedTexts: ("texts with entities", "text,entities"),
}


def _read(path: Path) -> LabelledPairs | LabelledTexts | TaggedTexts:
    if path.suffix.lower() == ".csv":
        place, columns = f"{path}, line 1", read_first_row(path)
        if columns and _is_number(columns[-1]):  # pairs need no header
            return _with_ranks(path, read_labelled_pairs(path))
    else:
        records = read_records(path, columns=[])
        place, columns = f"{path}, line 1", []
        if records:
            place, columns = records[0].place, list(records[0].values)
    if not columns:
        msg = f"{path} is empty: expected {_EXPECTED}"
        raise InputError(msg)
    present = [len(set(kind) & set(columns)) for kind in _READERS]
    if present.count(max(present)) > 1:
        msg = f"{place}: expected {_EXPECTED}, found {', '.join(columns)[:200]}"
        raise InputError(msg)
    wanted = list(_READERS)[present.index(max(present))]
    records = read_records(path, columns=wanted)
    if not records:
        msg = f"{path} holds no rows, only the names of its columns"
        raise InputError(msg)
    return _READERS[wanted](path, records)


def _labelled_pairs(path: Path, records: Sequence[Record]) -> LabelledPairs:
    scores = [_number(record, "score") for record in records]
    left, right = ([_text(record, name) for record in records] for name in PAIRS_HEADER[:2])
    return _with_ranks(path, LabelledPairs(left, right, scores))


def _with_ranks(path: Path, pairs: LabelledPairs) -> LabelledPairs:
    if len(set(pairs.scores)) < 2:
        msg = f"{path} has no two differing scores, so Spearman's correlation has no meaning"
        raise InputError(msg)
    return pairs


def _labelled_texts(_: Path, records: Sequence[Record]) -> LabelledTexts:
    inputs: list[str | Pair] = []
    for record in records:
        text = _text(record, "text")
        is_pair = record.values.get("text_pair") is not None
        inputs.append((text, _text(record, "text_pair")) if is_pair else text)
    return LabelledTexts(inputs, list(records))


def _tagged_texts(path: Path, records: Sequence[Record]) -> TaggedTexts:
    entities = [_spans(record) for record in records]
    if not any(entities):
        msg = f"{path} holds no entity, so F1 has no meaning: give texts with some"
        raise InputError(msg)
    return TaggedTexts([_text(record, "text") for record in records], entities, list(records))


_Reader = Callable[[Path, Sequence[Record]], LabelledPairs | LabelledTexts | TaggedTexts]
#: Readers by the columns that a file must have.
_READERS: dict[tuple[str, ...], _Reader] = {
    PAIRS_HEADER: _labelled_pairs,
    ("text", "label"): _labelled_texts,
    ("text", "entities"): _tagged_texts,
}


def _spans(record: Record) -> frozenset[Span]:
    text, entities = _text(record, "text"), record.values["entities"]
    if not isinstance(entities, list):
        msg = f"{record.place}: expected a list of objects in 'entities'"
        raise InputError(msg)
    return frozenset(
        _span(entity, text, f"{record.place}: entity {number}")
        for number, entity in enumerate(entities, start=1)
    )


def _span(entity: Any, text: str, where: str) -> Span:
    found = entity if isinstance(entity, dict) else {}
    label, start, end = (found.get(key) for key in ("label", "start", "end"))
    if not isinstance(label, str) or type(start) is not int or type(end) is not int:
        msg = f"{where} is not an object with 'label' as text, 'start' and 'end' as whole numbers"
        raise InputError(msg)
    if not 0 <= start < end <= len(text):
        msg = f"{where} has the characters {start} to {end}, but its text has {len(text)}"
        raise InputError(msg)
    if found.get("text", text[start:end]) != text[start:end]:
        msg = (
            f"{where} says {found['text']!r}, but the characters {start} to {end} of its text are "
            f"{text[start:end]!r}: count characters from 0 on, not bytes"
        )
        raise InputError(msg)
    return Span(label, start, end)


def _text(record: Record, column: str) -> str:
    text = record.values[column]
    if not isinstance(text, str):
        msg = f"{record.place}: expected text in {column!r}, found {text!r:.80}"
        raise InputError(msg)
    try:
        text.encode()
    except UnicodeEncodeError:
        msg = f"{record.place}: {column!r} is not valid Unicode (it has half of a surrogate pair)"
        raise InputError(msg) from None
    return text


def _parts(value: Any, names: Sequence[str]) -> list[Any]:
    if isinstance(value, str) and value not in names:
        return [part.strip() for part in value.split(_LABEL_SEPARATOR) if part.strip()]
    return value if isinstance(value, list) else [value]


def _index(value: Any, names: Sequence[str], record: Record) -> int:
    if value in names:
        return names.index(value)
    is_numeral = isinstance(value, str) and value.isascii() and value.isdecimal()
    if (is_numeral or type(value) is int) and 0 <= int(value) < len(names):
        return int(value)
    raise InputError(_no_such_label(record, value, names))


def _number(record: Record, column: str) -> float:
    value = record.values[column]
    if not _is_number(value):
        msg = f"{record.place}: expected a number in {column!r}, found {value!r:.80}"
        raise InputError(msg)
    return float(value)


def _is_number(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):
        return False


def _no_such_label(record: Record, value: Any, names: Sequence[str]) -> str:
    known = ", ".join(names[:_MOST_LABELS]) + (", ..." if len(names) > _MOST_LABELS else "")
    return f"{record.place}: the checkpoint has no label {value!r:.80}, it has {known}"

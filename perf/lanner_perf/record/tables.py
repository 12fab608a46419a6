"""Tables of text for HTML and Markdown."""

from collections.abc import Mapping
from typing import Any, NamedTuple

NOT_MEASURED = "not measured"


class Cell(NamedTuple):
    """A figure: its text, its ratio to the reference, and its spread; each may be empty."""

    text: str = ""
    beside: str = ""
    spread: str = ""

    def __str__(self) -> str:
        more = "; ".join(part for part in (self.beside, self.spread) if part)
        return f"{self.text} ({more})" if more else self.text


class Table(NamedTuple):
    """Rows of cells under a header; the first cell of a row is its name.

    Attributes:
        title: The title of the table.
        note: A note for the reader.
        header: A name for each column; that of the first is empty.
        rows: The rows, each as long as the header.
    """

    title: str
    note: str
    header: list[str]
    rows: list[list[Cell]]


def name_cell(index: int, row: Mapping[str, Any]) -> Cell:
    """Return the first cell of a subject's row: its number, counted from 1, and its name."""
    return Cell(f"{index + 1}. {row['name']}")

"""The protocol of a file of vectors that grows chunk by chunk, and the columns that it holds.

A run leaves a body that can be cut off after any chunk and continued. Every byte depends on the
chunks alone, never on the run that wrote them.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from lanner.errors import InputError
from lanner.files.rows import Row, Rows

TEXT = "text"
EMBEDDING = "embedding"


@dataclass(frozen=True)
class Layout:
    """What an output holds of each row: kept columns, the text, the vector, in this order.

    Attributes:
        rows: Where the rows come from; its `columns` and `types` say what is kept.
        vectors: None of the vectors, [0, width], for their type.
        with_text: Whether the text is carried along.
    """

    rows: Rows
    vectors: NDArray[Any]
    with_text: bool = True

    def require_json(self) -> None:
        """Refuses a kept column of a type that JSON does not have.

        Raises:
            InputError: There is one.
        """
        if problem := self.rows.json_problem():
            msg = f"{problem}: keep it in a .parquet --output, or leave it out"
            raise InputError(msg)

    def record(self, row: Row, vector: NDArray[Any]) -> dict[str, Any]:
        """A row as a JSON object."""
        columns = self.rows.columns
        record = {name: self.rows.json_value(row.values[name]) for name in columns.kept}
        if self.with_text:
            record[TEXT] = row.values[columns.texts[0]]
        record[EMBEDDING] = vector.tolist()
        return record


class VectorFile(ABC):
    """Writes one kind of file.

    Attributes:
        layout: What it is to hold.
        state: What must be remembered beside the body, as JSON, to go on with it.
    """

    #: Whether `finish` writes again what `start` wrote.
    rewrites_start = False

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.state: dict[str, Any] = {}

    @abstractmethod
    def start(self, body: BinaryIO) -> None:
        """Writes what stands before the first row."""

    @abstractmethod
    def append(self, body: BinaryIO, rows: Sequence[Row], vectors: NDArray[Any]) -> None:
        """Writes the rows of a chunk, at least one."""

    def finish(self, body: Path, count: int) -> Path:
        """Makes the body whole; doing it again does no harm.

        Args:
            body: The body, with all rows.
            count: How many rows.

        Returns:
            The whole file: the body itself, or one beside it.
        """
        del count
        return body

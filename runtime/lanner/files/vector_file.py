"""The protocol of a file of vectors that grows chunk by chunk, and the layout of its rows.

A run leaves a body that can be cut off after any chunk and continued. Every byte depends on the
chunks alone, never on the run that wrote them.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from lanner.errors import InputError
from lanner.files.rows import Row, Rows
from lanner.vectors.late_interaction import TokenVectors
from lanner.vectors.origin import Origin
from lanner.vectors.sparse import SparseRow, SparseVectors

TEXT = "text"
EMBEDDING = "embedding"
#: The vectors of some rows, and that of one.
Vectors = NDArray[Any] | SparseVectors | TokenVectors
Vector = NDArray[Any] | SparseRow


def _numbers(vector: Any) -> Any:
    return vector.tolist()


@dataclass(frozen=True)
class Layout:
    """The columns of an output: kept columns, the text, the vector, in this order.

    Attributes:
        rows: The input rows; their `columns` and `types` define the kept columns.
        vectors: No vectors, of the type and the width of the others: an array [0, width], sparse
            ones, or those of tokens.
        with_text: Write the text, too.
        origin: What makes the vectors, for files with metadata.
        json_of: Turns a vector into JSON.
    """

    rows: Rows
    vectors: Any
    with_text: bool = True
    origin: Origin | None = None
    json_of: Callable[[Any], Any] = _numbers

    def require_json(self) -> None:
        """Check that JSON has the types of all kept columns.

        Raises:
            InputError: A kept column has a type that JSON does not have.
        """
        if problem := self.rows.json_problem():
            msg = f"{problem}: keep it in a .parquet --output, or omit it"
            raise InputError(msg)

    def record(self, row: Row, vector: Vector) -> dict[str, Any]:
        """Return a row as a JSON object."""
        columns = self.rows.columns
        record = {name: self.rows.json_value(row.values[name]) for name in columns.kept}
        if self.with_text:
            record[TEXT] = row.values[columns.texts[0]]
        record[EMBEDDING] = self.json_of(vector)
        return record


def json_line(row: Row, record: Mapping[str, Any]) -> str:
    """Return a record as a line of JSON, which has neither NaN nor infinities.

    Raises:
        InputError: The record has one.
    """
    try:
        return json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError:
        msg = (
            f"{row.place} holds NaN or an infinity, which JSON cannot: keep it in a .parquet "
            "--output, or leave the column out"
        )
        raise InputError(msg) from None


class VectorFile(ABC):
    """The writer of one kind of file.

    Attributes:
        layout: The columns.
        state: The state, as JSON, that is needed with the body to continue it.
    """

    #: True if `finish` rewrites the output of `start`.
    rewrites_start = False

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.state: dict[str, Any] = {}

    def takes(self, state: Mapping[str, Any]) -> bool:
        """Return whether a state may be that of an earlier run."""
        return state.keys() == self.state.keys()

    @abstractmethod
    def start(self, body: BinaryIO) -> None:
        """Write the bytes before the first row."""

    @abstractmethod
    def append(self, body: BinaryIO, rows: Sequence[Row], vectors: Any) -> None:
        """Write the rows of a chunk, at least one."""

    def finish(self, body: Path, count: int) -> Path:
        """Complete the body; repeating it is harmless.

        Args:
            body: The body, with all rows.
            count: The number of rows.

        Returns:
            The complete file: the body itself, or one next to it.
        """
        del count
        return body

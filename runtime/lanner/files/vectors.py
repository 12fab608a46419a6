"""Files of vectors that grow chunk by chunk: .npy and .jsonl, and .parquet in its own module.

What a run leaves is a body that can be cut off after any chunk and gone on with. Every byte depends
on the chunks alone, never on the run that wrote them.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from lanner.errors import InputError
from lanner.files.rows import Row, Rows

VECTOR_SUFFIXES = (".npy", ".parquet", ".jsonl")
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


class NpyFile(VectorFile):
    """One array [rows, width], as `numpy.save` writes it."""

    def start(self, body: BinaryIO) -> None:
        """Writes a header that is as long as that of all rows."""
        self._write_header(body, 0)

    def append(self, body: BinaryIO, rows: Sequence[Row], vectors: NDArray[Any]) -> None:
        """See `VectorFile.append`."""
        del rows
        body.write(np.ascontiguousarray(vectors).data)

    def finish(self, body: Path, count: int) -> Path:
        """Writes the number of rows into the header; numpy leaves room for its digits."""
        with body.open("r+b") as file:
            self._write_header(file, count)
        return body

    def _write_header(self, file: BinaryIO, count: int) -> None:
        vectors = self.layout.vectors
        npy.write_array_header_1_0(
            file,
            {
                "descr": npy.dtype_to_descr(vectors.dtype),
                "fortran_order": False,
                "shape": (count, vectors.shape[1]),
            },
        )


class JsonlFile(VectorFile):
    """An object a line."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        layout.require_json()

    def start(self, body: BinaryIO) -> None:
        """Nothing stands there."""

    def append(self, body: BinaryIO, rows: Sequence[Row], vectors: NDArray[Any]) -> None:
        """See `VectorFile.append`."""
        for row, vector in zip(rows, vectors, strict=True):
            record = self.layout.record(row, vector)
            body.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")


def vector_file(suffix: str, layout: Layout) -> VectorFile:
    """The writer of a kind of file.

    Args:
        suffix: One of `VECTOR_SUFFIXES`.
        layout: What it is to hold; .npy holds the vectors alone.

    Raises:
        MissingExtraError: .parquet needs pyarrow, which is not installed.
        InputError: A kept column is of a type that this kind of file does not have.
    """
    if suffix == ".npy":
        return NpyFile(layout)
    if suffix == ".jsonl":
        return JsonlFile(layout)
    from lanner.files.parquet_vectors import ParquetFile  # noqa: PLC0415 (an extra)

    return ParquetFile(layout)

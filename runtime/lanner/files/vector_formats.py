"""The formats of vector files by suffix, and those that need no extra."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from lanner.files.rows import Row
from lanner.files.vector_file import Layout, VectorFile, json_line


class NpyFile(VectorFile):
    """A .npy file with one array [rows, width], as written by `numpy.save`."""

    rewrites_start = True

    def start(self, body: BinaryIO) -> None:
        """Write a header as long as the final one."""
        self._write_header(body, 0)

    def append(self, body: BinaryIO, rows: Sequence[Row], vectors: Any) -> None:
        """See `VectorFile.append`."""
        del rows
        body.write(np.ascontiguousarray(vectors).data)

    def finish(self, body: Path, count: int) -> Path:
        """Write the number of rows into the header; numpy leaves room for its digits."""
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
    """A .jsonl file with one object per line."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        layout.require_json()

    def start(self, body: BinaryIO) -> None:
        """Write nothing: the file has no header."""

    def append(self, body: BinaryIO, rows: Sequence[Row], vectors: Any) -> None:
        """See `VectorFile.append`."""
        for row, vector in zip(rows, vectors, strict=True):
            body.write(json_line(row, self.layout.record(row, vector)).encode())


def _ragged_file(layout: Layout) -> VectorFile:
    from lanner.files.ragged_vectors import ragged_file  # noqa: PLC0415 (seldom needed)

    return ragged_file(layout)


def _parquet_file(layout: Layout) -> VectorFile:
    from lanner.files.parquet_vectors import ParquetFile  # noqa: PLC0415 (an extra)

    return ParquetFile(layout)


@dataclass(frozen=True)
class Format:
    """A kind of file of vectors.

    Attributes:
        open: Returns the writer of a file with a layout.
        holds_columns: False if it holds the vectors alone, without texts and kept columns.
        names_origin: True if the file itself says what made its vectors.
        packages: The packages whose versions the bytes of a file depend on.
        holds_dense: True if it holds vectors of one size.
        holds_ragged: True if it holds vectors of unequal sizes: sparse ones, and those of tokens.
    """

    open: Callable[[Layout], VectorFile]
    holds_columns: bool = True
    names_origin: bool = False
    packages: tuple[str, ...] = ()
    holds_dense: bool = True
    holds_ragged: bool = False


#: By suffix.
FORMATS = {
    ".npy": Format(NpyFile, holds_columns=False),
    ".parquet": Format(_parquet_file, names_origin=True, packages=("pyarrow",)),
    ".jsonl": Format(JsonlFile, holds_ragged=True),
    ".npz": Format(_ragged_file, holds_columns=False, holds_dense=False, holds_ragged=True),
}


def vector_file(suffix: str, layout: Layout) -> VectorFile:
    """Return the writer of a kind of file.

    Args:
        suffix: One of `FORMATS`.
        layout: The columns; a format may hold the vectors alone.

    Raises:
        MissingExtraError: .parquet needs pyarrow, which is not installed.
        InputError: A kept column has a type that this kind of file does not have.
    """
    return FORMATS[suffix].open(layout)

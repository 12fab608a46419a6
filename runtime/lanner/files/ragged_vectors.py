"""Files of vectors whose rows have unequal sizes: sparse vectors, and the vectors of tokens."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lanner.files.rows import Row
from lanner.files.vector_file import Layout, VectorFile
from lanner.vectors.sparse import SparseVectors

_COUNT, _INDEX, _VALUE = np.dtype("<i8"), np.dtype("<i4"), np.dtype("<f4")


class RaggedFile(VectorFile):
    """A .npz file. Its body holds the rows one after another, each behind its size."""

    def start(self, body: BinaryIO) -> None:
        """Write nothing: the body has no header."""

    def append(self, body: BinaryIO, rows: Sequence[Row], vectors: Any) -> None:
        """See `VectorFile.append`."""
        del rows
        for vector in vectors:
            parts = self.parts(vector)
            body.write(np.array(len(parts[0]), _COUNT).tobytes())
            for part in parts:
                body.write(part.tobytes())

    def finish(self, body: Path, count: int) -> Path:
        """Write the arrays of all rows beside the body."""
        whole = body.with_name("whole")
        content = memoryview(body.read_bytes())
        starts = np.zeros(count + 1, np.int64)
        empty = self.empty()
        found: list[list[NDArray[Any]]] = [[part] for part in empty]
        place = 0
        for row in range(count):
            size = int(np.frombuffer(content, _COUNT, 1, place)[0])
            place += _COUNT.itemsize
            for parts, part in zip(found, empty, strict=True):
                shape = (size, *part.shape[1:])
                items = int(np.prod(shape))
                parts.append(np.frombuffer(content, part.dtype, items, place).reshape(shape))
                place += items * part.itemsize
            starts[row + 1] = starts[row] + size
        # Zip files date their members at a fixed time, so that equal vectors are equal bytes.
        with whole.open("wb") as file:
            np.savez(file, **self.arrays(starts, *map(np.concatenate, found)))
        return whole

    def empty(self) -> list[NDArray[Any]]:
        """Return the arrays of a vector of size 0."""
        raise NotImplementedError

    def parts(self, vector: Any) -> list[NDArray[Any]]:
        """Return the arrays of a vector, of the kind and width of `empty`."""
        raise NotImplementedError

    def arrays(self, starts: NDArray[np.int64], *parts: NDArray[Any]) -> dict[str, Any]:
        """Return the arrays of the file.

        Args:
            starts: Where each row begins, and where the last one ends.
            parts: The arrays of all rows, one behind another.
        """
        raise NotImplementedError


class SparseFile(RaggedFile):
    """A CSR matrix, float32 [rows, width], as `scipy.sparse.load_npz` reads it."""

    def empty(self) -> list[NDArray[Any]]:
        """See `RaggedFile.empty`."""
        return [np.empty(0, _INDEX), np.empty(0, _VALUE)]

    def parts(self, vector: Any) -> list[NDArray[Any]]:
        """See `RaggedFile.parts`."""
        return [vector.indices.astype(_INDEX), vector.values.astype(_VALUE)]

    def arrays(self, starts: NDArray[np.int64], *parts: NDArray[Any]) -> dict[str, Any]:
        """See `RaggedFile.arrays`."""
        shape = np.array([len(starts) - 1, self.layout.vectors.width])
        indices, values = parts
        return {
            "indices": indices,
            "indptr": starts,
            "format": np.array(b"csr"),
            "shape": shape,
            "data": values,
        }


class TokensFile(RaggedFile):
    """The vectors of all tokens, float32 [tokens, width], and where those of a text begin."""

    def empty(self) -> list[NDArray[Any]]:
        """See `RaggedFile.empty`."""
        return [np.empty((0, self.layout.vectors.width), _VALUE)]

    def parts(self, vector: Any) -> list[NDArray[Any]]:
        """See `RaggedFile.parts`."""
        return [np.ascontiguousarray(vector, _VALUE)]

    def arrays(self, starts: NDArray[np.int64], *parts: NDArray[Any]) -> dict[str, Any]:
        """See `RaggedFile.arrays`."""
        return {"vectors": parts[0], "starts": starts}


def ragged_file(layout: Layout) -> VectorFile:
    """Return the writer of the kind of vectors."""
    is_sparse = isinstance(layout.vectors, SparseVectors)
    return SparseFile(layout) if is_sparse else TokensFile(layout)

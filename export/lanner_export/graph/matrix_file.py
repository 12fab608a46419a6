"""A matrix in a file, read block by block: tables of word vectors may be larger than memory."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from lanner.errors import CheckpointError

_BLOCK_BYTES = 2**24
#: Dtypes by their names in https://github.com/huggingface/safetensors; all are little-endian.
_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I8": np.dtype("i1"),
}


@dataclass(frozen=True)
class MatrixFile:
    """The location of a matrix in a file, row by row.

    Attributes:
        path: The file.
        shape: Rows and columns.
        dtype: The type of the numbers.
        offset_bytes: The offset of the first row.
    """

    path: Path
    shape: tuple[int, int]
    dtype: np.dtype[Any] = np.dtype("<f4")  # noqa: RUF009 (a dtype is immutable)
    offset_bytes: int = 0

    def array(self) -> NDArray[Any]:
        """Return the whole matrix, mapped into memory: it is read on access."""
        shape, dtype = self.shape, self.dtype
        return np.memmap(self.path, dtype, mode="r", offset=self.offset_bytes, shape=shape)

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield the matrix in blocks, as float32 [rows of the block, columns].

        Raises:
            CheckpointError: A value is not a finite number, or the file ends too early.
        """
        rows, columns = self.shape
        block_rows = max(1, _BLOCK_BYTES // (4 * columns))
        # Read instead of mapping: pages of a mapped file stay resident.
        with self.path.open("rb") as file:
            file.seek(self.offset_bytes)
            for start in range(0, rows, block_rows):
                wanted = min(block_rows, rows - start)
                values = np.fromfile(file, self.dtype, wanted * columns)
                if len(values) != wanted * columns:
                    msg = f"{self.path} ends before its last row: copy or download it again"
                    raise CheckpointError(msg)
                with np.errstate(over="ignore"):  # values beyond float32 become infinite
                    block = values.astype(np.float32, copy=False).reshape(wanted, columns)
                if not np.isfinite(block).all():
                    row = start + int(np.argmin(np.isfinite(block).all(axis=1)))
                    msg = (
                        f"row {row} of {self.path} has a value that is not a finite number of "
                        "float32: remove or repair the row"
                    )
                    raise CheckpointError(msg)
                yield block


def read_safetensors(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any], int]]:
    """Return shape, dtype and offset (in bytes from the file's start) of each tensor of a file.

    Raises:
        CheckpointError: The file is missing or damaged, or Lanner does not know a dtype.
    """
    try:
        with safe_open(path, framework="numpy"):
            pass  # opening checks that every tensor is inside the file, and no two overlap
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
    except FileNotFoundError:
        msg = f"there is no {path}: save the checkpoint again, with safetensors"
        raise CheckpointError(msg) from None
    except (SafetensorError, OSError, ValueError) as error:
        msg = f"{path} is not a whole safetensors file ({error}): copy or download it again"
        raise CheckpointError(msg) from error
    header.pop("__metadata__", None)
    tensors = {}
    for name, tensor in header.items():
        if tensor["dtype"] not in _DTYPES:
            msg = (
                f"{path} holds {name!r} as {tensor['dtype']}, which Lanner does not read: "
                f"save it as one of {', '.join(_DTYPES)}"
            )
            raise CheckpointError(msg)
        place = 8 + size + tensor["data_offsets"][0]
        tensors[name] = (tuple(tensor["shape"]), _DTYPES[tensor["dtype"]], place)
    return tensors

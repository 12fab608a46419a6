"""Quantization of float32 to signed bytes, with one symmetric scale per row."""

import numpy as np
from numpy.typing import NDArray

#: -128 is unused, so that the bytes of x and -x differ in sign only.
_LARGEST = 127
_BLOCK_BYTES = 2**24


def to_signed_bytes(
    rows: NDArray[np.float32],
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return the bytes of each row, and the scales that restore the rows.

    Args:
        rows: float32 [rows, columns].

    Returns:
        int8 [rows, columns] from -127 to 127, and float32 [rows].
    """
    bytes_, scales = np.empty(rows.shape, np.int8), np.empty(len(rows), np.float32)
    # In blocks, so that a large table has no copies in float32.
    at_once = max(1, _BLOCK_BYTES // (4 * rows.shape[1] or 1))
    for start in range(0, len(rows), at_once):
        block = rows[start : start + at_once]
        scale = (np.abs(block).max(axis=1) / _LARGEST).astype(np.float32)
        # max/127 underflows to 0 for tiny rows: treat them as zero rows.
        scale[scale == 0] = 1
        steps = np.rint(block / scale[:, None]).clip(-_LARGEST, _LARGEST)
        bytes_[start : start + at_once], scales[start : start + at_once] = steps, scale
    return bytes_, scales

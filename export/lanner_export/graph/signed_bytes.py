"""Quantization of float32 to signed bytes, with one symmetric scale per row."""

import numpy as np
from numpy.typing import NDArray

#: -128 is unused, so that the bytes of x and -x differ in sign only.
_LARGEST = 127


def to_signed_bytes(
    rows: NDArray[np.float32],
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return the bytes of each row, and the scales that restore the rows.

    Args:
        rows: float32 [rows, columns].

    Returns:
        int8 [rows, columns] from -127 to 127, and float32 [rows].
    """
    scales = (np.abs(rows).max(axis=1) / _LARGEST).astype(np.float32)
    # max/127 underflows to 0 for tiny rows: treat them as zero rows.
    scales[scales == 0] = 1
    return np.rint(rows / scales[:, None]).clip(-_LARGEST, _LARGEST).astype(np.int8), scales

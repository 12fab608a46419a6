"""float32 as signed bytes, with one symmetric scale a row."""

import numpy as np
from numpy.typing import NDArray

#: -128 stays free, so that the bytes of x and -x differ in sign alone.
_LARGEST = 127


def to_signed_bytes(
    rows: NDArray[np.float32],
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """The bytes of each row, and what they are multiplied by to be the row again.

    Args:
        rows: float32 [rows, columns].

    Returns:
        int8 [rows, columns] from -127 to 127, and float32 [rows].
    """
    scales = (np.abs(rows).max(axis=1) / _LARGEST).astype(np.float32)
    # Of the smallest floats there is no 127th part: such a row is nothing, as one of zeros is.
    scales[scales == 0] = 1
    return np.rint(rows / scales[:, None]).clip(-_LARGEST, _LARGEST).astype(np.int8), scales

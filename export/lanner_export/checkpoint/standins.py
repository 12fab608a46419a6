"""Stand-ins for the objects of a pickle, which is read without running code from it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Standin:
    """A stand-in for any object that a pickle makes or calls; it records its arguments.

    Attributes:
        arguments: The arguments that it was made with.
        state: The state that the pickle gave it.
    """

    arguments: tuple[Any, ...] = ()
    state: Any = None

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


#: The modules of numpy's `_reconstruct` and `scalar`: the core of numpy 1 has another name.
MULTIARRAYS = ("numpy.core.multiarray", "numpy._core.multiarray")


def array_of(raw: bytes, dtype: np.dtype[Any], shape: Any, *, is_by_column: bool) -> NDArray[Any]:
    """Return the array of a pickle's bytes, shape and order of numbers."""
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if is_by_column else "C")


def reason(error: Exception) -> str:
    """Return what a damaged pickle failed with, in a line."""
    return " ".join(str(error).split())[:200] or type(error).__name__

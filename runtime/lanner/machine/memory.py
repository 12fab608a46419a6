"""The memory of the process."""

import ctypes


def return_free_memory() -> None:
    """Return the free memory of the heap to the system, which takes a millisecond.

    The C library keeps small freed parts, such as the weights of a model that was read and then
    laid out in another way. Only glibc can return them:
    https://man7.org/linux/man-pages/man3/malloc_trim.3.html
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

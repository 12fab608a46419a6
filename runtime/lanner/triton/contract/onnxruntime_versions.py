"""The versions of ONNX Runtime, and so of Triton, that run Lanner's graphs in Triton's own backend.

A release of Triton brings one ONNX Runtime (the release notes of NVIDIA's container name it). The
backend python runs the one that is installed in its Python instead.
"""

from typing import NamedTuple


class LeastVersion(NamedTuple):
    """The oldest versions that load a graph.

    Attributes:
        onnxruntime: The version of ONNX Runtime, ``"1.23"``.
        triton: The first release of Triton's container with it, ``"25.12"``.
    """

    onnxruntime: str
    triton: str

    def __str__(self) -> str:
        """Return both for a message."""
        return f"Triton {self.triton} (ONNX Runtime {self.onnxruntime})"


_FLOAT, _INT8 = LeastVersion("1.23", "25.12"), LeastVersion("1.24", "26.02")

#: int8 in another version of ONNX Runtime; measured with 1.24, 1.28 and 1.32.
INT8_DIFFERS = (
    "the ONNX Runtime inside Triton rounds int8 otherwise than another version of it: vectors of "
    "one text keep a cosine of at least 0.991, 0.9998 on average"
)


def is_int8(precision: str) -> bool:
    """Return whether a precision is int8, of whatever kind."""
    return precision.startswith("int8")


def least_version(precision: str) -> LeastVersion:
    """Return the oldest versions that load the graph of a variant.

    Args:
        precision: The variant's precision.
    """
    return _INT8 if is_int8(precision) else _FLOAT

"""Quantized vectors, a byte or a bit per dimension: int8, uint8, binary and ubinary.

Names, arguments and every bit are those of `sentence_transformers.quantize_embeddings`, with one
difference: the ranges never come from the vectors being quantized, because the same text would
then get a different vector in each call.
"""

from typing import Any, Literal, Self, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lanner.errors import InputError, InputTypeError
from lanner.vectors.similarity import Vectors, matrix

Scalar = TypeVar("Scalar", bound=np.generic)
#: Arrays [dim] and [n, dim].
Vector = np.ndarray[tuple[int], np.dtype[Scalar]]
Matrix = np.ndarray[tuple[int, int], np.dtype[Scalar]]
Float32 = Literal["float32"] | None
SignedBytes = Literal["int8", "binary"]
UnsignedBytes = Literal["uint8", "ubinary"]
#: The precisions with a range per dimension; a bit only tells whether the component is above 0.
BYTE_PRECISIONS = ("int8", "uint8")
BIT_PRECISIONS = ("binary", "ubinary")
PRECISIONS = ("float32", *BYTE_PRECISIONS, *BIT_PRECISIONS)

_DTYPES = {"int8": np.int8, "uint8": np.uint8, "binary": np.int8, "ubinary": np.uint8}
#: int8 and binary are uint8 and ubinary minus 128, which flips this bit.
_SIGN_BIT = np.uint8(0x80)
_STEPS = np.float32(255)
#: Rows that are converted at once, so that a million vectors are not held twice.
_ROWS_AT_ONCE = 16_384


@overload
def quantize_embeddings(
    embeddings: ArrayLike,
    precision: SignedBytes,
    ranges: ArrayLike | None = None,
    calibration_embeddings: ArrayLike | None = None,
) -> NDArray[np.int8]: ...


@overload
def quantize_embeddings(
    embeddings: ArrayLike,
    precision: UnsignedBytes,
    ranges: ArrayLike | None = None,
    calibration_embeddings: ArrayLike | None = None,
) -> NDArray[np.uint8]: ...


@overload
def quantize_embeddings(
    embeddings: ArrayLike,
    precision: Literal["float32"],
    ranges: ArrayLike | None = None,
    calibration_embeddings: ArrayLike | None = None,
) -> NDArray[np.float32]: ...


@overload
def quantize_embeddings(
    embeddings: ArrayLike,
    precision: str,
    ranges: ArrayLike | None = None,
    calibration_embeddings: ArrayLike | None = None,
) -> NDArray[np.float32 | np.int8 | np.uint8]: ...


def quantize_embeddings(
    embeddings: ArrayLike,
    precision: str,
    ranges: ArrayLike | None = None,
    calibration_embeddings: ArrayLike | None = None,
) -> NDArray[Any]:
    """Quantize vectors to a byte or a bit per dimension.

    A byte is ``floor((x - lowest) / ((highest - lowest) / 255))``, with values outside the range
    clipped to it. A bit is ``x > 0``: eight bits to a byte, the first dimension in the highest bit,
    padded with zeros at the end.

    Args:
        embeddings: float32 [n, dim], or one [dim].
        precision: One of `PRECISIONS`.
        ranges: Lowest and highest value of each dimension, float32 [2, dim], for int8 and uint8;
            `lanner.EmbeddingModel.embedding_ranges` returns those of an artifact.
        calibration_embeddings: If `ranges` is None, vectors [m, dim] whose lowest and highest
            values are the ranges.

    Returns:
        int8 or uint8 [n, dim]; for bits int8 (binary) or uint8 (ubinary) [n, ceil(dim / 8)]. A
        single vector gives a single vector.

    Raises:
        InputError: The precision is unknown, the ranges are missing or do not fit, or a component
            is NaN.
        InputTypeError: The embeddings are not numbers, or are quantized already.
    """
    dtype = getattr(embeddings, "dtype", None)
    if str(dtype).removeprefix("torch.") in ("int8", "uint8"):
        msg = f"embeddings are {dtype} already: quantize the float32 vectors that encode returns"
        raise InputTypeError(msg)
    vectors = matrix(embeddings, "embeddings")
    if require_precision(precision) == "float32":
        quantized: NDArray[Any] = vectors
    else:
        quantized = _quantized(vectors, precision, ranges, calibration_embeddings)
    return quantized[0] if np.ndim(embeddings) == 1 and len(quantized) else quantized


class QuantizedVectors:
    """Quantized vectors with their precision, dimension and ranges.

    Args:
        values: int8 or uint8 [n, dim], for bits [n, ceil(dim / 8)], or one such vector; a
            memory-mapped array stays on disk.
        precision: One of the four quantized precisions.
        dimension: The dimension of the encoded float vectors.
        ranges: Lowest and highest value of each dimension, float32 [2, dim], for int8 and uint8.
        name: The name of the vectors in messages.

    Raises:
        InputError: The shapes do not fit, or the ranges are missing.
        InputTypeError: The array does not have the type of the precision.
    """

    def __init__(
        self,
        values: NDArray[Any],
        precision: str,
        *,
        dimension: int,
        ranges: ArrayLike | None = None,
        name: str = "embeddings",
    ) -> None:
        expected = np.dtype(_DTYPES[precision])
        if values.dtype != expected:
            msg = f"{name} must be {expected} for the precision {precision!r}, not {values.dtype}"
            raise InputTypeError(msg)
        values = values[None] if values.ndim == 1 else values
        width = packed_width(dimension) if precision in BIT_PRECISIONS else dimension
        if values.ndim != 2 or values.shape[1] != width:
            msg = (
                f"{name} must have the shape [n, {width}] for {dimension} dimensions in the "
                f"precision {precision!r}, not {list(values.shape)}"
            )
            raise InputError(msg)
        self.values = values
        self.precision = precision
        self.dimension = dimension
        self.is_packed = precision in BIT_PRECISIONS
        self.ranges = None if self.is_packed else _required_ranges(ranges, dimension, precision)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Self:
        return type(self)(
            self.values[rows], self.precision, dimension=self.dimension, ranges=self.ranges
        )

    def unsigned(self) -> NDArray[np.uint8]:
        """Return the same vectors as uint8 or ubinary."""
        values = np.asarray(self.values)
        return values.view(np.uint8) ^ _SIGN_BIT if values.dtype == np.int8 else values

    def decoded(self) -> Vectors:
        """Return the encoded vectors as float32 [n, dim].

        A byte decodes to the middle of its step, a bit to 1 or -1.
        """
        vectors: Vectors
        if self.ranges is None:
            bits = np.unpackbits(self.unsigned(), axis=1, count=self.dimension)
            vectors = bits.astype(np.float32)
            vectors *= 2
            vectors -= 1
        else:
            step = (self.ranges[1] - self.ranges[0]) / _STEPS
            first = np.float32(-128 if self.values.dtype == np.int8 else 0)
            vectors = self.values.astype(np.float32)
            vectors *= step
            vectors += self.ranges[0] + (np.float32(0.5) - first) * step
        return vectors


def require_precision(precision: str | None) -> str:
    """Return the name of a precision; None means ``"float32"``.

    Raises:
        InputError: The precision is unknown.
    """
    name = "float32" if precision is None else precision
    if not isinstance(name, str) or name not in PRECISIONS:
        msg = f"there is no precision {name!r}: use {', '.join(PRECISIONS)}"
        raise InputError(msg)
    return name


def packed_width(dimension: int) -> int:
    """Return the number of bytes of a vector of bits."""
    return (dimension + 7) // 8


def _quantized(
    vectors: Vectors,
    precision: str,
    ranges: ArrayLike | None,
    calibration_embeddings: ArrayLike | None,
) -> NDArray[Any]:
    dimension, is_packed = vectors.shape[1], precision in BIT_PRECISIONS
    width = packed_width(dimension) if is_packed else dimension
    values = np.empty((len(vectors), width), dtype=np.uint8)
    if len(vectors) and not is_packed:
        if ranges is None and calibration_embeddings is not None:
            ranges = _extremes(matrix(calibration_embeddings, "calibration_embeddings"))
        lowest, highest = _required_ranges(ranges, dimension, precision)
        # The operations of sentence-transformers in the same order, so that every bit is the same.
        steps = (highest - lowest) / _STEPS
        steps = np.where(steps == 0, np.float32(1), steps)
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        block = vectors[start : start + _ROWS_AT_ONCE]
        missing = np.isnan(block).any(axis=1)
        if missing.any():
            row = start + int(missing.argmax())
            msg = f"the embedding at index {row} holds NaN, which {precision} cannot represent"
            raise InputError(msg)
        values[start : start + len(block)] = (
            np.packbits(block > 0, axis=1)
            if is_packed
            else np.clip(np.floor((block - lowest) / steps), 0, _STEPS)
        )
    return (values ^ _SIGN_BIT).view(np.int8) if _DTYPES[precision] is np.int8 else values


def _required_ranges(ranges: ArrayLike | None, dimension: int, precision: str) -> Vectors:
    if ranges is None:
        msg = f"the precision {precision!r} needs the range of each dimension: pass ranges"
        raise InputError(msg)
    checked = matrix(ranges, "ranges")
    if checked.shape != (2, dimension):
        msg = (
            f"ranges must be the lowest and the highest value of each dimension, [2, {dimension}], "
            f"not {list(checked.shape)}"
        )
        raise InputError(msg)
    if not (np.isfinite(checked).all() and (checked[0] <= checked[1]).all()):
        msg = "ranges must be finite, and no lowest value may exceed its highest"
        raise InputError(msg)
    return checked


def _extremes(vectors: Vectors) -> Vectors:
    if not len(vectors):
        msg = "calibration_embeddings holds no vector: pass a few hundred"
        raise InputError(msg)
    return np.stack([vectors.min(axis=0), vectors.max(axis=0)])

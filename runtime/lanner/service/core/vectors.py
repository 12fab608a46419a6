"""Vectors as bytes of an answer: numbers in JSON, base64, and small integers."""

from binascii import b2a_base64
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lanner.errors import MissingExtraError, UnsupportedError
from lanner.models.encoding import EncodingModel
from lanner.service.core.refusal import Kind, Refusal
from lanner.service.core.served import ServedModel
from lanner.vectors.precision import BYTE_PRECISIONS, quantize_embeddings
from lanner.vectors.similarity import normalize

try:
    import orjson
except ImportError as error:
    what = "the service"
    raise MissingExtraError(what, "service", "orjson") from error

#: The similarities for which a vector's length does not matter.
_BY_DIRECTION = ("cosine",)
#: The largest distance of a squared length from 1 in float32.
_ROUNDING = 1e-6


def to_json(value: object) -> bytes:
    """Return a value as JSON; arrays of numbers are read where they lie."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def has_unit_length(served: ServedModel) -> bool:
    """Return whether vectors are scaled to length 1 by default: only their direction counts."""
    return served.manifest.similarity in _BY_DIRECTION


def shaped(
    vectors: NDArray[np.float32],
    served: ServedModel,
    *,
    dimensions: int | None,
    is_normalized: bool,
) -> NDArray[np.float32]:
    """Return the leading dimensions of vectors, float32 [n, dimensions], perhaps of length 1.

    Raises:
        Refusal: The model has fewer dimensions, or less than 1 is requested.
    """
    width = vectors.shape[1]
    if dimensions is not None and not 1 <= dimensions <= width:
        msg = f"dimensions must be from 1 to {width} for the model {served.name}"
        raise Refusal(Kind.INVALID, msg, param="dimensions")
    if dimensions is not None and dimensions < width:
        vectors = np.ascontiguousarray(vectors[:, :dimensions])
    return _of_unit_length(vectors) if is_normalized else vectors


def _of_unit_length(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors of length 1; unchanged if the model has scaled them."""
    # A faster way for one vector; half the margin allows for another order of summation.
    if len(vectors) == 1 and abs(float(np.vdot(vectors, vectors)) - 1) <= _ROUNDING / 2:
        return vectors
    squares = np.einsum("ij,ij->i", vectors, vectors)
    is_scaled = np.abs(squares - 1) <= _ROUNDING
    if is_scaled.all():
        return vectors
    # Row by row, so that a text's vector does not depend on the others.
    return np.where(is_scaled[:, np.newaxis], vectors, normalize(vectors))


def base64_rows(vectors: NDArray[np.float32]) -> list[str]:
    """Return each row as base64 of little-endian float32."""
    return [b2a_base64(row, newline=False).decode() for row in np.ascontiguousarray(vectors, "<f4")]


def rows_of(vectors: NDArray[Any]) -> Sequence[NDArray[Any]]:
    """Return the rows of an array, for `to_json`."""
    return list(np.ascontiguousarray(vectors))


def quantized(
    vectors: NDArray[np.float32], served: ServedModel, precision: str, *, is_normalized: bool
) -> NDArray[Any]:
    """Return vectors in another precision; see `lanner.quantize_embeddings`.

    Args:
        vectors: float32 [n, dimension], of all dimensions or the leading ones.
        served: The model that they are of.
        precision: ``"int8"``, ``"uint8"``, ``"binary"`` or ``"ubinary"``.
        is_normalized: True if they were scaled to length 1.

    Raises:
        Refusal: The artifact stores no ranges for bytes.
    """
    ranges = None
    if precision in BYTE_PRECISIONS:
        model = cast("EncodingModel", served.model)
        try:
            ranges = model.embedding_ranges(vectors.shape[1], normalize_embeddings=is_normalized)
        except UnsupportedError:
            msg = f"the model {served.name} stores no ranges for int8 and uint8: ask for float"
            raise Refusal(Kind.INVALID, msg, param="embedding_types") from None
    return quantize_embeddings(vectors, precision, ranges)

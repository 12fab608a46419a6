"""The parsing of a server's answers over HTTP, which trusts no part of them.

The format is that of KServe's binary tensor extension: a JSON header, followed by the bytes of the
tensors in the order of the outputs.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.bounded import parse_json

#: The types of the outputs of Lanner's models.
_DTYPES = {
    "FP32": "<f4",
    "FP64": "<f8",
    "FP16": "<f2",
    "INT64": "<i8",
    "INT32": "<i4",
    "UINT8": "|u1",
    "BOOL": "|b1",
}
_MOST_DIMENSIONS = 8


def read_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that a body holds.

    Raises:
        ValueError: It is not a JSON object.
    """
    content = parse_json(body)
    if not isinstance(content, dict):
        msg = "not a JSON object"
        raise ValueError(msg)
    return content


def read_tensors(
    body: bytes, header_bytes: str | None, wanted: Sequence[str]
) -> tuple[dict[str, NDArray[Any] | None], str]:
    """Return the tensors of an answer, and the version of the model that gave it.

    Args:
        body: The answer.
        header_bytes: The length of its JSON, from its header; None if all of it is JSON.
        wanted: The names of the tensors; a missing one becomes None.

    Raises:
        ValueError: The body is not such an answer.
    """
    length = len(body) if header_bytes is None else _count(header_bytes)
    if length > len(body):
        msg = "shorter than its header says"
        raise ValueError(msg)
    head = read_object(body[:length])
    outputs = head.get("outputs", [])
    if not isinstance(outputs, list):
        msg = "no list of outputs"
        raise ValueError(msg)
    found: dict[str, NDArray[Any] | None] = dict.fromkeys(wanted)
    for output in outputs:
        if not isinstance(output, dict) or not isinstance(output.get("name"), str):
            msg = "an output without a name"
            raise ValueError(msg)
        tensor, length = _tensor(output, body, length)
        if output["name"] in found:
            found[output["name"]] = tensor
    return found, str(head.get("model_version", ""))


def read_versions(content: Mapping[str, Any]) -> list[str]:
    """Return the versions in a model's metadata, oldest first.

    Raises:
        ValueError: There are none.
    """
    versions = content.get("versions")
    if not isinstance(versions, list) or not versions:
        msg = "no versions in it"
        raise ValueError(msg)
    return sort_versions(versions)


def sort_versions(versions: Sequence[object]) -> list[str]:
    """Return versions, oldest first.

    Raises:
        ValueError: One is not a number.
    """
    if not all(isinstance(one, str) and one.isascii() and one.isdigit() for one in versions):
        msg = "a version that is no number"
        raise ValueError(msg)
    return sorted((str(one) for one in versions), key=int)


def _tensor(output: Mapping[str, Any], body: bytes, start: int) -> tuple[NDArray[Any], int]:
    """Return a tensor, and the offset of the next one."""
    dtype, shape = _DTYPES.get(str(output.get("datatype"))), output.get("shape")
    if dtype is None:
        msg = f"an output of the type {str(output.get('datatype'))[:20]!r}"
        raise ValueError(msg)
    is_shape = isinstance(shape, list) and len(shape) <= _MOST_DIMENSIONS
    if not is_shape or not all(type(size) is int and size >= 0 for size in shape or ()):
        msg = "an output of no shape"
        raise ValueError(msg)
    shape = list(shape or ())
    count, parameters = math.prod(shape), output.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None:
        data = output.get("data")
        if not isinstance(data, list):
            msg = "an output without data"
            raise ValueError(msg)
        try:
            values = np.array(data, dtype=dtype).reshape(-1)
        except (TypeError, OverflowError) as error:
            msg = f"data of another type ({error})"
            raise ValueError(msg) from None
    else:
        expected = count * np.dtype(dtype).itemsize
        if type(size) is not int or size != expected or start + size > len(body):
            msg = f"an output of {expected} bytes that has {str(size)[:20]}"
            raise ValueError(msg)
        values = np.frombuffer(body, dtype, count, start)
        start += size
    if values.size != count:
        msg = f"{values.size} values in an output of {count}"
        raise ValueError(msg)
    return values.reshape(shape), start


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        msg = "no length of its header"
        raise ValueError(msg)
    return int(text)

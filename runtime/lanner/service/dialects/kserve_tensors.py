"""Tensors of KServe's protocol, with the binary extension, in requests and answers.

The specification: https://github.com/kserve/open-inference-protocol, and of the binary tensors
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import math
import struct
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lanner.service.core.exchange import Request
from lanner.service.core.refusal import Kind, Refusal
from lanner.service.core.vectors import to_json

HEADER_BYTES = b"inference-header-content-length"
#: The types of the tensors that Lanner's models take and return.
_DTYPES = {"INT64": "<i8", "INT32": "<i4", "FP32": "<f4"}
_NAMES = {"i8": "INT64", "f4": "FP32"}
_MOST_DIMENSIONS = 4

#: The faults of an input.
_TYPE = "a datatype that no model of the service takes"
_SHAPE = "a shape that is none"
_NO_DATA = "no data"
_SIZE = "a binary_data_size that is not in the body"
_BYTES = "another number of bytes than its shape"
_DATA = "data of another type"
_COUNT = "another number of values than its shape"
_TWICE = "the name of another"
_END = "BYTES that end elsewhere than its data"

Tensor = NDArray[Any]


class InputTensor(msgspec.Struct):
    """A tensor of a request."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, Any] = {}


class WantedTensor(msgspec.Struct):
    """An output that a request asks for."""

    name: str
    parameters: dict[str, Any] = {}


class Infer(msgspec.Struct):
    """The JSON of ``POST /v2/models/{}/infer``."""

    inputs: list[InputTensor]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[WantedTensor] = []


_INFER = msgspec.json.Decoder(Infer)


def read(request: Request) -> tuple[Infer, dict[str, Tensor]]:
    """Return the JSON of a request, and its tensors by name; BYTES are object arrays of bytes.

    Raises:
        Refusal: It is not such a request.
    """
    body, said = request.body, request.headers.get(HEADER_BYTES)
    length = len(body)
    if said is not None:
        is_number = said.isdigit() and len(said) < 12
        length = int(said) if is_number else -1
        if not 0 <= length <= len(body):
            msg = "Inference-Header-Content-Length is not a number of bytes of the body"
            raise Refusal(Kind.INVALID, msg)
    try:
        asked = _INFER.decode(body[:length])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        msg = "the body is not an inference request in JSON: see the protocol of KServe"
        raise Refusal(Kind.INVALID, msg) from None
    tensors = {}
    for tensor in asked.inputs:
        if tensor.name in tensors:
            raise _wrong(_TWICE)
        tensors[tensor.name], length = _tensor(tensor, body, length)
    if length < len(body):
        msg = "the body has bytes behind its last input"
        raise Refusal(Kind.INVALID, msg)
    return asked, tensors


def _tensor(tensor: InputTensor, body: bytes, start: int) -> tuple[Tensor, int]:
    """Return a tensor, and where the next one begins."""
    shape, size = tensor.shape, tensor.parameters.get("binary_data_size")
    dtype = _DTYPES.get(tensor.datatype)
    if dtype is None and tensor.datatype != "BYTES":
        raise _wrong(_TYPE)
    if not shape or len(shape) > _MOST_DIMENSIONS or min(shape) < 0:
        raise _wrong(_SHAPE)
    count = math.prod(shape)
    if size is None:
        if tensor.data is None:
            raise _wrong(_NO_DATA)
        return _of_json(tensor.data, dtype, count).reshape(shape), start
    if type(size) is not int or not 0 <= size <= len(body) - start:
        raise _wrong(_SIZE)
    part = memoryview(body)[start : start + size]
    if dtype is None:
        return _of_bytes(part, count).reshape(shape), start + size
    if size != count * np.dtype(dtype).itemsize:
        raise _wrong(_BYTES)
    return np.frombuffer(part, dtype).reshape(shape), start + size


def _of_json(data: list[Any], dtype: str | None, count: int) -> Tensor:
    try:
        values = np.array(data, dtype=np.object_ if dtype is None else dtype).reshape(-1)
    except (TypeError, ValueError, OverflowError):
        raise _wrong(_DATA) from None
    if values.size != count:
        raise _wrong(_COUNT)
    if dtype is None:
        if not all(isinstance(one, str) for one in values):
            raise _wrong(_DATA)
        encoded = np.empty(count, np.object_)
        encoded[:] = [one.encode() for one in values]
        return encoded
    return values


def _of_bytes(part: memoryview, count: int) -> Tensor:
    """Return BYTES: each element is its length in 4 bytes, and its content."""
    values: list[bytes] = []
    place = 0
    while place < len(part) and len(values) < count:
        if place + 4 > len(part):
            break
        (length,) = struct.unpack_from("<I", part, place)
        values.append(bytes(part[place + 4 : place + 4 + length]))
        place += 4 + length
    if place != len(part) or len(values) != count:
        raise _wrong(_END)
    array = np.empty(count, np.object_)
    array[:] = values
    return array


def _wrong(what: str) -> Refusal:
    return Refusal(Kind.INVALID, f"an input has {what}")


def written(
    asked: Infer, tensors: Mapping[str, Tensor], *, model: str, version: int
) -> tuple[bytes, int | None]:
    """Return the body of an answer, and the bytes of its JSON if tensors follow.

    Args:
        asked: The request, which says what is binary.
        tensors: The outputs by name, float32 or int64.
        model: The name of the model.
        version: Its version.
    """
    is_usual = bool(asked.parameters.get("binary_data_output", False))
    wanted = {one.name: one.parameters for one in asked.outputs}
    outputs, parts = [], []
    for name, values in tensors.items():
        if wanted and name not in wanted:
            continue
        content: dict[str, Any] = {
            "name": name,
            "datatype": _NAMES[values.dtype.str[1:]],
            "shape": list(values.shape),
        }
        if wanted.get(name, {}).get("binary_data", is_usual):
            raw = np.ascontiguousarray(values).tobytes()
            content["parameters"] = {"binary_data_size": len(raw)}
            parts.append(raw)
        else:
            content["data"] = np.ascontiguousarray(values).reshape(-1)
        outputs.append(content)
    head: dict[str, Any] = {"model_name": model, "model_version": str(version), "outputs": outputs}
    if asked.id:
        head["id"] = asked.id
    written_head = to_json(head)
    return b"".join([written_head, *parts]), len(written_head) if parts else None

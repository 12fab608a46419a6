"""Validation of the fields of an untrusted manifest.

Names that end up in paths, configurations or messages come from closed lists or consist of few
kinds of characters.
"""

import re
from collections.abc import Iterable
from functools import cache
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

#: The engines that variants are made for.
ENGINES = ("onnxruntime", "tensorrt")
#: The similarities of vectors: the names of `lanner.vectors.similarity` and
#: `lanner.vectors.late_interaction`, which are a layer above.
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan", "maxsim", "meanmaxsim")
#: The inputs of graphs.
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
#: The suffixes of an artifact's files. Python imports none of these.
FILE_SUFFIXES = (
    ".json",
    ".md",
    ".onnx",
    ".plan",
    ".data",
    ".npy",
    ".bin",
    ".safetensors",
    ".txt",
)
#: Larger than any count that a model has, and exact as a float of JSON.
_LARGEST = 2**53
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", re.ASCII)
_LONGEST_FILE_NAME = 200


def mistyped(part: object) -> str | None:
    """Return the first field of a dataclass, nested ones included, of a wrong type, or None."""
    own: Any = type(part)
    for name, kind in _hints(own).items():
        if not _fits(getattr(part, name), kind):
            return name
    return None


def is_name(text: str) -> bool:
    """Return whether a text may name a variant, a precision or a tensor."""
    return _NAME.fullmatch(text) is not None


def is_file_name(name: str) -> bool:
    """Return whether a file of an artifact may have this name."""
    plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name, re.ASCII) is not None
    return plain and len(name) <= _LONGEST_FILE_NAME and name.endswith(FILE_SUFFIXES)


def unfit_file_name(names: Iterable[str]) -> str | None:
    """Return the first name that no file of an artifact may have, or None."""
    return next((name for name in names if not is_file_name(name)), None)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _fits(value: Any, kind: Any) -> bool:  # noqa: PLR0911 (one line for each kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin is UnionType:
        return any(_fits(value, one) for one in arguments)
    if origin is dict:
        return isinstance(value, dict) and all(
            _fits(key, arguments[0]) and _fits(one, arguments[1]) for key, one in value.items()
        )
    if origin is list:
        return isinstance(value, list) and all(_fits(one, arguments[0]) for one in value)
    if origin is tuple:
        return (
            isinstance(value, tuple)
            and len(value) == len(arguments)
            and all(map(_fits, value, arguments))
        )
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST
    return value is None if kind is type(None) else isinstance(value, kind)

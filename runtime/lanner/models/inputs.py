"""Arguments of methods: sequences of texts in any form, and options of the right type."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from typing import Any, TypeVar, cast

import numpy as np

from lanner.errors import InputError, InputTypeError

Method = TypeVar("Method")


def require_count(name: str, value: object, *, least: int = 1) -> int:
    """Return an argument that must be a whole number.

    Raises:
        InputTypeError: It is another kind of value; True and False are no numbers.
        InputError: It is less than `least`.
    """
    # Most values are plain ints; the check of other types takes ten times as long.
    if type(value) is not int and (
        not isinstance(value, int | np.integer) or isinstance(value, bool)
    ):
        msg = f"{name} must be a whole number, not {type(value).__name__}"
        raise InputTypeError(msg)
    if value < least:
        msg = f"{name} must be at least {least}, not {value}"
        raise InputError(msg)
    return int(value)


def require_number(name: str, value: object) -> None:
    """Check an argument that must be a number.

    Raises:
        InputTypeError: It is another kind of value; True and False are no numbers.
    """
    if not isinstance(value, int | float | np.number) or isinstance(value, bool):
        msg = f"{name} must be a number, not {type(value).__name__}"
        raise InputTypeError(msg)


def require_str(**values: object) -> None:
    """Check arguments that must be strings.

    Raises:
        InputTypeError: One is not; the message names it.
    """
    for name, value in values.items():
        if not isinstance(value, str):
            msg = f"{name} must be a str, not {type(value).__name__}"
            raise InputTypeError(msg)


def require_path(**values: object) -> None:
    """Check arguments that must be paths.

    Raises:
        InputTypeError: One is not; the message names it.
    """
    for name, value in values.items():
        if not isinstance(value, str | os.PathLike):
            msg = f"{name} must be a path, not {type(value).__name__}"
            raise InputTypeError(msg)


def typed_as(_: Method) -> Callable[[Callable[..., object]], Method]:
    """Give a method the overloads of another one."""

    def typed(method: Callable[..., object]) -> Method:
        return cast("Method", method)

    return typed


def text_list(texts: Any, method: str, what: str = "a str or a sequence of str") -> list[Any]:
    """Return a sequence of texts or pairs as a list; tokenisation checks its items.

    Args:
        texts: A list, a tuple, an array, a column of a table (pandas, polars, Arrow), or an
            iterator. Not a str, and nothing without an order.
        method: The name of the method that takes it, for the message.
        what: The expected type, for the message.

    Raises:
        InputTypeError: `texts` is not a sequence, or is a whole table.
    """
    if _is_table(texts):
        msg = (
            f"{method} takes {what}, not the whole {type(texts).__name__}: give one of its columns"
        )
        raise InputTypeError(msg)
    if isinstance(texts, np.ndarray) and texts.ndim:
        return list(texts.tolist())
    is_refused = isinstance(texts, str | bytes | bytearray | Mapping | Set | np.ndarray)
    if is_refused or not isinstance(texts, Iterable):
        msg = f"{method} takes {what}, not {type(texts).__name__}"
        raise InputTypeError(msg)
    # What Arrow yields are scalars of its own.
    to_list = getattr(texts, "to_pylist", None)
    return list(texts if to_list is None else to_list())


def texts_or_vectors(given: Any, method: str) -> Any:
    """Return a list if texts are given, in whatever sequence, and else what is given.

    Raises:
        InputTypeError: It is a table of texts.
    """
    if isinstance(given, str):
        return [given]
    if isinstance(given, np.ndarray):
        return text_list(given, method) if given.dtype.kind in "OUT" and given.ndim else given
    if _is_table(given):
        values = np.asarray(given)
        return text_list(given, method) if values.dtype.kind in "OUT" else values
    is_column = hasattr(given, "to_pylist") or hasattr(given, "to_list")
    if isinstance(given, Iterator) or is_column or isinstance(given, list | tuple):
        listed = text_list(given, method)
        if any(isinstance(item, str) for item in listed):
            return listed
        return listed if isinstance(given, Iterator) else given
    return given


def _is_table(value: object) -> bool:
    """Return whether a value has columns, so that going through it yields their names."""
    if isinstance(value, Mapping):
        return False
    return hasattr(value, "columns") and (
        hasattr(value, "column_names") or hasattr(value, "iloc") or hasattr(value, "get_column")
    )

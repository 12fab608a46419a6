"""Bounded reading of untrusted files.

A file is opened without waiting (a FIFO would block forever), must be a regular file, and is read
up to a limit. JSON must be finite and valid Unicode, not nested deeper than anything that Lanner
writes, and hold no more values.
"""

import errno
import json
import math
import os
import re
import stat
from pathlib import Path
from typing import Any, Never

from lanner.errors import LannerError

#: Deepest nesting of the JSON that Lanner writes and reads, with room to spare.
MAX_DEPTH = 64
#: The most values of a JSON text, ten times a list of a hundred thousand labels. A value of two
#: bytes takes a hundred in memory.
MAX_VALUES = 2**20
#: The escape of half of a surrogate pair, perhaps beside its other half.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class TooLargeError(LannerError):
    """A file holds more bytes than such a file ever has."""


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """Return the content of a regular file.

    Args:
        path: The file.
        most_bytes: The most that it may hold.

    Raises:
        TooLargeError: The file holds more.
        OSError: The file cannot be read, or is not a regular file.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(status.st_mode):
            msg = "not a regular file"
            raise OSError(msg)
        with os.fdopen(handle, "rb", closefd=False) as file:
            # A file of /proc, or a growing file, holds more than its size says.
            content = b"" if status.st_size > most_bytes else file.read(most_bytes + 1)
    finally:
        os.close(handle)
    if status.st_size > most_bytes or len(content) > most_bytes:
        msg = f"{path} has more than the {most_bytes:,} bytes that such a file may have"
        raise TooLargeError(msg)
    return content


def parse_json(raw: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: It is not JSON, holds NaN or an infinity, half of a surrogate pair or more than
            `MAX_VALUES` values, or is nested too deeply.
    """
    # `json` accepts lone surrogates.
    text = raw if isinstance(raw, str) else raw.decode(json.detect_encoding(raw))
    # Each value except the first follows one of these characters; those inside of texts count too.
    if sum(map(text.count, ",[{")) > MAX_VALUES:
        msg = f"it holds more than {MAX_VALUES:,} values"
        raise ValueError(msg)
    try:
        content = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        msg = "it is nested too deeply"
        raise ValueError(msg) from None
    level = [content]
    for _ in range(MAX_DEPTH):
        level = [
            value
            for one in level
            if isinstance(one, dict | list)
            for value in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            if _SURROGATE.search(text):
                _require_unicode(content)
            return content
    msg = f"it is nested more than {MAX_DEPTH} levels deep"
    raise ValueError(msg)


def _require_unicode(content: object) -> None:
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        msg = "it holds half of a surrogate pair"
        raise ValueError(msg) from None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _refuse_constant(text[:20])
    return number


def _refuse_constant(name: str) -> Never:
    msg = f"it holds {name}, which is not JSON"
    raise ValueError(msg)

"""The operator's own patterns for masking."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lanner.artifact.bounded import TooLargeError, read_bounded
from lanner.errors import InputError, MissingExtraError
from lanner.service.access.personal_data import KINDS, Recogniser, Recognisers

_MOST_BYTES = 1 << 20
_MOST_PATTERNS = 100
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


def read_patterns(path: Path) -> Recognisers:
    """Return recognisers of the operator's own patterns.

    The file is TOML: tables ``[[pattern]]`` with a ``name``, which names the placeholder, and a
    ``regex`` in the syntax of RE2, which has no backtracking and so takes time in proportion to
    the text whatever the pattern.

    Raises:
        InputError: The file or a pattern is not usable.
        MissingExtraError: google-re2 is not installed.
    """
    found: Recognisers = {}
    for number, (name, regex) in enumerate(_tables(path), 1):
        place = f"pattern {number} of {path}"
        if not _NAME.fullmatch(name) or name in found or name in KINDS:
            msg = (
                f"the name {name!r} of {place} is taken or not usable: use up to 32 small letters, "
                "digits, '_' and '-'"
            )
            raise InputError(msg)
        found[name] = _recogniser(regex, place)
    return found


def _tables(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the regex of each table."""
    try:
        content = tomllib.loads(read_bounded(path, _MOST_BYTES).decode())
    except (OSError, ValueError, TooLargeError) as error:
        msg = f"the patterns in {path} cannot be read ({getattr(error, 'strerror', 0) or error})"
        raise InputError(msg) from None
    tables = content.get("pattern")
    if not isinstance(tables, list) or content.keys() != {"pattern"}:
        msg = f"{path} must have tables [[pattern]] with a name and a regex, and nothing else"
        raise InputError(msg)
    if len(tables) > _MOST_PATTERNS:
        msg = f"{path} has {len(tables)} patterns, and may have {_MOST_PATTERNS}"
        raise InputError(msg)
    for number, table in enumerate(tables, 1):
        match table:
            case {"name": str(name), "regex": str(regex), **others} if not others:
                yield name, regex
            case _:
                msg = f"pattern {number} of {path} must have a name and a regex, both text"
                raise InputError(msg)


def _recogniser(regex: str, place: str) -> Recogniser:
    try:
        import re2  # noqa: PLC0415 (an extra)
    except ImportError as error:
        what = "masking by own patterns"
        raise MissingExtraError(what, "masking", "re2") from error
    options = re2.Options()
    options.log_errors = False  # the error below explains it
    try:
        compiled: Any = re2.compile(regex, options)
    except re2.error as error:
        said = error.args[0]
        reason = said.decode() if isinstance(said, bytes) else said
        msg = f"the regex of {place} is not one of RE2: {reason}"
        raise InputError(msg) from None
    if compiled.search("") is not None:
        msg = f"the regex of {place} fits an empty text: it would mask between all characters"
        raise InputError(msg)
    return lambda text: (found.span() for found in compiled.finditer(text))

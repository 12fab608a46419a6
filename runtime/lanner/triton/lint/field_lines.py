"""Line numbers of the fields of a config.pbtxt.

protobuf's parser reports lines only for errors. Its tokenizer knows the line of every token, and
recognizes comments and strings, which is enough: the structure is names, braces and brackets.
"""

import re
from typing import Any

from lanner.errors import MissingExtraError

try:
    from google.protobuf.text_format import Tokenizer
except ImportError as error:
    what = "a Triton model repository"
    raise MissingExtraError(what, "triton", "protobuf") from error

_CLOSING = {"{": "}", "<": ">"}
_STEP = re.compile(r'\w+|\[\d+\]|\["[^"]*"\]')

_Path = tuple[str, ...]


class FieldLines:
    """The lines of the fields of a text in protobuf's text format.

    Args:
        text: A text that was parsed without an error.
    """

    def __init__(self, text: str) -> None:
        self._lines: dict[_Path, int] = {}
        # The parser splits lines in the same way.
        self._tokens = Tokenizer(text.split("\n"))
        self._read_message((), end="")

    def line(self, path: str) -> int:
        """Return the line, from 1, on which a field begins, or that of its enclosing message.

        Args:
            path: For example ``instance_group[0].count`` (the default index is 0) or, for a map,
                ``parameters["threads"]``.
        """
        steps = _canonical(path)
        while steps and steps not in self._lines:
            steps = steps[:-2]
        return self._lines.get(steps, 1)

    def __contains__(self, path: str) -> bool:
        return _canonical(path) in self._lines

    def _read_message(self, place: _Path, end: str) -> None:
        counts: dict[str, int] = {}
        while self._tokens.token != end:
            line, name = self._line, self._take()
            self._skip(":")
            if self._skip("["):
                while not self._skip("]"):
                    self._read_value(place, name, counts, self._line)
                    self._skip(",")
                # An empty list has a line, too.
                self._lines.setdefault((*place, name, "[0]"), line)
            else:
                self._read_value(place, name, counts, line)
            self._skip(",", ";")
        if end:
            self._take()

    def _read_value(self, place: _Path, name: str, counts: dict[str, int], line: int) -> None:
        step = f"[{counts.get(name, 0)}]"
        counts[name] = counts.get(name, 0) + 1
        self._lines[*place, name, step] = line
        opening = self._tokens.token
        if opening in _CLOSING:
            self._take()
            self._read_message((*place, name, step), _CLOSING[opening])
        elif name == "key" and opening[:1] in {'"', "'"}:
            # The entry of a map can also be found by its key.
            key = self._tokens.ConsumeString()
            entry = self._lines[place]
            self._lines[*place[:-1], f'["{key}"]'] = entry
        else:
            self._take()
            while self._tokens.token[:1] in {'"', "'"}:  # adjacent strings are one
                self._take()

    @property
    def _line(self) -> int:
        # The tokenizer tells its position only in an error.
        line: int = self._tokens.ParseError("").GetLine()
        return line

    def _take(self) -> str:
        token: str = self._tokens.token
        self._tokens.NextToken()
        return token

    def _skip(self, *tokens: str) -> bool:
        is_here = self._tokens.token in tokens
        if is_here:
            self._take()
        return is_here


def _canonical(path: str) -> _Path:
    steps: list[Any] = []
    for step in _STEP.findall(path):
        if len(steps) % 2 == 1 and not step.startswith("["):
            steps.append("[0]")
        steps.append(step)
    return tuple(steps + ["[0]"] * (len(steps) % 2))

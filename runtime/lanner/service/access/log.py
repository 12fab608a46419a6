"""The log of the service: a line for each request, and messages; no text, key or path of a client.

A thread writes the lines from a bounded queue. If the writer is slow or closed, lines are dropped;
they are counted and reported, and never delay or fail a request. All values are escaped, so no
client can begin a line or control a terminal.
"""

import json
import logging
import math
import os
import random
import re
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

Value = str | int | float | bool | None | Mapping[str, float] | Mapping[str, int]

#: The most lines that wait for the writer, about 2 MiB.
_MOST_WAITING = 8192
#: Lines that come within this time are written together, because waking the writer costs more than
#: writing a line.
_GATHER_S = 0.05
#: The most seconds to wait at the end for unwritten lines.
_CLOSE_S = 2.0
#: A client's request id that is kept. Any other id is replaced.
_REQUEST_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
#: Ids distinguish requests and are no secret. The system's random bytes would need a system call
#: for each.
_IDS = random.Random()  # noqa: S311
#: Made once, because `json.dumps` makes an encoder for each line.
_ENCODE = json.JSONEncoder(default=str).encode
_PLAIN = re.compile(r"[A-Za-z0-9_./:+-]+")
#: The constant beginning of a library's message; asyncio and others append values to it.
_WORDS = re.compile(r"[A-Za-z %]*")

#: The seconds in which the same message of a library is written once, and the most kinds of
#: messages.
_REPEATED_S, _MOST_KINDS = 10.0, 1_000

Level = Literal["info", "warning", "error"]
#: The forms of a line.
SHAPES = ("text", "json")


def request_id(given: bytes | None) -> str:
    """Return the id of a request: the client's if it is harmless in a log, otherwise a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode()
    return f"{_IDS.getrandbits(64):016x}"


class Log:
    """Writes lines to a file descriptor, in a thread of its own.

    Args:
        file: The file descriptor, by default stderr. It stays open.
        shape: ``"json"`` for an object a line, ``"text"`` for words and fields.
        requests: False leaves out the lines of requests, not the messages.
    """

    def __init__(self, file: int = 2, shape: str = "text", *, requests: bool = True) -> None:
        self._file, self._render = file, _RENDERERS[shape]
        #: True if requests have lines.
        self.has_requests = requests
        self._lines: deque[str] = deque()
        self._lost = 0
        self._wake, self._closed = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def request(self, **fields: Value) -> None:
        """Write the line of a request.

        Args:
            fields: Its values by name. They must hold nothing that a user wrote; strings are
                escaped all the same.
        """
        if self.has_requests:
            self._put("info", "request", fields)

    def message(self, level: Level, text: str, **fields: Value) -> None:
        """Write a message of the service."""
        self._put(level, text, fields)

    def close(self) -> None:
        """Write the waiting lines, for at most two seconds, and end the thread."""
        self._closed.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_S)

    def _put(self, level: Level, event: str, fields: Mapping[str, Value]) -> None:
        if len(self._lines) >= _MOST_WAITING:
            self._lost += 1
            return
        self._lines.append(self._line(level, event, fields))
        if self._thread is None:
            self._start()
        if not self._wake.is_set():
            self._wake.set()

    def _line(self, level: Level, event: str, fields: Mapping[str, Value]) -> str:
        return self._render(_record(level, event, fields))

    def _start(self) -> None:
        # At the first line, because a process that forks its workers would leave them no thread.
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, name="log", daemon=True)
                self._thread.start()

    def _write(self) -> None:
        while not (self._closed.is_set() and not self._lines):
            self._wake.wait()
            self._closed.wait(_GATHER_S)
            self._wake.clear()
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            lost, self._lost = self._lost, 0
            if lost:
                lines.append(self._line("warning", "log lines lost", {"lines": lost}))
            _write_all(self._file, "".join(lines).encode())


def json_line(level: Level, event: str) -> str:
    """Return a message as a line of a log in JSON, without its line feed."""
    return _escaped(_record(level, event, {}))


class LibraryMessages(logging.Handler):
    """Passes messages of libraries on to a log, without what they were formatted with.

    The first words of a message are in the source of the library. Its arguments, and the message
    of an exception, may hold a path or a text of a client; of them only the exception's type and
    the place that raised it remain.

    A message that comes again within ten seconds is counted, and not written: some are due to
    strangers, who could fill a log with them. The next one says how many there were.

    Args:
        log: The log.
        level: The least level that is passed on.
    """

    def __init__(self, log: Log, level: int = logging.WARNING) -> None:
        super().__init__(level)
        self._log = log
        #: By logger, message and place: the time of the last write, and the number of unwritten
        #: ones since.
        self._last: dict[tuple[str, str, Value], tuple[float, int]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message."""
        level: Level = "info" if record.levelno < logging.WARNING else "warning"
        text = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
        found = _WORDS.match(text)
        words = found[0].strip() if found else ""
        fields: dict[str, Value] = {"logger": record.name}
        if record.exc_info and record.exc_info[1] is not None:
            fields |= raised(record.exc_info[1])
        kind = (record.name, words, fields.get("place"))
        last_s, left_out = self._last.get(kind, (-math.inf, 0))
        if record.created - last_s < _REPEATED_S:
            self._last[kind] = last_s, left_out + 1
            return
        if len(self._last) >= _MOST_KINDS:
            self._last.clear()
        self._last[kind] = record.created, 0
        if left_out:
            fields["left_out"] = left_out
        self._log.message(
            "error" if record.levelno >= logging.ERROR else level,
            words,
            **fields,
        )


def raised(error: BaseException) -> dict[str, Value]:
    """Return the type of an error and the place that raised it, and not its message."""
    fields: dict[str, Value] = {"error": type(error).__name__}
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is not None:
        code = trace.tb_frame.f_code
        fields["place"] = f"{Path(code.co_filename).name}:{trace.tb_lineno}"
    return fields


def _record(level: Level, event: str, fields: Mapping[str, Value]) -> dict[str, Value]:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {"time": now, "level": level, "event": event, **fields}


def _write_all(file: int, content: bytes) -> None:
    # A closed log has no reader, and a request must not fail because of it.
    with suppress(OSError):
        while content:
            try:
                content = content[os.write(file, content) :]
            except BlockingIOError:  # another program made the descriptor non-blocking
                time.sleep(_GATHER_S)


def _json(fields: Mapping[str, Value]) -> str:
    return _escaped(fields) + "\n"


def _text(fields: Mapping[str, Value]) -> str:
    words = []
    for name, value in fields.items():
        if isinstance(value, Mapping):
            words += [f"{name}.{part}={_plain(number)}" for part, number in value.items()]
        elif name in ("time", "level", "event"):
            shown = str(value)
            words.append(shown if _PLAIN.fullmatch(shown) else _escaped(shown)[1:-1])
        else:
            words.append(f"{name}={_plain(value)}")
    return " ".join(words) + "\n"


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, int):
        return str(value)
    shown = "-" if value is None else str(value)
    return shown if _PLAIN.fullmatch(shown) else _escaped(shown)


def _escaped(value: object) -> str:
    # Only ASCII: no line break of Unicode, and no control character except DEL, stays as it is.
    return _ENCODE(value).replace("\x7f", "\\u007f")


_RENDERERS = {"json": _json, "text": _text}

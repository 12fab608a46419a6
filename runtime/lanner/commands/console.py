"""The output of commands: answers and JSON on stdout, progress and messages on stderr."""

import argparse
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from tqdm import tqdm

from lanner.errors import EngineError
from lanner.files.rows import Rows
from lanner.files.staging import staged_file
from lanner.machine import interruption

#: Characters that control a terminal or reverse a line: escapes, control characters, directions of
#: writing.
_STEERING = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
#: Progress is a bar on a terminal, and in a log one line in this many seconds.
_LINE_EVERY_S = 60.0
#: The time without a word after which a step is said to go on, and between two ticks of its clock.
_SILENT_S, _CLOCK_S = 15.0, 1.0
_KNOWN_TOTAL = "{percentage:3.0f}% |{bar}| ", ", {remaining} left"


def printable(text: str) -> str:
    """Return a text without characters that control a terminal, except line breaks and tabs."""
    return _STEERING.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def show(text: str) -> None:
    """Print an answer for people to stdout."""
    sys.stdout.write(printable(text) + "\n")


def shows_progress(args: argparse.Namespace) -> bool:
    """Return whether to show progress: for a whole file, on a terminal."""
    return sys.stderr.isatty() and bool(args.input)


def write_jsonl(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write a file with one JSON object per line, atomically."""
    with staged_file(path) as file:
        for record in records:
            file.write(_json(record).encode() + b"\n")


def write_answers(
    args: argparse.Namespace,
    variant: str,
    answers: Sequence[Mapping[str, Any]],
    shown: Callable[[], str],
) -> None:
    """Write answers to the output file, as one JSON object, or as text.

    Args:
        args: With the options of `add_input_options`.
        variant: The name of the variant.
        answers: JSON objects in the order of the input.
        shown: Returns the text if neither a file nor JSON was asked for.
    """
    if args.output is not None:
        write_jsonl(args.output, answers)
        say(f"{len(answers):,} answers in {args.output}")
        if args.json:
            print_json({"variant": variant, "texts": len(answers), "output": str(args.output)})
    elif args.json:
        print_json({"variant": variant, "answers": list(answers)})
    else:
        sys.stdout.write(printable(shown()) + "\n" if answers else "")


def print_json(value: object) -> None:
    """Print one JSON object to stdout."""
    # JSON has its own escapes for characters that control a terminal.
    text = _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", _json(value))
    sys.stdout.write(text + "\n")


def _json(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        msg = "an answer holds NaN or an infinity, which JSON cannot: leave --json out to see it"
        raise EngineError(msg) from None


def say(text: str = "") -> None:
    """Print a line to stderr."""
    sys.stderr.write(printable(text) + "\n")


@contextmanager
def steps() -> Iterator[Callable[[str], object]]:
    """Yield a function that shows the current step on stderr.

    On a terminal it is one live line with the elapsed time. In a log it is a line per step, and
    another one for every quarter of a minute in which the step said nothing.
    """
    if not sys.stderr.isatty():
        log = _StepLog()
        with _every(_SILENT_S / 3, log.still_runs):
            yield _checked(log.begin)
        return
    with (
        tqdm(bar_format="{desc} [{elapsed}]", leave=False) as line,
        _every(_CLOCK_S, line.refresh),
    ):
        yield _checked(line.set_description_str)


class _StepLog:
    """The lines of steps in a log."""

    def __init__(self) -> None:
        self._step = ""
        self._begun_s = self._said_s = time.monotonic()

    def begin(self, step: str) -> None:
        self._step = step
        self._begun_s = self._said_s = time.monotonic()
        say(step)

    def still_runs(self) -> None:
        """Say that the step goes on, if nothing was said for a while."""
        now_s = time.monotonic()
        if self._step and now_s - self._said_s >= _SILENT_S:
            self._said_s = now_s
            say(f"{self._step}: {now_s - self._begun_s:,.0f} s so far")


@contextmanager
def _every(period_s: float, call: Callable[[], object]) -> Iterator[None]:
    """Call a function every so many seconds, in a thread, until the block ends."""
    is_over = threading.Event()

    def repeat() -> None:
        while not is_over.wait(period_s):
            with suppress(OSError, ValueError):  # stderr was closed
                call()

    thread = threading.Thread(target=repeat, name="lanner-steps", daemon=True)
    with suppress(RuntimeError):  # no thread can be started: the steps are shown without it
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        if thread.ident is not None:
            thread.join()


def _checked(tell: Callable[[str], object]) -> Callable[[str], object]:
    def begin(step: str) -> None:
        interruption.check()  # the step before may have swallowed a signal
        tell(printable(step))

    return begin


def table(rows: Sequence[Sequence[object]], *, indent: str = "") -> str:
    """Return rows in aligned columns, the first row being the header; numbers are right-aligned."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [
        all(
            isinstance(row[i], int | float) or str(row[i])[:1] in "+-0123456789" for row in rows[1:]
        )
        for i in range(len(widths))
    ]
    lines = [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        )
        for row in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(indent + line.rstrip() for line in lines)


def size(count: int) -> str:
    """Return a number of bytes in a readable unit."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


class Progress:
    """A display on stderr: texts done, texts per second, and the time left.

    The time left is estimated from the position in the input, so the rows need not be counted.

    Args:
        rows: The input.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, texts: int) -> None:
        """Show the number of finished texts; those of the first call do not count for the rate."""
        now_s = time.monotonic()
        if self._bar is None:
            self._begin_s = self._said_s = now_s
            self._first_texts, self._first_position = texts, self._rows.position
            self._bar = self._new_bar()
            return
        rate = (texts - self._first_texts) / max(now_s - self._begin_s, 1e-9)
        done = f"{texts:,} texts, {rate:,.0f} texts/s"
        if not self._bar.disable:
            self._bar.set_description_str(done, refresh=False)
            self._bar.update(self._rows.position - self._bar.n)
        elif now_s - self._said_s >= _LINE_EVERY_S:
            self._said_s = now_s
            say(f"{done}{self._left(now_s - self._begin_s)}")

    def _new_bar(self) -> "tqdm[Any]":
        part, left = ("", "") if self._rows.total is None else _KNOWN_TOTAL
        return tqdm(
            total=self._rows.total,
            initial=self._rows.position,
            bar_format=f"{part}{{desc}} [{{elapsed}}{left}]",
            disable=not sys.stderr.isatty(),
        )

    def _left(self, elapsed_s: float) -> str:
        read = self._rows.position - self._first_position
        if self._rows.total is None or not read:
            return ""
        left_s = elapsed_s * (self._rows.total - self._rows.position) / read
        return f", {tqdm.format_interval(left_s)} left"

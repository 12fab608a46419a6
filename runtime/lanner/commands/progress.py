"""The progress of a long job: a bar on a terminal, a line per minute in a log."""

import sys
import time
from typing import Any, Self

from tqdm import tqdm

from lanner.commands.console import say
from lanner.files.rows import Rows

_LINE_EVERY_S = 60.0
_KNOWN_TOTAL = "{percentage:3.0f}% |{bar}| ", ", {remaining} left"


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

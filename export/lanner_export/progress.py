"""Progress within the long steps of an export."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

#: Called when a step begins, and within a long one, with what is done.
Progress = Callable[[str], object]

Item = TypeVar("Item")
#: The time between two reports of one step.
EVERY_S = 5.0


def counted(items: Sequence[Item], progress: Progress, step: str) -> Iterator[Item]:
    """Yield items, and report every few seconds how many are done.

    Args:
        items: The items.
        progress: Called with the report.
        step: The step, in words.
    """
    said_s = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - said_s >= EVERY_S:
            said_s = time.monotonic()
            progress(f"{step}: {done:,} of {len(items):,}")
        yield item


def silent(_: str) -> None:
    """Report nothing."""

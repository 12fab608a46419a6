"""Ctrl-C and termination that are not lost, even where a library swallows what a handler raises.

torch, for one, may drop an exception that comes up in a callback from its own code. So the signal
is remembered, and long work asks with `check` before it goes on and before its result is known.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: The signal that came and has not been answered; set by the handler, in the main thread.
_received: int | None = None


@contextmanager
def handled() -> Iterator[None]:
    """Makes SIGINT and SIGTERM unwind the stack within the block, so that work is cleaned up.

    An interrupt that is ignored, as in a background job, stays ignored. Outside of the main thread,
    which alone gets signals, nothing is changed.
    """
    global _received  # noqa: PLW0603 (a signal handler has no other place)
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        numbers.append(signal.SIGINT)
    before = {number: signal.signal(number, _handle) for number in numbers}
    _received = None
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _received = None


def check() -> None:
    """Does again what the handler did, if a signal came and was swallowed.

    Raises:
        KeyboardInterrupt: It was SIGINT.
        SystemExit: It was SIGTERM; the status is 128 and its number.
    """
    if _received is not None:
        _raise(_received)


def _handle(number: int, _frame: FrameType | None) -> None:
    global _received  # noqa: PLW0603
    _received = number
    _raise(number)


def _raise(number: int) -> None:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)

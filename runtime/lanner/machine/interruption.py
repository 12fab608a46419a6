"""Reliable handling of Ctrl-C and SIGTERM, even if a library swallows the handler's exception.

torch, for example, may drop an exception raised in a callback from its own code. So the handler
records the signal, and long work calls `check` before it continues and before it reports a result.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: The pending signal; set by the handler, in the main thread.
_received: int | None = None


@contextmanager
def handled() -> Iterator[None]:
    """Make SIGINT and SIGTERM unwind the stack within the block, so that work is cleaned up.

    An ignored interrupt, as in a background job, stays ignored. Only the main thread gets signals;
    in any other thread nothing is changed.
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
    """Raise the handler's exception again, if a signal came and the exception was swallowed.

    Raises:
        KeyboardInterrupt: The signal was SIGINT.
        SystemExit: The signal was SIGTERM; the status is 128 plus its number.
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

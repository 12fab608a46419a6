"""The work of several threads per second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence


def rate(calls: Sequence[Callable[[], object]], amount: float, window_s: float) -> float:
    """Return the amount a second of several calls, each repeated in a thread of its own.

    Args:
        calls: A function for each thread; it must release Python's lock, so that all run at once.
        amount: The work of one call, for example its operations.
        window_s: The least seconds of repetition, after a first call of each thread.

    Returns:
        The sum of the rates of the threads.
    """
    rates = [0.0] * len(calls)
    failures: list[BaseException] = []
    start = threading.Barrier(len(calls))

    def repeat(index: int) -> None:
        call, count = calls[index], 0
        try:
            call()
            start.wait()
            begin = now = time.perf_counter()
            while count == 0 or now - begin < window_s:
                call()
                count += 1
                now = time.perf_counter()
            rates[index] = count * amount / (now - begin)
        except BaseException as error:  # noqa: BLE001 (raised below, in the caller's thread)
            failures.append(error)
            start.abort()

    threads = [threading.Thread(target=repeat, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        # Threads that only met a broken barrier do not know the cause.
        raise next(e for e in failures if not isinstance(e, threading.BrokenBarrierError))
    return sum(rates)

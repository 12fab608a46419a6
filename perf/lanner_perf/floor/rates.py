"""The work of several threads per second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence


def rate(calls: Sequence[Callable[[], object]], amount: float, window_s: float) -> float:
    """Amount a second of several calls, each repeated by a thread of its own for a while.

    Args:
        calls: A function for each thread; it must release Python's lock for them to run at once.
        amount: The work of one call, for example its operations.
        window_s: The least time, after a first call of each thread.

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
        except BaseException as error:  # noqa: BLE001 (raised below, where the caller is)
            failures.append(error)
            start.abort()

    threads = [threading.Thread(target=repeat, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        # Of the others that a broken barrier stopped, nothing is to be learnt.
        raise next(e for e in failures if not isinstance(e, threading.BrokenBarrierError))
    return sum(rates)

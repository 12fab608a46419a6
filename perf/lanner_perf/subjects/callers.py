"""Many callers of one subject at once, each with one text a call.

Closed loop: a caller sends its next text when it has the last answer, so the load adapts to the
speed of the subject. Open loop: texts arrive at set times, as requests of a service do, whether or
not earlier texts are answered. An open-loop latency counts from the arrival. If it counted from the
start of the call, it would leave out the waiting that a slow subject causes ("coordinated
omission").

This runs in the subject's process and imports nothing but the standard library.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from lanner_perf.subjects.totals import Totals

#: The names of the errors that mean that too many calls are waiting.
REFUSALS = ("Overloaded",)
Outcome = Literal["answered", "refused", "failed", "waiting"]


class Call(NamedTuple):
    """One call.

    Attributes:
        due_s: The time at which it was due, in seconds since the first caller was ready.
        end_s: The time at which it ended, in seconds since the same moment.
        outcome: Its outcome; "waiting" if the run was cut short before the answer.
    """

    due_s: float
    end_s: float
    outcome: Outcome


class Calls(NamedTuple):
    """All calls of a run, in the order in which they were due.

    Attributes:
        calls: The calls.
        failure: The message of the first call that failed; empty if none did.
        is_cut_short: True if the run was ended because it had fallen too far behind.
        cpu_s: CPU time of the subject's process during the run.
        totals: The work of the client and the server during the run; None without a server.
    """

    calls: list[Call]
    failure: str = ""
    is_cut_short: bool = False
    cpu_s: float = 0.0
    totals: Totals | None = None


def closed_loop(answer: Callable[[str], object], texts: Sequence[str], callers: int) -> Calls:
    """Share the texts among this many callers."""
    return _Run(answer, texts, None, float("inf")).of(callers)


def open_loop(
    answer: Callable[[str], object],
    texts: Sequence[str],
    arrivals_s: Sequence[float],
    *,
    callers: int,
    patience_s: float,
) -> Calls:
    """Run calls for texts that arrive at given times.

    Args:
        answer: Answers one text.
        texts: A text for each arrival; fewer texts are repeated.
        arrivals_s: The times of the arrivals, ascending, in seconds.
        callers: The most calls at once; a further arrival waits for a free caller.
        patience_s: The run ends when an arrival has waited for a caller longer than this.
    """
    return _Run(answer, texts, arrivals_s, patience_s).of(callers)


class _Run:
    def __init__(
        self,
        answer: Callable[[str], object],
        texts: Sequence[str],
        arrivals_s: Sequence[float] | None,
        patience_s: float,
    ) -> None:
        self._answer = answer
        self._texts = texts
        self._arrivals_s = arrivals_s
        self._patience_s = patience_s
        self._count = len(texts) if arrivals_s is None else len(arrivals_s)
        self._begin = 0.0
        self._is_over = threading.Event()
        # Under the lock: the next text, the outcome of each call, the first failure's message.
        self._lock = threading.Lock()
        self._next = 0
        self._calls: dict[int, Call] = {}
        self._failure = ""

    def of(self, callers: int) -> Calls:
        ready = threading.Barrier(callers, action=self._start)
        threads = [threading.Thread(target=self._call, args=(ready,)) for _ in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        is_cut_short = self._is_over.is_set()
        if is_cut_short:
            self._count_waiting()
        calls = [self._calls[index] for index in sorted(self._calls)]
        return Calls(calls, self._failure, is_cut_short)

    def _start(self) -> None:
        self._begin = time.perf_counter()

    def _call(self, ready: threading.Barrier) -> None:
        ready.wait()
        while (index := self._take()) is not None:
            due_s = self._now_s() if self._arrivals_s is None else self._arrivals_s[index]
            if not self._await(due_s):
                return
            self._answer_one(index, due_s)

    def _take(self) -> int | None:
        with self._lock:
            if self._next == self._count:
                return None
            self._next += 1
            return self._next - 1

    def _await(self, due_s: float) -> bool:
        """Wait for an arrival; return False if the run is over."""
        early_s = due_s - self._now_s()
        if -early_s > self._patience_s:
            self._is_over.set()
        return not self._is_over.wait(max(0.0, early_s))

    def _answer_one(self, index: int, due_s: float) -> None:
        outcome: Outcome = "answered"
        failure = ""
        try:
            self._answer(self._texts[index % len(self._texts)])
        except Exception as error:  # noqa: BLE001 (counted and reported)
            outcome = "refused" if type(error).__name__ in REFUSALS else "failed"
            failure = " ".join(f"{type(error).__name__}: {error}".split())
        call = Call(due_s, self._now_s(), outcome)
        with self._lock:
            self._calls[index] = call
            if outcome == "failed":
                self._failure = self._failure or failure

    def _count_waiting(self) -> None:
        """Enter the calls that were due and had not begun, so that the waiting is not hidden."""
        now_s = self._now_s()
        for index, due_s in enumerate(self._arrivals_s or ()):
            if index not in self._calls and due_s < now_s:
                self._calls[index] = Call(due_s, now_s, "waiting")

    def _now_s(self) -> float:
        return time.perf_counter() - self._begin

"""A caller's sequences on their way through an engine: a call, and its batches."""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lanner.errors import DeadlineError
from lanner.monitoring.traces import Trace, current_trace
from lanner.running.beginning import Beginning, current_beginning

Rows = NDArray[np.int64]
Output = NDArray[np.float32]


class Batch(NamedTuple):
    """Some sequences of one call that run together.

    Attributes:
        call: The call that the sequences belong to.
        rows: Indices of the call's sequences, int64 [batch].
        longest: The number of tokens of the longest.
        tokens: The number of tokens of all.
    """

    call: "Call"
    rows: Rows
    longest: int
    tokens: int


@dataclass(eq=False, slots=True)
class Call:
    """One caller's sequences on their way through an engine.

    Attributes:
        sequences: The sequences that the batches index, in the runner's own type.
        batches: The batches that wait.
        most_rows: The most sequences that may run together with those of this call.
        deadline_s: The time by `time.monotonic` at which the caller stops waiting, or None.
        is_dropped: True if nobody waits for the call any longer.
        is_admitted: True for a part of a larger call that was admitted already.
        may_take_all: True if its only batch may take the cores of all workers in a worker's thread,
            as it does in the caller's.
        beginning: Told when the first batch runs, or None.
        since_s: The time by `time.monotonic` at which the call was made.
    """

    sequences: Any
    batches: deque[Batch] = field(default_factory=deque)
    most_rows: int = 1 << 30
    deadline_s: float | None = None
    is_admitted: bool = False
    is_dropped: bool = False
    may_take_all: bool = False
    beginning: Beginning | None = field(default_factory=current_beginning.get)
    trace: Trace | None = field(default_factory=current_trace.get)
    since_s: float = field(default_factory=time.monotonic)
    unanswered: int = 0
    _answers: "SimpleQueue[tuple[Rows, Output] | BaseException]" = field(
        default_factory=SimpleQueue
    )

    def answer(self, answer: tuple[Rows, Output] | BaseException) -> None:
        """Hand an answer, or the error in its place, to the caller's thread."""
        self._answers.put(answer)

    def drop(self, reason: BaseException | None = None) -> None:
        """Make the workers skip the waiting batches, and raise `reason`, if any, in the caller."""
        self.is_dropped = True
        if reason is not None:
            self.answer(reason)

    @property
    def is_late(self) -> bool:
        """True if the deadline has passed."""
        return self.deadline_s is not None and time.monotonic() >= self.deadline_s

    def answers(self) -> Iterator[tuple[Rows, Output]]:
        """Yield the answer of each batch as it comes.

        Raises:
            DeadlineError: The deadline passes first.
            CancelledError: The call was cancelled.
            EngineError: The engine failed.
        """
        try:
            while self.unanswered:
                answer = self._next()
                if isinstance(answer, BaseException):
                    raise answer
                self.unanswered -= 1
                yield answer
        finally:
            self.is_dropped = True

    def _next(self) -> tuple[Rows, Output] | BaseException:
        if self.deadline_s is None:
            return self._answers.get()
        try:
            return self._answers.get(timeout=max(0.0, self.deadline_s - time.monotonic()))
        except Empty:
            raise deadline_error() from None


def note_beginning(batches: list[Batch]) -> None:
    """Tell the calls of batches that these begin."""
    for batch in batches:
        if batch.call.beginning is not None:
            batch.call.beginning.note()


def is_gone(call: Call) -> bool:
    """Return whether nobody waits for a call; one that is late is dropped."""
    if call.is_late:
        call.drop(deadline_error())
    return call.is_dropped


def deadline_error() -> DeadlineError:
    """Return the error for a caller whose deadline has passed."""
    msg = (
        "the deadline passed before the answer was there: allow more time with timeout_ms, or send "
        "less at once"
    )
    return DeadlineError(msg)

"""The queue: runs large calls batch by batch, and the texts of concurrent callers together.

A call that comes while a worker is free runs at once, in its caller's own thread. A call that comes
while all workers are busy waits. Calls of one batch are run together with others that wait; a call
of many batches feeds the workers batch by batch. If both kinds wait they take turns: a large call
delays small ones by one batch at most, and many small calls cannot hold up a large one.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from lanner.errors import CancelledError, Overloaded
from lanner.running.call import (
    Batch,
    Call,
    Output,
    Rows,
    deadline_error,
    is_gone,
    note_beginning,
)
from lanner.running.cancellation import Cancellation, current_cancellation
from lanner.running.workers import Workers

#: The weight of the last run in the moving average of a token's time, if it took less or more: the
#: first run, and any that shares its core, takes a multiple.
_WEIGHT_OF_LESS, _WEIGHT_OF_MORE = 0.5, 0.05
#: The batches into which a worker cuts its share of the packed texts that wait.
_PACKED_SHARES = 2


class Scheduler:
    """A bounded queue of calls before the workers of one engine. Any thread may call it.

    One lock guards all mutable state; it is never held while the engine runs.

    Args:
        run: Runs batches of one call or several together; the output rows are in their order.
        workers: The number of runs at once.
        token_budget: The most padded tokens in one run, or tokens of packed texts.
        run_tokens: The fixed cost of a run, in tokens, or None; see `lanner.engines.Engine`.
        max_waiting: The most calls that wait.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Batch], bool], Output],
        *,
        workers: int,
        token_budget: int,
        run_tokens: int | None,
        max_waiting: int,
    ) -> None:
        self._run = run
        self._workers = workers
        self._token_budget, self._run_tokens = token_budget, run_tokens
        self._max_waiting = max_waiting
        self._lock = threading.Lock()
        self._small: deque[Batch] = deque()
        self._large: deque[Call] = deque()
        self._is_turn_of_large = False
        self._running = self._running_tokens = 0
        # A drain ends when nothing waits, so that an idle thread holds no reference to this object.
        self._threads = Workers(workers)
        #: Seconds that a token took in batches that ran alone, a moving average; 0 at first.
        self.token_s = 0.0
        self.pid = os.getpid()

    def start(self, call: Call) -> None:
        """Put a call's batches into the queue.

        Raises:
            Overloaded: Too many calls wait already.
        """
        self._register(call)
        with self._lock:
            drains_here = not self._enqueue(call)
        if drains_here:
            self._drain()

    def run(self, call: Call) -> Iterator[tuple[Rows, Output]]:
        """Start a call and yield its answers; a single batch runs in this thread if it can.

        Raises:
            Overloaded: Too many calls wait already.
            DeadlineError, CancelledError, EngineError: See `Call.answers`.
        """
        self._register(call)
        with self._lock:
            is_first = not (self._small or self._large) and self._running < self._workers
            runs_here = is_first and len(call.batches) == 1
            if runs_here:
                is_alone, drains_here = self._running == 0, False
                self._begin(call.batches)
                self._running += 1
            else:
                is_alone, drains_here = False, not self._enqueue(call)
        if drains_here:
            self._drain()
        if not runs_here:
            yield from call.answers()
            return
        yield self._run_here(call, is_alone=is_alone)

    def run_alone(self, call: Call) -> tuple[Rows, Output] | None:
        """Run a call of one batch in this thread, if nothing else runs or waits.

        Returns:
            The answer, or None if the call has to be started.

        Raises:
            DeadlineError, EngineError: See `Call.answers`.
        """
        if call.is_late:
            raise deadline_error()
        with self._lock:
            if self._running or self._small or self._large:
                return None
            self._begin(call.batches)
            self._running += 1
        return self._run_here(call, is_alone=call.may_take_all)

    def _run_here(self, call: Call, *, is_alone: bool) -> tuple[Rows, Output]:
        batch = call.batches.popleft()
        note_beginning([batch])
        try:
            output = self._timed([batch], is_alone)
        finally:
            self._hand_over(batch)
        if call.is_late:
            raise deadline_error()
        return batch.rows, output

    @property
    def running(self) -> int:
        """The number of workers that run a batch now."""
        return self._running

    def waiting(self) -> tuple[int, float]:
        """Return the number of calls that wait, and the seconds that the oldest has waited."""
        with self._lock:
            calls = [batch.call for batch in self._small]
            calls += self._large
        since_s = [call.since_s for call in calls if not call.is_dropped]
        oldest_s = max(0.0, time.monotonic() - min(since_s)) if since_s else 0.0
        return len(since_s), oldest_s

    def _timed(self, batches: Sequence[Batch], is_alone: bool) -> Output:
        """Run batches; note how long a token takes in a batch that runs alone."""
        begin_s = time.perf_counter()
        output = self._run(batches, is_alone)
        if is_alone:
            spent_s = time.perf_counter() - begin_s
            token_s = spent_s / (batches[0].longest * len(batches[0].rows))
            more_s = token_s - self.token_s
            if self.token_s:
                more_s *= _WEIGHT_OF_MORE if more_s > 0 else _WEIGHT_OF_LESS
            self.token_s += more_s
        return output

    def _register(self, call: Call) -> None:
        call.unanswered = len(call.batches)
        cancellation: Cancellation | None = current_cancellation.get()
        if cancellation is not None:
            cancellation.on_cancel(lambda: call.drop(CancelledError("the call was cancelled")))
        if call.is_late:
            raise deadline_error()

    def _enqueue(self, call: Call) -> bool:
        """Let a call wait, and workers begin.

        Returns:
            False if there is no thread to run it: the caller must drain what waits.
        """
        if not call.batches:
            return True
        if not call.is_admitted and self._is_full():
            msg = (
                f"{self._max_waiting:,} calls wait for this model already: try again later, or "
                "load it with a larger max_waiting"
            )
            raise Overloaded(msg)
        if len(call.batches) == 1:
            self._small.append(call.batches.popleft())
        else:
            self._large.append(call)
        wanted = min(self._workers, self._running + max(1, len(call.batches)))
        while self._running < wanted and self._threads.submit(self._drain):
            self._running += 1
        if self._running:
            return True
        self._running += 1  # the caller's own
        return False

    def _is_full(self) -> bool:
        if len(self._small) + len(self._large) < self._max_waiting:
            return False
        # Batches of callers that gave up are still in the queue: workers skip them.
        self._small = deque(batch for batch in self._small if not is_gone(batch.call))
        self._large = deque(call for call in self._large if not is_gone(call))
        return len(self._small) + len(self._large) >= self._max_waiting

    def _begin(self, batches: Iterable[Batch]) -> int:
        """Note that batches run; return their tokens, to be taken off when they have run."""
        tokens = sum(batch.tokens for batch in batches)
        self._running_tokens += tokens
        return tokens

    def _hand_over(self, batch: Batch) -> None:
        """End a run in a caller's thread: a worker takes over the batches that wait by now."""
        with self._lock:
            self._running_tokens -= batch.tokens
            is_left = bool(self._small or self._large)
            drains_here = is_left and not self._threads.submit(self._drain)
            if not is_left:
                self._running -= 1
        if drains_here:
            self._drain()

    def _drain(self) -> None:
        tokens = 0
        while True:
            with self._lock:
                self._running_tokens -= tokens
                batches = self._take()
                if not batches:
                    self._running -= 1
                    return
                tokens = self._begin(batches)
                is_alone = self._is_alone(batches)
            self._answer(batches, is_alone=is_alone)

    def _is_alone(self, batches: list[Batch]) -> bool:
        """Return whether one batch runs, nothing else runs or waits, and it may use that."""
        others = self._running > 1 or self._small or self._large
        return len(batches) == 1 and not others and batches[0].call.may_take_all

    def _answer(self, batches: list[Batch], *, is_alone: bool = False) -> None:
        note_beginning(batches)
        try:
            output = self._timed(batches, is_alone)
        except BaseException as error:  # noqa: BLE001 (raised again where the answer is awaited)
            if len(batches) == 1:
                batches[0].call.answer(error)
            else:  # perhaps only one batch is to blame
                for batch in batches:
                    self._answer([batch])
            return
        start = 0
        for batch in batches:
            end = start + len(batch.rows)
            batch.call.answer((batch.rows, output[start:end]))
            start = end

    def _take(self) -> list[Batch]:
        """Return the next batches to run together; an empty list if none waits."""
        while self._small or self._large:
            if self._large and (self._is_turn_of_large or not self._small):
                self._is_turn_of_large = False
                batches = self._take_large()
            else:
                self._is_turn_of_large = True
                batches = self._take_small()
            if batches:
                return batches
        return []

    def _take_large(self) -> list[Batch]:
        call = self._large.popleft()
        if is_gone(call):
            return []
        batch = call.batches.popleft()
        if call.batches:
            self._large.append(call)  # large calls take turns as well
        return [batch]

    def _take_small(self) -> list[Batch]:
        waiting = [batch for batch in self._small if not is_gone(batch.call)]
        # Callers that ask again when they are answered would otherwise all end up in one batch,
        # with one worker at work. A small packed batch costs no more a token than a large one: half
        # a worker's share leaves it work for the time in which the callers take their answers.
        shares = self._workers * (_PACKED_SHARES if self._run_tokens is None else 1)
        tokens = sum(batch.tokens for batch in waiting) + self._running_tokens
        taken = coalesce(
            waiting,
            most_tokens=self._token_budget,
            enough_tokens=max(-(-tokens // shares), self._run_tokens or 0),
            run_tokens=self._run_tokens,
        )
        ids = {id(batch) for batch in taken}
        self._small = deque(batch for batch in waiting if id(batch) not in ids)
        return taken


def coalesce(
    waiting: Sequence[Batch],
    *,
    most_tokens: int,
    run_tokens: int | None,
    enough_tokens: int = 1 << 30,
) -> list[Batch]:
    """Return the batches to run together: the first, and others of about its length.

    A batch joins if the padding it adds costs less than a run of its own. Packed batches join in
    the order in which they came.

    Args:
        waiting: The batches in the order in which they came. The first always runs, so no batch
            waits forever.
        most_tokens: The most padded tokens of all batches together, or tokens of packed ones.
        run_tokens: The fixed cost of a run, in tokens; None for packed batches.
        enough_tokens: With this many no other batch joins: other workers run the rest.
    """
    if not waiting:
        return []
    first, others = waiting[0], waiting[1:]
    if run_tokens is not None:
        # Nearest first: once a distant length has padded all others, more of them would seem free.
        others = sorted(others, key=lambda other: abs(other.longest - first.longest))
    taken, rows, tokens, longest = [first], len(first.rows), first.tokens, first.longest
    most_rows = first.call.most_rows
    for batch in others:
        if tokens >= enough_tokens:
            break
        new_rows, new_longest = rows + len(batch.rows), max(longest, batch.longest)
        padding = (new_longest - longest) * rows + (new_longest - batch.longest) * len(batch.rows)
        tokens += batch.tokens
        most_rows = min(most_rows, batch.call.most_rows)
        is_worth = run_tokens is None or padding <= run_tokens
        size = tokens if run_tokens is None else new_rows * new_longest
        if not is_worth or new_rows > most_rows or size > most_tokens:
            break
        taken.append(batch)
        rows, longest = new_rows, new_longest
    return taken

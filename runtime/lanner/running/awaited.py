"""Calls of a runner that an event loop awaits, without a waiting thread for each."""

import asyncio
import time
from collections import deque
from collections.abc import Sized

from lanner.running.call import Call, Output, Rows, deadline_error
from lanner.running.runner import Runner, Sequences

#: Seconds of a batch that an event loop may run itself, where it has nothing else to do.
_MOST_HERE_S = 0.01


class AwaitedCall(Call):
    """A call whose answers are handed to an event loop.

    Args:
        sequences: See `Call`.
        deadline_s: See `Call`.
    """

    def __init__(self, sequences: Sequences[Sized], *, deadline_s: float | None) -> None:
        super().__init__(sequences, deadline_s=deadline_s)
        self._loop = asyncio.get_running_loop()
        self._received: deque[tuple[Rows, Output]] = deque()
        self._done: asyncio.Future[None] = self._loop.create_future()

    def answer(self, answer: tuple[Rows, Output] | BaseException) -> None:
        """Take an answer in the thread of a worker; the last one, or an error, ends the wait."""
        if isinstance(answer, BaseException):
            self._tell(answer)
            return
        self._received.append(answer)
        if len(self._received) == self.unanswered:
            self._tell(None)

    def _tell(self, error: BaseException | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._finish, error)
        except RuntimeError:  # the loop has ended, so there is no reader
            self.is_dropped = True

    def _finish(self, error: BaseException | None) -> None:
        if self._done.done():
            return
        if error is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(error)

    async def outputs(self) -> list[tuple[Rows, Output]]:
        """Return the answers of all batches.

        Raises:
            DeadlineError: The deadline passes first.
            EngineError: The engine failed.
        """
        timer = None
        if self.deadline_s is not None:
            left_s = max(0.0, self.deadline_s - time.monotonic())
            timer = self._loop.call_later(left_s, lambda: self._finish(deadline_error()))
        try:
            await self._done
        finally:
            self.is_dropped = True
            if timer is not None:
                timer.cancel()
        return list(self._received)


async def run_awaited(
    runner: Runner,
    sequences: Sequences[Sized],
    *,
    deadline_s: float | None = None,
    is_only: bool = False,
) -> list[tuple[Rows, Output]]:
    """Return the engine's answers batch by batch: indices of sequences, and their outputs.

    A cancelled task removes its call from the queue.

    Args:
        runner: The runner.
        sequences: The sequences to run. Empty ones are left out.
        deadline_s: The time by `time.monotonic` at which to give up, or None.
        is_only: True if the event loop has nothing else to do: a batch of a few milliseconds then
            runs on the loop itself. To wake another thread for it, and the loop again, takes as
            long as the first layers of a short text.

    Raises:
        Overloaded: Too many calls wait already.
        DeadlineError: The deadline passes first.
        EngineError: The engine failed.
    """
    call = AwaitedCall(sequences, deadline_s=deadline_s)
    runner.plan(call)
    if not call.batches:
        return []
    scheduler = runner.scheduler
    call.may_take_all = len(call.batches) == 1
    if is_only and call.may_take_all:
        expected_s = scheduler.token_s * call.batches[0].longest
        if 0 < expected_s < _MOST_HERE_S and (answer := scheduler.run_alone(call)) is not None:
            return [answer]
    scheduler.start(call)
    return await call.outputs()

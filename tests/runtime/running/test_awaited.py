"""Calls that an event loop awaits."""

import asyncio
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lanner.errors import DeadlineError, EngineError, Overloaded
from lanner.running.awaited import run_awaited
from lanner.running.runner import Runner, Sequences, feed

Rows = NDArray[np.float32]


class Sums:
    """An engine that answers the sum of the token ids, and notes who runs alone."""

    name, run_tokens = "sums", 0

    def __init__(self) -> None:
        self.alone: list[bool] = []
        self.shapes: list[tuple[int, ...]] = []
        self.may_go = threading.Event()
        self.may_go.set()

    def run(
        self,
        inputs: Mapping[str, NDArray[Any]],
        *,
        is_alone: bool = False,
        deadline_s: float | None = None,
    ) -> Rows:
        del deadline_s
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        self.alone.append(is_alone)
        self.shapes.append(ids.shape)
        assert self.may_go.wait(20)
        if (ids == 13).any():
            msg = "13 is not answered"
            raise EngineError(msg)
        sums: Rows = (ids * (mask != 0)).sum(axis=1, keepdims=True).astype(np.float32)
        return sums


def runner(engine: Sums, *, workers: int = 2, max_waiting: int = 8) -> Runner:
    def fed(parts: Any) -> Any:
        return feed(parts, 0)

    return Runner(engine, feed=fed, workers=workers, token_budget=8, max_waiting=max_waiting)


async def answers(some: Runner, ids: list[list[int]], **options: Any) -> Rows:
    output = np.full((len(ids), 1), -1, np.float32)
    for rows, block in await run_awaited(some, Sequences(ids), **options):
        output[rows] = block
    return output


def test_every_sequence_is_answered_and_an_empty_one_is_left_out() -> None:
    ids = [[1, 2], [], [3], [4, 5, 6], [7] * 20, [8]]
    found = asyncio.run(answers(runner(Sums()), ids))
    assert found[:, 0].tolist() == [3, -1, 3, 15, 140, 8]
    assert asyncio.run(answers(runner(Sums()), [[]]))[:, 0].tolist() == [-1]


def test_one_sequence_runs_alone_and_waiting_ones_run_together() -> None:
    engine = Sums()
    some = runner(engine, workers=1)

    async def calls() -> list[Rows]:
        first = await answers(some, [[1, 1]])
        engine.may_go.clear()
        held = asyncio.create_task(answers(some, [[2, 2]]))
        while len(engine.shapes) < 2:
            await asyncio.sleep(0.001)
        waiting = [asyncio.create_task(answers(some, [[number, 0]])) for number in (3, 4, 5)]
        await asyncio.sleep(0)
        engine.may_go.set()
        return [first, *await asyncio.gather(held, *waiting)]

    assert [float(one[0, 0]) for one in asyncio.run(calls())] == [2, 4, 3, 4, 5]
    assert engine.shapes == [(1, 2), (1, 2), (3, 2)]
    assert engine.alone == [True, True, False]


def test_a_short_batch_of_the_only_request_runs_on_the_loop() -> None:
    engine = Sums()
    some = runner(engine)
    threads: list[bool] = []
    run = engine.run

    def noted(*args: Any, **options: Any) -> Rows:
        threads.append(threading.current_thread() is threading.main_thread())
        return run(*args, **options)

    engine.run = noted  # type: ignore[method-assign]

    async def calls() -> list[float]:
        found = [await answers(some, [[1, 2]], is_only=True)]  # how long it takes is not known yet
        while some.scheduler._running:  # the worker looks for more
            await asyncio.sleep(0.001)
        some.scheduler.token_s = 1e-4
        found.append(await answers(some, [[3]], is_only=True))
        found.append(await answers(some, [[4], [5] * 8], is_only=True))  # two batches
        found.append(await answers(some, [[6]]))
        some.scheduler.token_s = 1.0
        found.append(await answers(some, [[7]], is_only=True))
        return [float(rows[0, 0]) for rows in found]

    assert asyncio.run(calls()) == [3, 3, 4, 6, 7]
    assert threads == [False, True, False, False, False, False]


def test_the_only_request_waits_for_what_runs_elsewhere() -> None:
    engine = Sums()
    some = runner(engine)

    async def calls() -> list[float]:
        some.scheduler.token_s = 1e-4
        engine.may_go.clear()
        held = asyncio.create_task(answers(some, [[1]]))
        while not engine.shapes:
            await asyncio.sleep(0.001)
        only = asyncio.create_task(answers(some, [[2]], is_only=True))
        while len(engine.shapes) < 2:
            await asyncio.sleep(0.001)  # the loop goes on
        engine.may_go.set()
        return [float(rows[0, 0]) for rows in await asyncio.gather(held, only)]

    assert asyncio.run(calls()) == [1, 2]


def test_the_only_request_fails_and_is_late_as_others_are() -> None:
    some = runner(Sums())

    async def calls() -> None:
        some.scheduler.token_s = 1e-4
        with pytest.raises(EngineError, match="13 is not answered"):
            await answers(some, [[13]], is_only=True)
        with pytest.raises(DeadlineError, match="the deadline passed before"):
            await answers(some, [[1]], is_only=True, deadline_s=time.monotonic())
        assert float((await answers(some, [[3]], is_only=True))[0, 0]) == 3

    asyncio.run(calls())


def test_one_call_that_fails_harms_no_other() -> None:
    engine = Sums()
    some = runner(engine, workers=1)

    async def calls() -> list[object]:
        engine.may_go.clear()
        tasks = [asyncio.create_task(answers(some, [[number]])) for number in (1, 2, 13, 3)]
        while not engine.shapes:
            await asyncio.sleep(0.001)
        engine.may_go.set()
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    first, second, error, last = asyncio.run(calls())
    assert [float(np.asarray(one)[0, 0]) for one in (first, second, last)] == [1, 2, 3]
    assert isinstance(error, EngineError)


def test_a_deadline_passes_while_the_engine_runs() -> None:
    engine = Sums()
    engine.may_go.clear()

    async def late() -> None:
        await answers(runner(engine), [[1]], deadline_s=time.monotonic() + 0.05)

    try:
        with pytest.raises(DeadlineError, match="the deadline passed before"):
            asyncio.run(late())
    finally:
        engine.may_go.set()


def test_a_cancelled_task_leaves_the_queue() -> None:
    engine = Sums()
    some = runner(engine, workers=1)

    async def calls() -> None:
        engine.may_go.clear()
        held = asyncio.create_task(answers(some, [[1]]))
        while not engine.shapes:
            await asyncio.sleep(0.001)
        left = asyncio.create_task(answers(some, [[2]]))
        await asyncio.sleep(0)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        engine.may_go.set()
        await held
        assert float((await answers(some, [[3]]))[0, 0]) == 3

    asyncio.run(calls())
    assert len(engine.shapes) == 2


def test_too_many_calls_are_refused() -> None:
    engine = Sums()
    some = runner(engine, workers=1, max_waiting=1)

    async def calls() -> None:
        engine.may_go.clear()
        held = asyncio.create_task(answers(some, [[1]]))
        while not engine.shapes:
            await asyncio.sleep(0.001)
        waiting = asyncio.create_task(answers(some, [[2]]))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="1 calls wait for this model already"):
            await answers(some, [[3]])
        engine.may_go.set()
        await asyncio.gather(held, waiting)

    asyncio.run(calls())

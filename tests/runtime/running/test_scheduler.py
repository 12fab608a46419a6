"""The queue before the workers. `Desk` stands in for an engine whose every run the test lets go."""

import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import Queue

import numpy as np
import pytest
from numpy.typing import NDArray

from lanner.errors import CancelledError, DeadlineError, EngineError, Overloaded
from lanner.running.call import Batch, Call, Output
from lanner.running.cancellation import Cancellation, current_cancellation
from lanner.running.scheduler import Scheduler, coalesce

Rows = list[int]


def call(*batches: Rows, longest: int = 4, **options: object) -> Call:
    """A call whose batches hold these rows; the answer to a row is the row itself."""
    made = Call(None, **options)  # type: ignore[arg-type]
    made.batches = deque(
        Batch(made, np.array(rows), longest, longest * len(rows)) for rows in batches
    )
    return made


class Desk:
    """Runs batches when the test says so, and notes what ran together."""

    def __init__(self) -> None:
        self.begun: Queue[list[Rows]] = Queue()
        self.ran: list[list[Rows]] = []
        self.was_alone: list[bool] = []
        self._may_go = threading.Semaphore(0)

    def run(self, batches: Sequence[Batch], is_alone: bool) -> Output:
        rows = [batch.rows.tolist() for batch in batches]
        self.ran.append(rows)
        self.was_alone.append(is_alone)
        self.begun.put(rows)
        assert self._may_go.acquire(timeout=20)
        if any(-1 in some for some in rows):
            msg = "a row of -1 cannot be run"
            raise EngineError(msg)
        return np.concatenate([batch.rows for batch in batches]).astype(np.float32)[:, None]

    def let_go(self, runs: int = 1) -> None:
        self._may_go.release(runs)


@contextmanager
def scheduled(
    workers: int = 1, *, run_tokens: int | None = 8, max_waiting: int = 100
) -> Iterator[tuple[Desk, Callable[[Call], "Future[list[float]]"], Scheduler]]:
    """A scheduler, and a way to call it from a thread of its own."""
    desk = Desk()
    scheduler = Scheduler(
        desk.run,
        workers=workers,
        token_budget=64,
        run_tokens=run_tokens,
        max_waiting=max_waiting,
    )

    def answers(made: Call) -> list[float]:
        return [float(v) for _, output in scheduler.run(made) for v in output[:, 0]]

    with ThreadPoolExecutor(8) as callers:
        yield desk, lambda made: callers.submit(answers, made), scheduler


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)


def waiting(scheduler: Scheduler) -> int:
    return len(scheduler._small) + len(scheduler._large)


def test_a_lone_call_runs_in_its_callers_thread_and_alone() -> None:
    with scheduled(workers=2) as (desk, _, scheduler):
        desk.let_go()
        threads: list[str] = []

        def run(batches: Sequence[Batch], is_alone: bool) -> Output:
            threads.append(threading.current_thread().name)
            return desk.run(batches, is_alone)

        scheduler._run = run
        ((rows, output),) = scheduler.run(call([7]))
        assert (rows.tolist(), output.tolist()) == ([7], [[7.0]])
        assert threads == [threading.current_thread().name]
        assert desk.was_alone == [True]


def test_what_comes_beside_another_is_not_alone() -> None:
    with scheduled(workers=2) as (desk, submit, _):
        first = submit(call([1]))
        assert desk.begun.get(timeout=20) == [[1]]
        second = submit(call([2]))
        assert desk.begun.get(timeout=20) == [[2]]
        desk.let_go(2)
        assert (first.result(20), second.result(20)) == ([1.0], [2.0])
        assert desk.was_alone == [True, False]


def test_what_waits_runs_together_and_each_gets_its_own() -> None:
    with scheduled() as (desk, submit, scheduler):
        first = submit(call([1]))
        desk.begun.get(timeout=20)
        others = []
        for rows in ([2, 3], [4], [5]):
            others.append(submit(call(rows)))
            wait_until(lambda: waiting(scheduler) == len(others))
        desk.let_go(2)
        assert first.result(20) == [1.0]
        assert [other.result(20) for other in others] == [[2.0, 3.0], [4.0], [5.0]]
        assert desk.ran == [[[1]], [[2, 3], [4], [5]]]


def test_small_and_large_calls_take_turns() -> None:
    with scheduled(run_tokens=0) as (desk, submit, scheduler):
        first = submit(call([0]))
        desk.begun.get(timeout=20)
        large = submit(call([1], [2], [3]))
        wait_until(lambda: waiting(scheduler) == 1)
        small = []
        for row, longest in ((10, 2), (11, 5)):  # of unequal lengths: not together
            small.append(submit(call([row], longest=longest)))
            wait_until(lambda: waiting(scheduler) == 1 + len(small))
        desk.let_go(6)
        assert first.result(20) == [0.0]
        assert sorted(large.result(20)) == [1.0, 2.0, 3.0]
        assert [one.result(20) for one in small] == [[10.0], [11.0]]
        assert desk.ran == [[[0]], [[10]], [[1]], [[11]], [[2]], [[3]]]


def test_large_calls_take_turns() -> None:
    with scheduled() as (desk, submit, scheduler):
        first = submit(call([0]))
        desk.begun.get(timeout=20)
        one = submit(call([1], [2]))
        wait_until(lambda: waiting(scheduler) == 1)
        other = submit(call([5], [6]))
        wait_until(lambda: waiting(scheduler) == 2)
        desk.let_go(5)
        assert (first.result(20), one.result(20), other.result(20)) == ([0.0], [1.0, 2.0], [5, 6])
        assert desk.ran == [[[0]], [[1]], [[5]], [[2]], [[6]]]


def test_only_what_fails_by_itself_fails() -> None:
    with scheduled() as (desk, submit, scheduler):
        first = submit(call([1]))
        desk.begun.get(timeout=20)
        good, bad = submit(call([2])), submit(call([-1]))
        wait_until(lambda: waiting(scheduler) == 2)
        desk.let_go(4)
        assert (first.result(20), good.result(20)) == ([1.0], [2.0])
        with pytest.raises(EngineError, match=r"^a row of -1 cannot be run$"):
            bad.result(20)
        desk.let_go()
        assert submit(call([3])).result(20) == [3.0]


def test_too_many_waiting_calls_are_refused_but_not_what_was_let_in() -> None:
    with scheduled(max_waiting=1) as (desk, submit, scheduler):
        first = submit(call([1]))
        desk.begun.get(timeout=20)
        second = submit(call([2]))
        wait_until(lambda: waiting(scheduler) == 1)
        with pytest.raises(
            Overloaded,
            match=r"^1 calls wait for this model already: try again later, or load it with a "
            r"larger max_waiting$",
        ):
            submit(call([3])).result(20)
        admitted = submit(call([4], [5], is_admitted=True))
        wait_until(lambda: waiting(scheduler) == 2)
        desk.let_go(4)
        answers = [future.result(20) for future in (first, second, admitted)]
        assert answers == [[1.0], [2.0], [4.0, 5.0]]


def test_a_caller_whose_time_is_up_goes_and_is_passed_over() -> None:
    with scheduled() as (desk, submit, scheduler):
        first = submit(call([1]))
        desk.begun.get(timeout=20)
        late = submit(call([2], deadline_s=time.monotonic() + 0.05))
        with pytest.raises(
            DeadlineError,
            match=r"^the deadline passed before the answer was there: allow more time with "
            r"timeout_ms, or send less at once$",
        ):
            late.result(20)
        after = submit(call([3]))
        wait_until(lambda: waiting(scheduler) == 2)
        desk.let_go(2)
        assert (first.result(20), after.result(20)) == ([1.0], [3.0])
        assert desk.ran == [[[1]], [[3]]]


def test_an_answer_that_comes_too_late_is_none() -> None:
    with scheduled() as (desk, submit, _):
        late = submit(call([1], deadline_s=time.monotonic() + 0.05))
        desk.begun.get(timeout=20)
        time.sleep(0.06)
        desk.let_go()
        with pytest.raises(DeadlineError, match=r"^the deadline passed"):
            late.result(20)


def test_a_call_without_time_left_is_not_begun() -> None:
    with (
        scheduled() as (desk, _, scheduler),
        pytest.raises(DeadlineError, match=r"^the deadline passed"),
    ):
        list(scheduler.run(call([1], deadline_s=time.monotonic())))
    assert not desk.ran


def test_a_cancelled_call_is_passed_over() -> None:
    with scheduled() as (desk, submit, scheduler):
        first = submit(call([1]))
        desk.begun.get(timeout=20)
        cancellation = Cancellation()
        token = current_cancellation.set(cancellation)
        cancelled = call([2], [3])
        scheduler.start(cancelled)
        current_cancellation.reset(token)
        after = submit(call([4]))
        wait_until(lambda: waiting(scheduler) == 2)
        cancellation.cancel()
        with pytest.raises(CancelledError, match=r"^the call was cancelled$"):
            list(cancelled.answers())
        desk.let_go(2)
        assert (first.result(20), after.result(20)) == ([1.0], [4.0])
        assert desk.ran == [[[1]], [[4]]]


def test_who_stops_asking_is_passed_over() -> None:
    with scheduled() as (desk, submit, scheduler):
        left = call([1], [2], [3])
        scheduler.start(left)
        desk.begun.get(timeout=20)
        desk.let_go()
        answers = left.answers()
        assert next(answers)[0].tolist() == [1]
        desk.begun.get(timeout=20)
        answers.close()  # type: ignore[attr-defined]
        desk.let_go(2)
        assert submit(call([4])).result(20) == [4.0]
        assert desk.ran == [[[1]], [[2]], [[4]]]


@pytest.mark.parametrize(
    ("run_tokens", "taken"),
    [
        # 16 tokens wait and 4 run: a worker that is free takes 10 at least, which are 3 texts of 4.
        (1, [[3], [4], [5]]),
        # Packed: half of that, which are 2 texts.
        (None, [[3], [4]]),
    ],
)
def test_a_worker_leaves_the_others_their_share_of_what_waits(
    run_tokens: int | None, taken: list[list[int]]
) -> None:
    with scheduled(workers=2, run_tokens=run_tokens) as (desk, submit, scheduler):
        running = [submit(call([row])) for row in (1, 2)]
        for _ in running:
            desk.begun.get(timeout=20)
        others = []
        for row in (3, 4, 5, 6):
            others.append(submit(call([row])))
            wait_until(lambda: waiting(scheduler) == len(others))
        desk.let_go()
        assert desk.begun.get(timeout=20) == taken
        desk.let_go(4)
        assert [one.result(20) for one in (*running, *others)] == [[float(n)] for n in range(1, 7)]


def lengths(taken: list[Batch]) -> list[int]:
    return [batch.longest for batch in taken]


def texts_of(*longest: int, most_rows: int = 100) -> list[Batch]:
    return [Batch(Call(None, most_rows=most_rows), np.array([0]), n, n) for n in longest]


def test_nothing_waits() -> None:
    assert coalesce([], most_tokens=64, run_tokens=8) == []


def test_those_of_about_the_same_length_run_together() -> None:
    # 10 with 11: 1 token of padding; 8 then 3; 20 would pad each of three by 9.
    assert lengths(coalesce(texts_of(10, 20, 11, 8), most_tokens=64, run_tokens=4)) == [10, 11, 8]


def test_in_int8_neighbours_in_length_run_together() -> None:
    onnxruntime = pytest.importorskip("lanner.engines.onnxruntime", reason="needs onnxruntime")
    # 12 takes 1 token of padding, 14 one for each of two; 10 would take 4.
    some = texts_of(13, 10, 12, 14, 12)
    found = coalesce(some, most_tokens=512, run_tokens=onnxruntime.BYTE_RUN_TOKENS)
    assert lengths(found) == [13, 12, 14, 12]


def test_the_first_is_always_among_them() -> None:
    assert lengths(coalesce(texts_of(100, 8, 8, 8), most_tokens=64, run_tokens=4)) == [100]


def test_no_more_than_the_budget_or_a_caller_allows() -> None:
    assert lengths(coalesce(texts_of(*[10] * 9), most_tokens=64, run_tokens=4)) == [10] * 6
    few = texts_of(*[10] * 3, most_rows=2)
    assert lengths(coalesce(few, most_tokens=64, run_tokens=4)) == [10] * 2


def test_packed_texts_of_any_lengths_run_together_in_the_order_they_came() -> None:
    taken = coalesce(texts_of(10, 40, 2, 13, 1), most_tokens=64, run_tokens=None)
    assert lengths(taken) == [10, 40, 2]
    assert lengths(coalesce(texts_of(100, 2), most_tokens=64, run_tokens=None)) == [100]
    few = texts_of(*[10] * 3, most_rows=2)
    assert lengths(coalesce(few, most_tokens=64, run_tokens=None)) == [10] * 2
    enough = coalesce(texts_of(*[10] * 4), most_tokens=64, run_tokens=None, enough_tokens=15)
    assert lengths(enough) == [10] * 2


@contextmanager
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A moment in which the system starts no thread."""

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        yield


def answers_of(run: Iterator[tuple[NDArray[np.int64], Output]]) -> list[float]:
    return sorted(float(value) for _, block in run for value in block[:, 0])


def test_without_threads_the_caller_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with scheduled(workers=2) as (desk, _, scheduler):
        desk.let_go(100)
        for _ in range(3):
            with no_threads(monkeypatch):
                assert answers_of(scheduler.run(call([1], [2], [3]))) == [1, 2, 3]
                started = call([4], [5])
                scheduler.start(started)
                assert answers_of(started.answers()) == [4, 5]
            assert answers_of(scheduler.run(call([6]))) == [6]
            assert answers_of(scheduler.run(call([7], [8]))) == [7, 8]
        # A worker counts itself out after its answers are there.
        ends_s = time.monotonic() + 10
        while scheduler._running and time.monotonic() < ends_s:
            time.sleep(0.001)
        assert scheduler._running == 0


def test_a_caller_without_threads_goes_on_with_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    with scheduled() as (desk, send, scheduler):
        first = send(call([1]))
        assert desk.begun.get(timeout=20) == [[1]]
        others = [send(call([2])), send(call([3], [4]))]
        while len(scheduler._small) + len(scheduler._large) < 2:
            time.sleep(0.001)
        with no_threads(monkeypatch):
            desk.let_go(100)
            assert first.result(20) == [1]
            assert [sorted(other.result(20)) for other in others] == [[2], [3, 4]]


def test_work_goes_on_after_the_main_thread_has_ended() -> None:
    code = (
        "import threading, numpy as np\n"
        "from collections import deque\n"
        "from lanner.running.call import Batch, Call\n"
        "from lanner.running.scheduler import Scheduler\n"
        "def run(batches, is_alone):\n"
        "    return np.concatenate([batch.rows for batch in batches])[:, None]\n"
        "scheduler = Scheduler(run, workers=2, token_budget=9, run_tokens=1, max_waiting=9)\n"
        "def late():\n"
        "    threading.main_thread().join()\n"
        "    call = Call(None)\n"
        "    call.batches = deque(Batch(call, np.array([row]), 1, 1) for row in range(9))\n"
        "    print(sorted(int(rows[0]) for rows, _ in scheduler.run(call)))\n"
        "threading.Thread(target=late).start()\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("[0, 1, 2, 3, 4, 5, 6, 7, 8]\n", "")

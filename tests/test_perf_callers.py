import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

pytest.importorskip("scipy", reason="needs the bench extra")

from lanner_perf.callers import Call, Calls, closed_loop, open_loop
from lanner_perf.kinds import Loaded
from lanner_perf.serving import Answers
from lanner_perf.suites.concurrency import summary as closed_summary
from lanner_perf.suites.open_loop import most_at_once, poisson_arrivals_s, round_rate
from lanner_perf.suites.open_loop import summary as open_summary


class Overloaded(Exception):  # noqa: N818 (the runtime's name)
    """As the runtime calls its own."""


def test_callers_share_the_texts_out() -> None:
    seen: list[str] = []
    together = threading.Barrier(3)

    def answer(text: str) -> None:
        together.wait(timeout=10)  # only three at once get through
        seen.append(text)

    texts = [str(n) for n in range(9)]
    calls = closed_loop(answer, texts, callers=3)
    assert sorted(seen) == texts
    assert [call.outcome for call in calls.calls] == ["answered"] * 9
    assert all(0 <= call.due_s <= call.end_s for call in calls.calls)
    assert (calls.failure, calls.is_cut_short) == ("", False)


def test_what_is_refused_and_what_fails_is_told_apart() -> None:
    def answer(text: str) -> None:
        if text == "much":
            raise Overloaded
        if text.startswith("bad"):
            msg = f"cannot\nread {text}"
            raise ValueError(msg)

    calls = closed_loop(answer, ["good", "much", "bad 1", "bad 2"], callers=1)
    outcomes = [call.outcome for call in calls.calls]
    assert outcomes == ["answered", "refused", "failed", "failed"]
    assert calls.failure == "ValueError: cannot read bad 1"


def test_a_latency_counts_from_the_arrival() -> None:
    # Three arrive at once, and one caller takes 20 ms for each: the second waits for the first.
    calls = open_loop(lambda _: time.sleep(0.02), ["a"], [0.0, 0.0, 0.0], callers=1, patience_s=60)
    for place, call in enumerate(calls.calls, start=1):
        assert call.due_s == 0
        assert call.end_s >= 0.02 * place


def test_nobody_is_early() -> None:
    began: list[float] = []
    calls = open_loop(
        lambda _: began.append(time.perf_counter()), ["a"], [0.0, 0.05], callers=4, patience_s=60
    )
    assert [call.due_s for call in calls.calls] == [0.0, 0.05]
    assert all(call.end_s >= call.due_s for call in calls.calls)


def test_who_falls_behind_is_cut_short() -> None:
    arrivals_s = [0.0, 0.0, 0.0, 1e6]
    calls = open_loop(lambda _: time.sleep(0.6), ["a"], arrivals_s, callers=1, patience_s=0.5)
    assert calls.is_cut_short
    # The last is not due, and so is not waiting.
    assert [call.outcome for call in calls.calls] == ["answered", "waiting", "waiting"]
    assert all(call.end_s >= 0.6 for call in calls.calls)


def test_callers_that_sleep_are_woken_when_it_is_over() -> None:
    # The second caller would else sleep until its arrival in eleven days.
    calls = open_loop(
        lambda _: time.sleep(0.6), ["a"], [0.0, 0.0, 0.0, 1e6], callers=2, patience_s=0.5
    )
    assert calls.is_cut_short


def test_a_subject_with_callers_of_its_own() -> None:
    def answer_many(texts: list[str], callers: int) -> list[float]:
        return [float(callers)] * len(texts)

    def encode(_: str) -> Any:
        pytest.fail("it has its own way")

    loaded = Loaded(encode, 0, 0, {}, {}, answer_many=answer_many)
    calls = Answers(loaded).closed_loop(["a", "b"], 4)
    assert [1e3 * (call.end_s - call.due_s) for call in calls.calls] == pytest.approx([4, 4])


def test_a_rate_of_calls() -> None:
    calls: list[int] = []

    def encode(texts: list[str], batch_size: int) -> Any:
        calls.append(batch_size)
        time.sleep(0.01)

    rate = Answers(Loaded(encode, 0, 0, {}, {})).rate(["a", "b"], 8, 0.05)
    assert 1 <= len(calls) <= 5  # each takes 10 ms or more
    assert set(calls) == {8}
    assert 0 < rate <= 200


def test_what_a_dispatcher_adds() -> None:
    called: list[str] = []

    def dispatch(text: str) -> tuple[Callable[[], object], Callable[[], object]]:
        def dispatched() -> None:
            called.append(f"dispatched {text}")
            time.sleep(0.02)

        return dispatched, lambda: called.append(f"bare {text}")

    loaded = Loaded(called.append, 0, 0, {}, {}, dispatch=dispatch)  # type: ignore[arg-type]
    overheads_ms = Answers(loaded).overheads_ms(["a", "b"])
    assert called == ["a", "dispatched a", "bare a", "b", "bare b", "dispatched b"]
    assert len(overheads_ms) == 2
    assert min(overheads_ms) > 10  # it slept 20 ms beyond an engine that only noted its name
    assert Answers(loaded._replace(dispatch=None)).overheads_ms(["a"]) == []


def answered(*spans_ms: tuple[float, float]) -> Calls:
    return Calls([Call(due / 1e3, end / 1e3, "answered") for due, end in spans_ms])


def test_the_most_at_once() -> None:
    assert most_at_once(answered((0, 10), (1, 2), (3, 4), (5, 30), (6, 7))) == 3
    assert most_at_once(answered((0, 10), (10, 20))) == 1
    assert most_at_once(answered((0, 10))) == 1


def test_a_closed_loop_in_figures() -> None:
    first = answered((0, 10), (10, 30), (30, 60), (0, 40), (40, 100))  # 10, 20, 30, 40, 60 ms
    second = Calls([*answered((0, 30)).calls, Call(0.03, 0.05, "failed")], "ValueError: x")
    figures = closed_summary([first, second])
    assert figures["rounds"][0] == pytest.approx(
        {"texts_per_s": 50, "p50_ms": 30, "p90_ms": 52, "p99_ms": 59.2, "failed": 0}
    )
    assert figures["rounds"][1] == pytest.approx(
        {"texts_per_s": 20, "p50_ms": 30, "p90_ms": 30, "p99_ms": 30, "failed": 1}
    )
    assert figures["texts_per_s"] == pytest.approx(35)
    assert (figures["failed"], figures["failure"]) == (1, "ValueError: x")


def test_an_open_loop_in_figures() -> None:
    calls = [
        Call(0, 0.01, "answered"),
        Call(0, 0.03, "answered"),
        Call(0.01, 0.02, "refused"),
        Call(0.02, 0.05, "failed"),
        Call(0.02, 0.1, "waiting"),
    ]
    figures = open_summary([Calls(calls, "x", is_cut_short=True)], 80.0)
    # Of 10, 30 and 80 ms: what waits is no less slow for not being answered.
    assert figures["p50_ms"] == pytest.approx(30)
    assert figures["p99_ms"] == pytest.approx(79)
    assert figures["offered_per_s"] == 80
    assert figures["answered_per_s"] == pytest.approx(20)
    assert (figures["refused"], figures["failed"], figures["failure"]) == (1, 1, "x")
    assert (figures["backlog"], figures["is_cut_short"]) == (3, True)


def test_who_keeps_up_answers_what_is_offered() -> None:
    calls = Calls([Call(0.01, 0.02, "answered"), Call(0.03, 0.04, "answered")])
    assert open_summary([calls], 20.0)["answered_per_s"] == pytest.approx(20)
    late = Calls([Call(0.01, 0.02, "answered"), Call(0.03, 0.2, "answered")])
    assert open_summary([late], 20.0)["answered_per_s"] == pytest.approx(10)


def test_without_an_answer_there_is_no_latency() -> None:
    figures = closed_summary([Calls([Call(0, 0.1, "failed")], "x")])
    assert (figures["texts_per_s"], figures["p99_ms"], figures["failed"]) == (0, 0, 1)


def test_arrivals_are_those_of_a_poisson_process() -> None:
    arrivals_s = poisson_arrivals_s(1_000, 5, 0)
    assert arrivals_s == poisson_arrivals_s(1_000, 5, 0) == sorted(arrivals_s)
    assert arrivals_s != poisson_arrivals_s(1_000, 5, 1)
    gaps = [b - a for a, b in pairwise(arrivals_s)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert len(arrivals_s) == 5_001
    # Of an exponential distribution the deviation is the mean.
    assert mean == pytest.approx(1e-3, rel=0.05)
    assert variance**0.5 == pytest.approx(1e-3, rel=0.05)


def test_rates_are_round() -> None:
    assert [round_rate(rate) for rate in (1234.5, 86.7, 0.123)] == [1200, 87, 0.12]

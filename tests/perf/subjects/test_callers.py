import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

pytest.importorskip("scipy", reason="needs lanner-bench")

from lanner_perf.kinds import Loaded
from lanner_perf.kinds.subject_process import Answers
from lanner_perf.subjects.callers import Call, Calls, closed_loop, open_loop
from lanner_perf.subjects.subject import NEW, SEEN
from lanner_perf.subjects.totals import Totals
from lanner_perf.suites.concurrency import summary as closed_summary
from lanner_perf.suites.open_loop import most_at_once, poisson_arrivals_s, round_rate
from lanner_perf.suites.open_loop import summary as open_summary


class Overloaded(Exception):  # noqa: N818 (the runtime's name)
    """Stands for the runtime's error of the same name."""


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
    # Three texts arrive at once, and one caller takes 20 ms for each: the second waits for the
    # first.
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
    # The last call is not due yet, so it does not count as waiting.
    assert [call.outcome for call in calls.calls] == ["answered", "waiting", "waiting"]
    assert all(call.end_s >= 0.6 for call in calls.calls)


def test_callers_that_sleep_are_woken_when_it_is_over() -> None:
    # Otherwise the second caller would sleep until its arrival in eleven days.
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


def test_what_a_client_and_its_server_did_meanwhile() -> None:
    totals = Totals(0, 0.0, 5, 0, 5, 5, 0.0, 0.0)
    counted = [totals]

    def encode(_: str) -> Any:
        counted.append(counted[-1]._replace(requests=len(counted), served=5 + len(counted)))

    loaded = Loaded(encode, 0, 0, {}, {}, totals=lambda: counted[-1])
    calls = Answers(loaded).closed_loop(["a", "b", "c"], 1)
    assert calls.totals == Totals(3, 0.0, 3, 0, 0, 0, 0.0, 0.0)
    assert calls.cpu_s > 0
    assert Answers(loaded._replace(totals=None)).closed_loop(["a"], 1).totals is None


def test_texts_that_were_never_seen_are_timed_and_no_others() -> None:
    seen: list[Any] = []

    def encode(texts: Any, batch_size: int = 32) -> Any:
        seen.append((texts, batch_size))

    answers = Answers(Loaded(encode, 0, 0, {}, {}), NEW)
    texts = ["one man plays the guitar", "two dogs", ""] * 20
    answers.rate(texts, 8, 0.0)
    answers.latencies_ms(texts)
    answers.closed_loop(texts, 1)
    (many, size), *single = seen
    asked = [*many, *(text for text, _ in single)]
    assert size == 8
    assert [len(text.split()) for text in asked] == [5, 2, 0] * 60
    assert {word for text in asked for word in text.split()} == set(" ".join(texts).split())
    # There are 7^5 texts of 5 words: among these 60, two equal ones are rare, and ten do not occur.
    assert len(set(asked[::3])) > 50
    answers.encode(["a", "b"], 4)
    assert seen[-1] == (["a", "b"], 4)  # of quality: what the texts as they are answer
    answers.latencies_ms([("two dogs", "a passage")])  # type: ignore[list-item]
    assert len(seen[-1][0][0].split()) == 2
    assert seen[-1][0][1] == "a passage"


def test_texts_that_were_seen_are_asked_once_before() -> None:
    seen: list[Any] = []

    def encode(texts: Any, batch_size: int = 0) -> Any:
        seen.append(texts)

    answers = Answers(Loaded(encode, 0, 0, {}, {}), SEEN)
    assert len(answers.latencies_ms(["a", "b", "a"])) == 3
    assert seen == ["a", "b", "a", "b", "a"]
    answers.closed_loop(["b", "c"], 1)
    assert seen[5:] == ["c", "b", "c"]
    answers.open_loop(["c", "d"], [0.0, 0.0], 1, 1.0)
    assert seen[8:] == ["d", "c", "d"]
    answers.rate(["a", "b"], 8, 0.0)
    assert seen[11:] == [["a", "b"], ["a", "b"]]


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
    assert min(overheads_ms) > 10  # the dispatcher slept 20 ms, the engine only noted its name
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
    figures = closed_summary([first._replace(cpu_s=0.1), second])
    expected = {"texts_per_s": 50, "p50_ms": 30, "p90_ms": 52, "p99_ms": 59.2}
    expected |= {"call_ms": 32, "cpu_ms": 20, "failed": 0}
    assert figures["rounds"][0] == pytest.approx(expected)
    expected = {"texts_per_s": 20, "p50_ms": 30, "p90_ms": 30, "p99_ms": 30}
    expected |= {"call_ms": 30, "cpu_ms": 0, "failed": 1}
    assert figures["rounds"][1] == pytest.approx(expected)
    assert figures["texts_per_s"] == pytest.approx(35)
    assert (figures["failed"], figures["failure"]) == (1, "ValueError: x")


def test_a_closed_loop_on_a_server_in_figures() -> None:
    # Of 2 requests of 20 ms each, the server had each for 5 ms in the queue and 10 in the model.
    totals = Totals(2, 0.04, 3, 0, 3, 1, 0.015, 0.03)
    first = answered((0, 30), (0, 30), (30, 60), (30, 60))._replace(totals=totals)
    figures = closed_summary([first, first, first])
    assert (figures["client_ms"], figures["network_ms"]) == pytest.approx((10, 5))
    assert (figures["queue_ms"], figures["compute_ms"]) == pytest.approx((5, 10))
    assert figures["other_requests"] == 3  # one in each round
    gone = Calls([Call(0, 0.1, "failed")], "x", totals=totals)
    assert "client_ms" not in closed_summary([first, gone])


def test_an_open_loop_in_figures() -> None:
    calls = [
        Call(0, 0.01, "answered"),
        Call(0, 0.03, "answered"),
        Call(0.01, 0.02, "refused"),
        Call(0.02, 0.05, "failed"),
        Call(0.02, 0.1, "waiting"),
    ]
    figures = open_summary([Calls(calls, "x", is_cut_short=True)], 80.0)
    # Of 10, 30 and 80 ms: a call that still waits counts with its waiting time.
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
    # The standard deviation of an exponential distribution is its mean.
    assert mean == pytest.approx(1e-3, rel=0.05)
    assert variance**0.5 == pytest.approx(1e-3, rel=0.05)


def test_rates_are_round() -> None:
    assert [round_rate(rate) for rate in (1234.5, 86.7, 0.123)] == [1200, 87, 0.12]

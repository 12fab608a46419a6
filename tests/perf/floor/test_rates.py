import itertools
import time

import pytest

from lanner_perf.floor.rates import rate


def test_the_rate_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    # By this clock each call takes a second: 3 of them fill the window of 2.5.
    clock = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    calls: list[int] = []
    assert rate([lambda: calls.append(0)], amount=5.0, window_s=2.5) == 3 * 5.0 / 3
    assert len(calls) == 1 + 3  # the first of them is not timed


def test_a_window_holds_one_call_at_least() -> None:
    assert rate([lambda: time.sleep(0.001)], amount=1.0, window_s=0.0) > 0


def test_the_rates_of_the_threads_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    called: set[str] = set()
    calls = [lambda name=name: called.add(name) for name in "abc"]
    assert rate(calls, amount=2.0, window_s=0.001) > 0
    assert called == set("abc")


def test_the_error_of_a_call_is_raised() -> None:
    def fail() -> None:
        msg = "no such instruction"
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match=r"^no such instruction$"):
        rate([lambda: None, fail, lambda: None], amount=1.0, window_s=0.001)

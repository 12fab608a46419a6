"""Allowances of keys, with a clock that the tests move; and those that processes share."""

import subprocess
import sys
from pathlib import Path

import pytest

from lanner.service.access.keys import Key
from lanner.service.access.rates import BUSY_RETRY_S, Rates


class Clock:
    """Seconds that stand still until a test moves them."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def key(
    number: int = 1,
    *,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    concurrent: int | None = None,
) -> Key:
    digest, limits = f"{number:064x}"[::-1], (requests_per_minute, tokens_per_minute, concurrent)
    return Key(f"k{number}", digest, "2026-11-30T09:00:00+00:00", None, *limits)


def test_requests_a_minute() -> None:
    clock = Clock()
    rates, one = Rates(clock=clock), key(requests_per_minute=60)
    assert [rates.admit(one) for _ in range(60)] == [None] * 60
    assert rates.admit(one) == pytest.approx(1.0)  # one request a second comes back
    clock.now_s += 0.5
    assert rates.admit(one) == pytest.approx(0.5)
    clock.now_s += 0.5
    assert rates.admit(one) is None
    assert rates.admit(one) == pytest.approx(1.0)
    clock.now_s += 600
    assert [rates.admit(one) for _ in range(60)] == [None] * 60
    assert rates.admit(one) is not None  # unused minutes do not add up


def test_tokens_a_minute() -> None:
    clock = Clock()
    rates, one = Rates(clock=clock), key(tokens_per_minute=600)
    assert rates.admit(one, 500) is None
    assert rates.admit(one, 200) == pytest.approx(10.0)  # 100 tokens at 10 a second
    assert rates.admit(one, 100) is None
    clock.now_s += 60
    assert rates.admit(one, 6_000) is None  # more than a minute has, but nothing else was used
    assert rates.admit(one, 1) == pytest.approx(600 - 60 + 0.1)


def test_tokens_that_become_known_later_are_charged() -> None:
    clock = Clock()
    rates, one = Rates(clock=clock), key(tokens_per_minute=600)
    assert rates.admit(one) is None
    rates.charge(one, 900)
    assert rates.admit(one) == pytest.approx(30.0)
    rates.charge(one, -300)  # fewer than were taken
    assert rates.admit(one) is None


def test_a_refused_request_takes_nothing() -> None:
    clock = Clock()
    rates, one = Rates(clock=clock), key(requests_per_minute=2, tokens_per_minute=60)
    assert rates.admit(one, 60) is None
    for _ in range(10):
        assert rates.admit(one, 30) == pytest.approx(30.0)
    clock.now_s += 30
    assert rates.admit(one, 30) is None


def test_requests_at_once() -> None:
    rates, one = Rates(clock=Clock()), key(concurrent=2)
    assert rates.admit(one) is rates.admit(one) is None
    assert rates.admit(one) == BUSY_RETRY_S
    rates.release(one)
    assert rates.admit(one) is None
    for _ in range(5):  # too many releases free nothing that runs
        rates.release(one)
    assert rates.admit(one) is rates.admit(one) is None
    assert rates.admit(one) == BUSY_RETRY_S


def test_a_key_without_limits_is_not_counted() -> None:
    rates = Rates(clock=Clock(), rows=1)
    for number in range(100):
        assert rates.admit(key(number), 10**9) is None
        rates.release(key(number))


def test_one_key_takes_nothing_of_another() -> None:
    rates = Rates(clock=Clock())
    assert rates.admit(key(1, requests_per_minute=1)) is None
    assert rates.admit(key(2, requests_per_minute=1)) is None
    assert rates.admit(key(1, requests_per_minute=1)) == pytest.approx(60)


def test_rows_of_keys_that_are_not_used_any_more_go_to_others() -> None:
    clock = Clock()
    rates = Rates(clock=clock, rows=2)
    for number in range(100):
        one = key(number, requests_per_minute=1, concurrent=1)
        assert rates.admit(one) is None
        rates.release(one)
        clock.now_s += 61
    busy, other, third = (key(n, requests_per_minute=1) for n in (200, 201, 202))
    assert rates.admit(busy) is rates.admit(other) is None
    assert rates.admit(third) == BUSY_RETRY_S  # both rows are in use
    clock.now_s += 61
    assert rates.admit(third) == BUSY_RETRY_S  # their requests run still
    rates.release(other)
    assert rates.admit(third) is None
    assert rates.admit(busy) is None


def test_a_request_ends_although_many_keys_came_meanwhile() -> None:
    clock = Clock()
    rates, one = Rates(clock=clock, rows=2), key(1_000, concurrent=1)
    assert rates.admit(one) is None
    for number in range(50):
        other = key(number, requests_per_minute=1)
        assert rates.admit(other) is None
        rates.release(other)
        clock.now_s += 61
    rates.release(one)
    assert rates.admit(one) is None


WORKER = """
import sys, time
from pathlib import Path
from lanner.service.access.keys import Key
from lanner.service.access.rates import Rates
one = Key("k", "ab" * 32, "2026-11-30T09:00:00+00:00", None, {requests}, None, {concurrent})
rates = Rates(Path(sys.argv[1]))
print(sum(rates.admit(one) is None for _ in range(1000)), flush=True)
sys.stdin.read()
"""


def worker(path: Path, requests: int | None, concurrent: int | None) -> "subprocess.Popen[str]":
    code = WORKER.format(requests=requests, concurrent=concurrent)
    return subprocess.Popen(
        [sys.executable, "-c", code, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def admitted(process: "subprocess.Popen[str]") -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


def test_workers_share_the_limits_of_a_key(tmp_path: Path) -> None:
    started = [worker(tmp_path / "rates", 500, None) for _ in range(3)]
    # Some of the allowance comes back while they count.
    assert 500 <= sum(map(admitted, started)) <= 600
    for process in started:
        process.communicate()


def test_requests_of_a_killed_worker_count_until_another_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "rates"
    first = worker(path, None, 5)
    assert admitted(first) == 5
    second = worker(path, None, 5)
    assert admitted(second) == 0
    first.kill()
    first.communicate()
    third = worker(path, None, 5)
    assert admitted(third) == 5
    for process in (second, third):
        process.communicate()
    assert path.stat().st_mode & 0o777 == 0o600

import pytest

from lanner_perf.record.call_parts import PARTS, call_parts
from lanner_perf.subjects.callers import Call, Calls
from lanner_perf.subjects.totals import Totals

#: 10 requests of 4 ms each, to a server that got 2 more from others; the cache answered 3 of the
#: 12.
TOTALS = Totals(
    requests=10,
    request_s=0.040,
    served=12,
    cached=3,
    texts=36,
    runs=6,
    queue_s=0.006,
    compute_s=0.024,
    server_cpu_s=0.02,
    models_cpu_s=0.08,
)


def test_the_parts_of_a_call() -> None:
    calls = Calls([Call(0, 0.005, "answered")] * 40, totals=TOTALS)
    found = call_parts(calls, 5.0, 40)
    assert found == pytest.approx(
        {
            "client_ms": 1.0,  # 5 beyond the 4 of a request
            "network_ms": 1.5,  # 4 beyond queue and model
            "queue_ms": 0.5,  # 6 ms of 12 requests
            "compute_ms": 2.0,
            "texts_per_request": 4.0,
            "texts_per_run": 6.0,
            "cached_percent": 25.0,
            "other_requests": 2,
            "server_cpu_ms": 0.5,  # of 40 texts
            "models_cpu_ms": 2.0,
        }
    )
    assert sum(found[name] for name in PARTS) == pytest.approx(5.0)  # type: ignore[literal-required]


def test_what_nobody_can_say_is_not_there() -> None:
    hidden = TOTALS._replace(server_cpu_s=None, models_cpu_s=None, runs=0, texts=0)
    found = call_parts(Calls([], totals=hidden), 5.0, 40)
    assert {"server_cpu_ms", "models_cpu_ms", "texts_per_run"} & found.keys() == set()
    assert call_parts(Calls([]), 5.0, 40) == {}  # in process
    assert call_parts(Calls([], totals=TOTALS._replace(served=0)), 5.0, 40) == {}
    assert call_parts(Calls([], totals=TOTALS), 0.0, 0) == {}


def test_what_was_added() -> None:
    before = Totals(4, 0.010, 4, 0, 4, 4, 0.001, 0.004, 0.01, None)
    assert TOTALS.since(before) == pytest.approx((6, 0.030, 8, 3, 32, 2, 0.005, 0.020, 0.01, None))

import numpy as np
import pytest

from lanner.errors import BenchmarkError
from lanner_perf.gpu.worker import LEAST_RUNS, WARM_UP_RUNS, Timing, least_cosine, time_runs


def test_what_times_say() -> None:
    # The 99th percentile of three times lies 0.98 of the way from the second to the third.
    timing = Timing.of([0.003, 0.001, 0.002], batch=4, cosine=0.99999)
    assert timing == Timing(
        p50_ms=2.0, p99_ms=2.98, texts_per_s=2_000.0, runs=3, smallest_cosine=0.99999
    )


def test_a_shape_is_run_so_often_however_long_it_takes() -> None:
    ran: list[int] = []
    times = time_runs(lambda: ran.append(0), seconds=0.0)
    assert len(times) == LEAST_RUNS
    assert len(ran) == WARM_UP_RUNS + LEAST_RUNS


def test_the_worst_text_counts() -> None:
    expected = np.eye(3, dtype=np.float32)
    answer = expected.copy()
    answer[2] = [0.6, 0.0, 0.8]
    with pytest.raises(BenchmarkError, match=r"^its vectors .* \(smallest cosine 0.8000\)$"):
        least_cosine(answer, expected)
    assert least_cosine(3 * expected, expected) == 1

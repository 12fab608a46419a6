"""The samples of the processes of a run."""

import subprocess
import sys
import time

import pytest

pytest.importorskip("lanner_perf", reason="needs lanner-bench")
pytest.importorskip("psutil", reason="needs lanner-bench")
from lanner_perf.subjects.watched import Sample, Watched, quarters, watched

_BUSY = """
import time
held = b"x" * 50_000_000
end = time.monotonic() + 2
while time.monotonic() < end:
    pass
"""


def test_memory_is_shown_in_quarters() -> None:
    assert quarters([1, 3, 5, 7, 9, 11, 13, 15]) == [2, 6, 10, 14]
    assert quarters([1, 2, 3]) == []
    samples = [Sample(float(at), 0.0, float(at)) for at in range(8)]
    watch = Watched({7: samples, 8: samples[:3]}, {9: samples})
    assert watch.memory_mb() == {"7": [0.5, 2.5, 4.5, 6.5]}
    assert (watch.peak_mb(), Watched().peak_mb()) == (7, 0)


def test_processor_time_is_that_of_the_last_samples() -> None:
    first = [Sample(10.0, 1.0, 0.0), Sample(20.0, 5.0, 0.0), Sample(30.0, 9.0, 0.0)]
    # It began after the first time, and ended before the second.
    second = [Sample(22.0, 0.5, 0.0), Sample(24.0, 2.0, 0.0)]
    watch = Watched({1: first, 2: second}, {3: first[:1]})
    assert watch.cpu_s(20.0, 30.0) == (6.0, 0.0)
    assert watch.cpu_s(0.0, 10.0) == (1.0, 1.0)


def test_processes_are_sampled_while_they_run() -> None:
    begin_s = time.time()
    with watched(lambda arguments: "busy" in arguments) as found:
        process = subprocess.Popen([sys.executable, "-c", _BUSY, "busy"])
        process.wait()
    samples = found.workers[process.pid]
    assert [one.at_s for one in samples] == sorted(one.at_s for one in samples)
    assert found.peak_mb() > 50
    workers_s, others_s = found.cpu_s(begin_s, time.time())
    assert 0 < workers_s <= samples[-1].cpu_s
    assert others_s >= 0
    assert process.pid not in found.others

"""The memory and processor time of the processes that a run starts, sampled while it runs."""

import bisect
import itertools
import statistics
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import time
from typing import NamedTuple

import psutil

_EVERY_S = 0.5


class Sample(NamedTuple):
    """The processor time and memory of a process at a time, in seconds since the epoch.

    Attributes:
        at_s: The time.
        cpu_s: Processor time so far.
        resident_mb: Resident memory in MB (a million bytes).
    """

    at_s: float
    cpu_s: float
    resident_mb: float


@dataclass
class Watched:
    """The samples of processes, in the order of time.

    Attributes:
        workers: Process -> samples of those that are workers.
        others: The same of the other processes.
    """

    workers: dict[int, list[Sample]] = field(default_factory=dict)
    others: dict[int, list[Sample]] = field(default_factory=dict)

    def memory_mb(self) -> dict[str, list[float]]:
        """Return the resident memory of each worker, in quarters of its life: the mean of each."""
        found = {
            str(process): quarters([one.resident_mb for one in samples])
            for process, samples in self.workers.items()
        }
        return {process: means for process, means in found.items() if means}

    def peak_mb(self) -> float:
        """Return the most resident memory of a worker; 0 without one."""
        samples = itertools.chain.from_iterable(self.workers.values())
        return max((one.resident_mb for one in samples), default=0.0)

    def cpu_s(self, begin_s: float, end_s: float) -> tuple[float, float]:
        """Return the processor time of the workers, and of the others, between two times."""
        workers_s, others_s = (
            sum(_cpu_at(samples, end_s) - _cpu_at(samples, begin_s) for samples in kind.values())
            for kind in (self.workers, self.others)
        )
        return workers_s, others_s


def _cpu_at(samples: Sequence[Sample], at_s: float) -> float:
    place = bisect.bisect_right(samples, at_s, key=lambda one: one.at_s)
    return samples[place - 1].cpu_s if place else 0.0


def quarters(samples: Sequence[float]) -> list[float]:
    """Return the mean of each quarter of some samples; none if there are fewer than eight."""
    if len(samples) < 8:
        return []
    cuts = [len(samples) * part // 4 for part in range(5)]
    return [statistics.fmean(samples[start:end]) for start, end in itertools.pairwise(cuts)]


@contextmanager
def watched(is_worker: Callable[[list[str]], bool]) -> Iterator[Watched]:
    """Watch this process and those that it has started, and that those have.

    Args:
        is_worker: Says by the arguments of a process whether it is a worker. What was one once
            stays one.
    """
    found = Watched()
    over = threading.Event()

    def watch() -> None:
        own = psutil.Process()
        while not over.wait(_EVERY_S):
            for process in [own, *own.children(recursive=True)]:
                try:
                    if process.pid in found.workers or is_worker(process.cmdline()):
                        if process.pid in found.others:
                            found.workers[process.pid] = found.others.pop(process.pid)
                        samples = found.workers.setdefault(process.pid, [])
                    else:
                        samples = found.others.setdefault(process.pid, [])
                    times = process.cpu_times()
                    memory = process.memory_info().rss / 1e6
                    samples.append(Sample(time(), times.user + times.system, memory))
                except psutil.Error:  # it has just ended
                    continue

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()

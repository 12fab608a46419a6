"""Encoding fragments on this machine: in this process, or in several."""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace

from lanner.distributed.fragments import Fragment
from lanner.distributed.job import Done, Work
from lanner.distributed.model_source import share_of_cores
from lanner.errors import EngineError

#: Fragments in the queue of each process: one runs, and one waits.
_QUEUED = 2
#: The most times in a row that workers die before a fragment is done.
_MOST_DEATHS = 3


@dataclass(frozen=True)
class Local:
    """Encodes fragments on this machine.

    Attributes:
        workers: The number of processes, which share the cores; 1 for this process.
    """

    workers: int = 1

    def __call__(self, work: Work, fragments: Sequence[Fragment]) -> Iterator[Done]:
        """See `lanner.distributed.job.Executor`.

        Raises:
            EngineError: Workers died again and again.
        """
        if self.workers == 1:
            yield from map(work.encode, fragments)
            return
        work = shared(work, self.workers)
        left = dict.fromkeys(fragments)
        deaths = 0
        while left:
            try:
                for done, fragment in self._in_processes(work, list(left)):
                    del left[fragment]
                    deaths = 0
                    yield done
            except BrokenProcessPool:
                deaths += 1
                if deaths == _MOST_DEATHS:
                    msg = (
                        f"the processes that encode have died {deaths} times, the last time at "
                        f"{next(iter(left))}: see whether the memory suffices for "
                        f"{self.workers} of them"
                    )
                    raise EngineError(msg) from None

    def _in_processes(
        self, work: Work, fragments: list[Fragment]
    ) -> Iterator[tuple[Done, Fragment]]:
        waiting = iter(fragments)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.workers, mp_context=context) as pool:
            running: dict[Future[Done], Fragment] = {}
            try:
                while True:
                    for fragment in waiting:
                        running[pool.submit(work.encode, fragment)] = fragment
                        if len(running) == _QUEUED * self.workers:
                            break
                    if not running:
                        return
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        yield future.result(), running.pop(future)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


def shared(work: Work, workers: int) -> Work:
    """Return the same work for several processes of a machine, which share its cores."""
    encoder = work.encoder
    if encoder.source.is_remote or encoder.source.threads is not None:
        return work
    return replace(work, encoder=encoder.with_threads(max(1, share_of_cores() // workers)))

"""Allowances of keys: requests and tokens a minute, and requests at once.

An allowance is one number, the time at which it is unused again (the generic cell rate algorithm,
which admits what a token bucket of one minute admits): each request moves it by its share of a
minute, and a request that would move it more than a minute ahead of now is refused. An allowance
whose time has passed is as good as new, so its row may go to another key and memory is bounded.

All workers of a service share one file that they map, so a limit holds for the service and not for
each worker: clients keep their connections, and a connection stays with its worker.
"""

import fcntl
import mmap
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from lanner.errors import UnsupportedError
from lanner.service.access.keys import MOST_KEYS, Key

MINUTE_S = 60.0
#: The suggested wait if it depends on running requests and not on time.
BUSY_RETRY_S = 1.0
#: The most workers that share a file.
MOST_WORKERS = 64
#: Sums of shares of a minute are rounded, and 60 requests at 60 a minute must fit.
_ROUNDING_S = 1e-6
#: What an allowance counts, by column.
_REQUESTS, _TOKENS = 0, 1


class Rates:
    """Counters of what each key has used.

    Args:
        path: A file that all workers name, made new for each start of the service, because its
            times count from the start of this machine. None counts in memory for one worker.
        clock: Returns seconds that never go back, the same in all processes of this machine.
        rows: The most keys that are counted at once.

    Raises:
        UnsupportedError: More than `MOST_WORKERS` processes use the file.
    """

    def __init__(
        self,
        path: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        rows: int = MOST_KEYS,
    ) -> None:
        self._clock = clock
        size_bytes = rows * (8 + 16 + 4 * MOST_WORKERS)
        if path is None:
            self._file = None
            content = mmap.mmap(-1, size_bytes)
        else:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.ftruncate(self._file, size_bytes)
            content = mmap.mmap(self._file, size_bytes)
        self._owners = np.frombuffer(content, np.uint64, rows)
        self._ends_s = np.frombuffer(content, np.float64, 2 * rows, 8 * rows).reshape(rows, 2)
        running = np.frombuffer(content, np.int32, rows * MOST_WORKERS, 24 * rows)
        self._running = running.reshape(MOST_WORKERS, rows)
        self._worker = self._claim_worker()
        # A killed worker has no running requests.
        self._running[self._worker] = 0
        self._known: dict[str, int] = {}

    def admit(self, key: Key, tokens: int = 0) -> float | None:
        """Begin a request, or return the seconds to wait; each one that began must be released.

        Args:
            key: The key of the request.
            tokens: The tokens of the request as far as they are known; `charge` takes the rest. A
                request of more tokens than a minute has is admitted when the allowance is unused.

        Returns:
            None if the request may run, otherwise the seconds after which it may be sent again.
        """
        if key.requests_per_minute is key.tokens_per_minute is key.concurrent is None:
            return None
        now_s = self._clock()
        with self._locked():
            row = self._row(key, now_s)
            if row is None:
                return BUSY_RETRY_S
            ends_s, costs = self._ends_s[row], _costs(key, 1, tokens)
            waits = [_wait_s(float(ends_s[column]), now_s, *cost) for column, cost in costs.items()]
            if key.concurrent is not None and self._running[:, row].sum() >= key.concurrent:
                waits.append(BUSY_RETRY_S)
            if (wait_s := max(waits, default=0.0)) > 0:
                return wait_s
            for column, (limit, cost) in costs.items():
                ends_s[column] = max(float(ends_s[column]), now_s) + cost * MINUTE_S / limit
            self._running[self._worker, row] += 1
        return None

    def charge(self, key: Key, tokens: int) -> None:
        """Count tokens of a running request, beyond those of its admission.

        Args:
            key: The key of the request.
            tokens: The additional tokens, or if negative the missing ones. They may exceed the
                allowance; the next requests wait for it.
        """
        if key.tokens_per_minute is None or not tokens:
            return
        now_s = self._clock()
        with self._locked():
            row = self._row(key, now_s)
            if row is not None:
                end_s = max(float(self._ends_s[row, _TOKENS]), now_s)
                self._ends_s[row, _TOKENS] = end_s + tokens * MINUTE_S / key.tokens_per_minute

    def release(self, key: Key) -> None:
        """End a request that was admitted."""
        if key.requests_per_minute is key.tokens_per_minute is key.concurrent is None:
            return
        with self._locked():
            row = self._row(key, self._clock())
            if row is not None and self._running[self._worker, row] > 0:
                self._running[self._worker, row] -= 1

    def _row(self, key: Key, now_s: float) -> int | None:
        """Return the row of a key, a free one if it has none, or None if all are taken."""
        owner = np.uint64(int(key.sha256[:16], 16) or 1)
        row = self._known.get(key.sha256)
        if row is not None and self._owners[row] == owner:
            return row
        found = np.flatnonzero(self._owners == owner)
        if not len(found):
            # A row without a user, whose times have passed, counts like an empty one.
            free = (self._ends_s <= now_s).all(axis=1) & (self._running == 0).all(axis=0)
            found = np.flatnonzero(free)
            if not len(found):
                return None
            self._owners[found[0]] = owner
            self._ends_s[found[0]] = 0
        if len(self._known) > 2 * len(self._owners):
            self._known.clear()
        self._known[key.sha256] = int(found[0])
        return int(found[0])

    def _claim_worker(self) -> int:
        """Return a number that no other process has while this one lives."""
        if self._file is None:
            return 0
        for worker in range(MOST_WORKERS):
            try:
                # The kernel releases the lock when the process ends, in any way.
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 1 + worker)
            except OSError:
                continue
            return worker
        msg = f"{MOST_WORKERS} workers count rates already: start the service with fewer --workers"
        raise UnsupportedError(msg)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from the counters; only one thread of a process calls."""
        if self._file is None:
            yield
            return
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, 0)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, 0)


def _costs(key: Key, requests: int, tokens: int) -> dict[int, tuple[int, int]]:
    """Return by column the limit of a key and the cost of a request."""
    found = {
        _REQUESTS: (key.requests_per_minute, requests),
        _TOKENS: (key.tokens_per_minute, tokens),
    }
    return {column: (limit, cost) for column, (limit, cost) in found.items() if limit is not None}


def _wait_s(end_s: float, now_s: float, limit: int, cost: int) -> float:
    ahead_s = max(end_s - now_s, 0.0) + min(cost, limit) * MINUTE_S / limit
    return ahead_s - MINUTE_S if ahead_s > MINUTE_S + _ROUNDING_S else 0.0

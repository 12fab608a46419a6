"""The models of a process, and the figures of their batches."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakMethod

from lanner.monitoring import families
from lanner.monitoring.record import Record, empty, put


class State(NamedTuple):
    """A loaded model as it is now.

    Attributes:
        head: The name of its head.
        variant: The name of its variant.
        precision: The precision of its variant.
        engine: The name of its engine.
        version: Its version on a Triton server; empty in process.
        sha256: The first 12 digits of the checksum of its file.
        load_s: Seconds that loading took.
        workers: The number of batches that can run at once.
        busy: The number of batches that run.
        waiting: The number of calls that wait.
        oldest_s: Seconds that the oldest of them has waited.
    """

    head: str
    variant: str
    precision: str
    engine: str
    version: str
    sha256: str
    load_s: float
    workers: int
    busy: int
    waiting: int
    oldest_s: float


class RunFigures:
    """Counts of the batches of a model. Any thread may call it."""

    __slots__ = ("_busy_s", "_failures", "_lock", "_noted", "_seconds", "_texts", "_tokens")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: Batches that are not counted yet: to note one takes a fifth of the time of counting it.
        self._noted: deque[tuple[int, int, float, int]] = deque()
        self._texts = empty(families.BATCH_TEXTS)
        self._tokens = empty(families.BATCH_TOKENS)
        self._seconds = empty(families.BATCH_SECONDS)
        self._failures = 0
        self._busy_s = 0.0

    def note(self, texts: int, tokens: int, spent_s: float, workers: int) -> None:
        """Count a batch that was answered.

        Args:
            texts: Its texts or pairs.
            tokens: Its tokens, without padding.
            spent_s: The seconds that it took.
            workers: The number of workers whose cores it took.
        """
        self._noted.append((texts, tokens, spent_s, workers))
        if len(self._noted) >= _MOST_NOTED:
            with self._lock:
                self._count()

    def _count(self) -> None:
        """Count the batches that were noted; the caller has the lock."""
        while self._noted:
            texts, tokens, spent_s, workers = self._noted.popleft()
            put(self._texts, _TEXTS, texts)
            put(self._tokens, _TOKENS, tokens)
            put(self._seconds, _SECONDS, spent_s)
            self._busy_s += spent_s * workers

    def note_failure(self) -> None:
        """Count a batch that was not answered."""
        with self._lock:
            self._failures += 1

    def write(self, record: Record, model: str) -> None:
        """Write the counts into a record.

        Args:
            record: The record.
            model: The name of the model.
        """
        with self._lock:
            self._count()
            for family, found in (
                (families.BATCH_TEXTS, self._texts),
                (families.BATCH_TOKENS, self._tokens),
                (families.BATCH_SECONDS, self._seconds),
            ):
                record.distributions[family.name, (model,)] = list(found)
            record.add(families.BATCH_FAILURES, self._failures, model)
            record.add(families.BUSY_SECONDS, self._busy_s, model)


_TEXTS, _TOKENS = families.BATCH_TEXTS.limits, families.BATCH_TOKENS.limits
_SECONDS = families.BATCH_SECONDS.limits
#: Batches that wait to be counted; counting them takes half a millisecond.
_MOST_NOTED = 256

#: Returns the state of a model, or None if it was closed.
Look = Callable[[], State | None]


@dataclass
class _Entry:
    """A model that may be alive."""

    look: "WeakMethod[Look]"
    version: str


class Models:
    """The models of a process by name. Any thread may call it.

    Models of one name share their counts, and these stay when a model ends: counts must not fall.
    The models themselves are not kept alive.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._figures: dict[str, RunFigures] = {}
        self._entries: dict[str, list[_Entry]] = {}

    def enter(self, name: str, look: Look, version: str = "") -> RunFigures:
        """Add a model, and return the figures in which its batches count.

        Args:
            name: The name for the label `model`.
            look: A bound method of the model.
            version: Its version, if `look` does not know it.
        """
        with self._lock:
            entries = self._entries.setdefault(name, [])
            entries[:] = [one for one in entries if one.look() is not None]
            entries.append(_Entry(WeakMethod(look), version))
            return self._figures.setdefault(name, RunFigures())

    def leave(self, name: str, look: Look) -> None:
        """Remove a model; its name goes too if nothing was counted under it."""
        with self._lock:
            found = self._entries.get(name, [])
            found[:] = [one for one in found if one.look() not in (None, look)]
            if not found:
                self._entries.pop(name, None)
                self._figures.pop(name, None)

    def names(self) -> list[str]:
        """Return the names of all models."""
        with self._lock:
            return list(self._figures)

    def write(self, record: Record) -> None:
        """Write the counts and states of all models into a record."""
        with self._lock:
            figures = dict(self._figures)
            entries = [(name, one) for name, some in self._entries.items() for one in some]
        for name, counted in figures.items():
            counted.write(record, name)
        for name, entry in entries:
            look = entry.look()
            state = None if look is None else look()
            if state is not None:
                _write(record, name, _versioned(state, entry.version))


def _versioned(state: State, version: str) -> State:
    """Return a state with a version, unless it has one."""
    return state if state.version else state._replace(version=version)


def _write(record: Record, name: str, state: State) -> None:
    record.set(families.MODEL_INFO, 1, name, *state[:6])
    record.set(families.MODEL_LOAD_SECONDS, state.load_s, name)
    record.set(families.MODEL_WORKERS, state.workers, name)
    record.set(families.MODEL_WORKERS_BUSY, state.busy, name)
    record.set(families.MODEL_WAITING, state.waiting, name)
    record.set(families.MODEL_OLDEST_SECONDS, state.oldest_s, name)


#: The models of this process that are not in a service.
LOADED = Models()

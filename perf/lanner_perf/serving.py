"""The subject's side: a process that loads one subject and answers the harness until that goes.

It imports nothing but the standard library: what a subject's process holds is the subject's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from lanner_perf.callers import Call, Calls, closed_loop, open_loop
from lanner_perf.heads import HEAD_KINDS, first_input
from lanner_perf.kinds import KINDS, Loaded
from lanner_perf.resident import peak_resident_mb, resident_mb
from lanner_perf.subjects import Spec, Started, SubjectError


def serve(file_descriptor: int) -> None:
    """Starts what it is told to, and answers until the harness goes."""
    connection: Connection = Connection(file_descriptor)
    spec, threads = connection.recv()
    try:
        loaded, started = _start(spec, threads)
        connection.send(started)
        answers = Answers(loaded)
        while True:
            command, *arguments = connection.recv()
            connection.send(getattr(answers, command)(*arguments))
    except EOFError:
        pass  # the harness closed its end
    except Exception as error:  # noqa: BLE001 (handed to the harness, which raises it)
        what = " ".join(f"{type(error).__name__}: {error}".split())
        connection.send(SubjectError(f"{spec.name} on {spec.path}: {what}"))


def _start(spec: Spec, threads: int) -> tuple[Loaded, Started]:
    loaded = (KINDS | HEAD_KINDS)[spec.kind](spec.path, spec.options, threads)
    loaded_mb = resident_mb()
    first = first_input(spec.options.get("head", "embed"))
    first_answer_ms = _milliseconds(partial(loaded.encode, first))
    return loaded, Started(
        import_s=loaded.import_s,
        load_s=loaded.load_s,
        first_answer_ms=first_answer_ms,
        imported_mb=loaded.imported_mb,
        loaded_mb=loaded_mb,
        facts=loaded.facts,
        versions=loaded.versions,
    )


class Answers:
    """What the harness may ask; each method has a namesake in `lanner_perf.subjects.Subject`."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._encode = loaded.encode

    def encode(self, texts: list[str], batch_size: int) -> tuple[float, Any]:
        """Seconds of one call with all texts, and its vectors."""
        begin = time.perf_counter()
        vectors = self._encode(texts, batch_size=batch_size)
        return time.perf_counter() - begin, vectors

    def rate(self, texts: list[str], batch_size: int, least_s: float) -> float:
        """Texts a second of calls with all texts, repeated until `least_s` have gone by."""
        begin, calls = time.perf_counter(), 0
        while (seconds := time.perf_counter() - begin) < least_s or not calls:
            self._encode(texts, batch_size=batch_size)
            calls += 1
        return calls * len(texts) / seconds

    def latencies_ms(self, texts: list[str]) -> list[float]:
        """Milliseconds of a call with each text."""
        return [_milliseconds(partial(self._encode, text)) for text in texts]

    def overheads_ms(self, texts: list[str]) -> list[float]:
        """Milliseconds that the dispatcher adds to the engine's, for each text; none if unknown.

        Either comes first in turn, because what was just computed is computed faster again.
        """
        if self._loaded.dispatch is None:
            return []
        overheads = []
        for index, text in enumerate(texts):
            self._encode(text)  # what was computed last is found in the caches
            calls = self._loaded.dispatch(text)
            order = (1, 0) if index % 2 else (0, 1)
            took_ms = {which: _milliseconds(calls[which]) for which in order}
            overheads.append(took_ms[0] - took_ms[1])
        return overheads

    def closed_loop(self, texts: list[str], callers: int) -> Calls:
        """See `lanner_perf.callers`; or the subject's own way to have many callers."""
        if self._loaded.answer_many is None:
            return closed_loop(self._encode, texts, callers)
        begin = time.perf_counter()
        latencies_ms = self._loaded.answer_many(texts, callers)
        end_s = time.perf_counter() - begin
        # When each call began is not known, but only how long it took, and when all were over.
        return Calls([Call(end_s - ms / 1e3, end_s, "answered") for ms in latencies_ms])

    def open_loop(
        self, texts: list[str], arrivals_s: list[float], callers: int, patience_s: float
    ) -> Calls:
        """See `lanner_perf.callers`."""
        return open_loop(self._encode, texts, arrivals_s, callers=callers, patience_s=patience_s)

    def memory_mb(self) -> tuple[float, float]:
        """Resident memory now, and the most so far."""
        now = resident_mb()
        return now, max(now, peak_resident_mb())


def _milliseconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - begin)

"""The subject's side: a process that loads one subject and answers the harness until it closes.

This module imports nothing but the standard library, so that the process holds only what the
subject needs.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from lanner_perf.kinds import Encode, Loaded, loader_of
from lanner_perf.kinds.heads import HEAD_KINDS, INPUTS, first_input
from lanner_perf.subjects.callers import Call, Calls, closed_loop, open_loop
from lanner_perf.subjects.resident import peak_resident_mb, resident_mb
from lanner_perf.subjects.subject import NEW, SEEN, TEXTS, Spec, Started, SubjectError

#: The most words that new texts are drawn from, about as many as a few hundred texts have.
_MOST_WORDS = 10_000


def serve(file_descriptor: int) -> None:
    """Start the subject that the harness names, and answer until the harness closes its end."""
    connection: Connection = Connection(file_descriptor)
    spec, threads = connection.recv()
    try:
        loaded, started = _start(spec, threads)
        connection.send(started)
        answers = Answers(loaded, spec.options.get(TEXTS, ""))
        while True:
            command, *arguments = connection.recv()
            connection.send(getattr(answers, command)(*arguments))
    except EOFError:
        pass  # the harness closed its end
    except Exception as error:  # noqa: BLE001 (handed to the harness, which raises it)
        what = " ".join(f"{type(error).__name__}: {error}".split())
        connection.send(SubjectError(f"{spec.name} on {spec.path}: {what}"))


def _start(spec: Spec, threads: int) -> tuple[Loaded, Started]:
    load = HEAD_KINDS.get(spec.kind) or loader_of(spec.kind)
    loaded = load(spec.path, spec.options, threads)
    loaded_mb = resident_mb()
    first = first_input(spec.options.get(INPUTS, ""))
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
    """The answers to the harness; each method has a namesake in `lanner_perf.subjects.subject`.

    Args:
        loaded: The subject.
        texts: The texts of timed calls: `NEW` for texts that the subject has never seen, `SEEN` for
            texts that it was asked before in a call of the same form, empty for the texts as they
            are.
    """

    def __init__(self, loaded: Loaded, texts: str = "") -> None:
        self._loaded = loaded
        self._encode = with_new_texts(loaded.encode) if texts == NEW else loaded.encode
        self._has_seen: set[str] | None = set() if texts == SEEN else None

    def encode(self, texts: list[str], batch_size: int) -> tuple[float, Any]:
        """Return the seconds of one call with all texts, and its vectors."""
        begin = time.perf_counter()
        vectors = self._loaded.encode(texts, batch_size=batch_size)
        return time.perf_counter() - begin, vectors

    def rate(self, texts: list[str], batch_size: int, least_s: float) -> float:
        """Return the texts a second of calls with all texts, repeated for `least_s` seconds."""
        if self._has_seen is not None:
            self._encode(texts, batch_size=batch_size)
        begin, calls = time.perf_counter(), 0
        while (seconds := time.perf_counter() - begin) < least_s or not calls:
            self._encode(texts, batch_size=batch_size)
            calls += 1
        return calls * len(texts) / seconds

    def latencies_ms(self, texts: list[str]) -> list[float]:
        """Return the milliseconds of a call with each text."""
        self._see(texts)
        return [_milliseconds(partial(self._encode, text)) for text in texts]

    def overheads_ms(self, texts: list[str]) -> list[float]:
        """Return the milliseconds that the dispatcher adds for each text; an empty list if unknown.

        The call through the dispatcher and the bare call take turns at coming first, because a
        repeated call is faster.
        """
        if self._loaded.dispatch is None:
            return []
        overheads = []
        for index, text in enumerate(texts):
            self._encode(text)  # brings the text's data into the CPU caches
            calls = self._loaded.dispatch(text)
            order = (1, 0) if index % 2 else (0, 1)
            took_ms = {which: _milliseconds(calls[which]) for which in order}
            overheads.append(took_ms[0] - took_ms[1])
        return overheads

    def closed_loop(self, texts: list[str], callers: int) -> Calls:
        """See `lanner_perf.subjects.callers`; a subject may have a way of its own."""
        self._see(texts)
        count = self._loaded.totals
        before, begin_s = count() if count else None, time.process_time()
        calls = self._closed_loop(texts, callers)
        cpu_s = time.process_time() - begin_s
        totals = count().since(before) if count and before else None
        return calls._replace(cpu_s=cpu_s, totals=totals)

    def _closed_loop(self, texts: list[str], callers: int) -> Calls:
        if self._loaded.answer_many is None:
            return closed_loop(self._encode, texts, callers)
        begin = time.perf_counter()
        latencies_ms = self._loaded.answer_many(texts, callers)
        end_s = time.perf_counter() - begin
        # The subject gives only the duration of each call. Take all calls to have ended together.
        return Calls([Call(end_s - ms / 1e3, end_s, "answered") for ms in latencies_ms])

    def open_loop(
        self, texts: list[str], arrivals_s: list[float], callers: int, patience_s: float
    ) -> Calls:
        """See `lanner_perf.subjects.callers`."""
        self._see(texts)
        return open_loop(self._encode, texts, arrivals_s, callers=callers, patience_s=patience_s)

    def _see(self, texts: list[str]) -> None:
        """Answer the texts before they are timed, if the run is for texts already in the cache."""
        if self._has_seen is not None:
            for text in dict.fromkeys(texts):
                if text not in self._has_seen:
                    self._encode(text)
            self._has_seen.update(texts)

    def memory_mb(self) -> tuple[float, float]:
        """Return the resident memory now, and its peak, in MB."""
        now = resident_mb()
        return now, max(now, peak_resident_mb())


def with_new_texts(encode: Encode) -> Encode:
    """Replace the words of each text by as many words of other texts, so that no cache knows it.

    The words are drawn from the texts of all calls so far, so the lengths in words stay the same.
    Every process draws differently.
    """
    words: list[str] = []
    draw = random.Random()  # noqa: S311

    def new(text: Any) -> Any:
        if isinstance(text, tuple):
            return (new(text[0]), *text[1:])
        own = text.split()
        if len(words) < _MOST_WORDS:
            words.extend(own)
        return " ".join(draw.choices(words, k=len(own)))

    def encode_new(texts: Any, **options: Any) -> Any:
        return encode([*map(new, texts)] if isinstance(texts, list) else new(texts), **options)

    return encode_new


def _milliseconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - begin)

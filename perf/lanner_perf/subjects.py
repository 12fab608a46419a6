"""What is measured. Each subject lives in a process of its own, and idles while others run.

So no subject shares threads, caches of the allocator or imports with another, rounds of different
subjects can be interleaved, and a peer may run in an environment of its own. This module imports
nothing but the standard library: what a subject's process holds is the subject's.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Self

from lanner_perf.kinds import KINDS, Encode
from lanner_perf.launch import program

if TYPE_CHECKING:
    from lanner.similarity import Vectors

WARM_UP_TEXTS = 64


class SubjectError(Exception):
    """A subject could not start, failed or went away."""


@dataclass(frozen=True)
class Spec:
    """One thing to measure.

    Attributes:
        name: How the tables name it.
        kind: What loads it, of `lanner_perf.kinds.KINDS`.
        path: The artifact, the checkpoint or the model file.
        options: What else its kind needs to know.
        python: The interpreter that it runs in.
        is_optional: Whether the others are measured without it where it cannot start.
    """

    name: str
    kind: str
    path: str
    options: dict[str, str] = field(default_factory=dict)
    python: str = sys.executable
    is_optional: bool = False


@dataclass(frozen=True)
class Started:
    """What starting a subject took, and what it says of itself and its environment."""

    import_s: float
    load_s: float
    first_answer_ms: float
    facts: dict[str, Any]
    versions: dict[str, str]


class Subject:
    """A running subject; a context manager that ends its process."""

    def __init__(self, spec: Spec, threads: int) -> None:
        self.spec = spec
        self.batch_size = 32
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        self._connection, theirs = Pipe()
        # Not multiprocessing's own start: it would import the harness into the subject.
        code = f"from lanner_perf.subjects import serve; serve({theirs.fileno()})"
        self._process = subprocess.Popen(
            [spec.python, "-c", program(code)],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=subject_environment(threads),
        )
        theirs.close()
        try:
            self.started: Started = self._ask((spec, threads))
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def encode(self, texts: list[str], batch_size: int | None = None) -> tuple[float, Vectors]:
        """Encodes all texts in one call; seconds and vectors."""
        seconds, vectors = self._ask(("encode", texts, batch_size or self.batch_size))
        return seconds, vectors

    def latencies_ms(self, texts: list[str]) -> list[float]:
        """Encodes the texts one call each; milliseconds of each call."""
        latencies: list[float] = self._ask(("latencies", texts, 1))
        return latencies

    def peak_rss_mb(self) -> float:
        """The most memory that the process has had so far."""
        return float(self._ask(("rss", [], 1)))

    def _ask(self, question: object) -> Any:
        # Of a process that is gone, what it still said or how it ended is told below.
        with suppress(ConnectionError):
            self._connection.send(question)
        try:
            answer = self._connection.recv()
        except (EOFError, ConnectionError):
            status = self._process.wait()
            self._log.seek(0)
            said = last_line(self._log.read().decode(errors="replace"))
            msg = f"{self.spec.name} ended unexpectedly with status {status}: {said}"
            raise SubjectError(msg) from None
        if isinstance(answer, SubjectError):
            raise answer
        return answer


def subject_environment(threads: int) -> dict[str, str]:
    """This process's environment, with the tokenizers' threads bounded and nothing reported home.

    OpenVINO's tools have no switch of their own for that but keep quiet where they are told that
    this is a run of CI.
    """
    quiet = {"ORT_DISABLE_TELEMETRY": "1", "CI": "true"}
    return {**os.environ, **quiet, "RAYON_NUM_THREADS": str(threads)}


def last_line(output: str) -> str:
    """What a program said last, as a rule why it failed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def serve(file_descriptor: int) -> None:
    """The subject's side: starts what it is told to, and answers until the harness goes."""
    connection: Connection = Connection(file_descriptor)
    spec, threads = connection.recv()
    try:
        encode, started = _start(spec, threads)
        connection.send(started)
        while True:
            command, texts, batch_size = connection.recv()
            if command == "encode":
                begin = time.perf_counter()
                vectors = encode(texts, batch_size=batch_size)
                connection.send((time.perf_counter() - begin, vectors))
            elif command == "latencies":
                connection.send([_milliseconds(partial(encode, text)) for text in texts])
            else:
                connection.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
    except EOFError:
        pass  # the harness closed its end
    except Exception as error:  # noqa: BLE001 (handed to the harness, which raises it)
        what = " ".join(f"{type(error).__name__}: {error}".split())
        connection.send(SubjectError(f"{spec.name} on {spec.path}: {what}"))


def _start(spec: Spec, threads: int) -> tuple[Encode, Started]:
    loaded = KINDS[spec.kind](spec.path, spec.options, threads)
    first_answer_ms = _milliseconds(partial(loaded.encode, "How fast is the first answer?"))
    return loaded.encode, Started(
        loaded.import_s, loaded.load_s, first_answer_ms, loaded.facts, loaded.versions
    )


def _milliseconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - begin)

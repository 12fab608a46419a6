"""The subjects of measurements. Each lives in its own process, and idles while others run.

So a subject shares no threads, allocator caches or imports with another, rounds of different
subjects can be interleaved, and a peer may run in an environment of its own. This module imports
only the standard library, because the subject's process imports it too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lanner_perf.subjects.launch import program

if TYPE_CHECKING:
    from lanner.vectors.similarity import Vectors
    from lanner_perf.subjects.callers import Calls

#: The environment that the harness itself runs in.
OWN_ENVIRONMENT = "harness"
#: The option of a spec for the texts of timed calls, which matters if there is a cache: new texts
#: for each call, or texts seen before; by default the texts as they are. See
#: `lanner_perf.kinds.subject_process`.
TEXTS, NEW, SEEN = "texts", "new", "seen"
#: A subject that is silent for this many seconds hangs. The slowest start compiles its model.
PATIENCE_S = 300.0


class SubjectError(Exception):
    """A subject could not start, failed, hung or went away."""


@dataclass(frozen=True)
class Spec:
    """One thing to measure.

    Attributes:
        name: Its unique name in the tables.
        kind: Its loader, a module of `lanner_perf.kinds`.
        path: The artifact, the checkpoint or the model file.
        options: The options of its kind.
        python: The interpreter that it runs in.
        is_optional: True to measure the others without it if it cannot start.
    """

    name: str
    kind: str
    path: str
    options: dict[str, str] = field(default_factory=dict)
    python: str = sys.executable
    is_optional: bool = False

    @property
    def environment(self) -> str:
        """Return the name of its interpreter's environment in a report."""
        if self.python == sys.executable:
            return OWN_ENVIRONMENT
        return Path(self.python).parent.parent.name or self.python


@dataclass(frozen=True)
class Started:
    """The cost of starting a subject, and its description of itself and its environment.

    Attributes:
        import_s: The seconds of the imports.
        load_s: The seconds of loading, after the imports.
        first_answer_ms: The milliseconds of the first call.
        imported_mb: Resident memory after the imports; None if the kind does not report it.
        loaded_mb: Resident memory after loading.
        facts: Its properties for the report.
        versions: The versions of the distributions of its environment.
    """

    import_s: float
    load_s: float
    first_answer_ms: float
    imported_mb: float | None
    loaded_mb: float
    facts: dict[str, Any]
    versions: dict[str, str]


class Subject:
    """A running subject; a context manager that ends its process."""

    def __init__(self, spec: Spec, threads: int) -> None:
        self.spec = spec
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        self._connection, theirs = Pipe()
        # multiprocessing's own start would import the harness into the subject.
        code = f"from lanner_perf.kinds.subject_process import serve; serve({theirs.fileno()})"
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
            self.started: Started = self._ask(spec, threads)
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

    @property
    def name(self) -> str:
        """Return the name of its spec."""
        return self.spec.name

    def encode(self, texts: list[str], batch_size: int = 32) -> tuple[float, Vectors]:
        """Encode all texts in one call; return the seconds and the vectors."""
        seconds, vectors = self._ask("encode", texts, batch_size)
        return seconds, vectors

    def rate(self, texts: list[str], batch_size: int, least_s: float = 0.0) -> float:
        """Return the texts a second of calls with all texts, repeated for `least_s` seconds."""
        return float(self._ask("rate", texts, batch_size, least_s))

    def latencies_ms(self, texts: list[str]) -> list[float]:
        """Encode each text in a call of its own; return the milliseconds of each call."""
        latencies: list[float] = self._ask("latencies_ms", texts)
        return latencies

    def overheads_ms(self, texts: list[str]) -> list[float]:
        """Return the milliseconds that the dispatcher adds for each text; empty if unknown."""
        overheads: list[float] = self._ask("overheads_ms", texts)
        return overheads

    def closed_loop(self, texts: list[str], callers: int) -> Calls:
        """Share the texts among this many callers; see `lanner_perf.subjects.callers`."""
        calls: Calls = self._ask("closed_loop", texts, callers)
        return calls

    def open_loop(
        self, texts: list[str], arrivals_s: list[float], *, callers: int, patience_s: float
    ) -> Calls:
        """Run calls for texts that arrive at given times; see `lanner_perf.subjects.callers`."""
        calls: Calls = self._ask("open_loop", texts, arrivals_s, callers, patience_s)
        return calls

    def memory_mb(self) -> tuple[float, float]:
        """Return the resident memory now, and its peak, in MB."""
        now, peak = self._ask("memory_mb")
        return now, peak

    def _ask(self, *question: object) -> Any:
        # If the process is gone, the code below reports its last words or its exit status.
        with suppress(ConnectionError):
            self._connection.send(question)
        try:
            if not self._connection.poll(PATIENCE_S):
                self._process.kill()
                msg = f"{self.name} gave no answer within {PATIENCE_S:.0f} s and was ended"
                raise SubjectError(msg)
            answer = self._connection.recv()
        except (EOFError, ConnectionError):
            status = self._process.wait()
            self._log.seek(0)
            said = last_line(self._log.read().decode(errors="replace"))
            msg = f"{self.name} ended unexpectedly with status {status}: {said}"
            raise SubjectError(msg) from None
        if isinstance(answer, SubjectError):
            raise answer
        return answer


def subject_environment(threads: int) -> dict[str, str]:
    """Return the environment variables of a subject: bounded threads and no telemetry.

    The limit is for Rayon, the thread pool of the tokenizers. OpenVINO's tools have no switch for
    telemetry, but they send none if ``CI`` is set.
    """
    quiet = {"ORT_DISABLE_TELEMETRY": "1", "CI": "true"}
    return {**os.environ, **quiet, "RAYON_NUM_THREADS": str(threads)}


def last_line(output: str) -> str:
    """Return the last line of a program's output, usually the reason of a failure."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"

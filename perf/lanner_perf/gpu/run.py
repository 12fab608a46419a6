"""The run of the jobs of `lanner_perf.gpu.bench`, in as many processes as they need."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing import Pipe
from typing import Any

from lanner.errors import BenchmarkError
from lanner_perf.gpu.files import own_environment
from lanner_perf.gpu.models import MODELS
from lanner_perf.gpu.record import Report, leave_out
from lanner_perf.gpu.subjects import subjects_of
from lanner_perf.gpu.worker import Job, Request
from lanner_perf.subjects.subject import last_line

#: A process that is silent for this many seconds hangs. The slowest start builds an engine.
_PATIENCE_S = 900.0
#: After this many failures the other shapes of a job are not tried.
_MOST_FAILURES = 2
_SERVE = "from lanner_perf.gpu.worker import serve; serve({})"


class Benchmark:
    """The run of a benchmark, which measures jobs and adds to the report.

    Args:
        report: The report to add to; its last part is this run's.
        keep: Called whenever the report has something new.
        tell: Called with a description when a step begins.
        deadline: The end of the run, by `time.monotonic`, or None.
    """

    def __init__(
        self,
        report: Report,
        *,
        keep: Callable[[], object] = lambda: None,
        tell: Callable[[str], object] = lambda _: None,
        deadline: float | None = None,
    ) -> None:
        self._report = report
        self._keep = keep
        self._tell = tell
        self._deadline = deadline
        self._left: dict[tuple[str, str], list[tuple[int, int]]] = {}
        self._failures: dict[tuple[str, str], int] = {}

    def run(self, request: Request) -> None:
        """Measure the jobs.

        Raises:
            BenchmarkError: The device cannot be measured at all.
        """
        self._left = {(job.model, job.subject): list(job.shapes) for job in request.jobs}
        self._failures = dict.fromkeys(self._left, 0)
        try:
            if any(self._left.values()):
                # In a process of its own: PyTorch measures here, and must not share a process with
                # an engine.
                self._tell("the peak of matrix products")
                self._follow(replace(request, surveys=True, jobs=[]))
            while any(self._left.values()):
                self._follow(replace(request, surveys=False, jobs=self._next_jobs()))
        except TimeoutError:
            for names, shapes in self._left.items():
                leave_out(self._report, *names, shapes, "no time was left: --resume goes on")
            self._keep()

    def _next_jobs(self) -> list[Job]:
        """Return the jobs that the next process can do, in the order of the subjects."""
        known = subjects_of(self._report["device"])
        jobs = [Job(*names, shapes) for names, shapes in self._left.items() if shapes]
        left = {job.subject for job in jobs}
        process = next(subject.process for name, subject in known.items() if name in left)
        return [job for job in jobs if known[job.subject].process == process]

    def _follow(self, request: Request) -> None:
        """Record the reports of a process until it ends."""
        names: tuple[str, str] | None = None
        shape: tuple[int, int] | None = None
        for word, content in self._told(request):
            if word == "survey":
                self._report["parts"][-1] |= content
                self._keep()
            elif word == "begin":
                job = request.jobs[content]
                names, shape = (job.model, job.subject), None
                self._tell(f"{job.model}: {job.subject}")
            elif names is None:
                msg = f"the benchmark could not begin: {content}"
                raise BenchmarkError(msg)
            elif word == "shape":
                shape = content
            elif word == "figure" and shape is not None:
                self._add(names, shape, content)
                shape = None
            else:
                self._leave_out(names, shape, content)

    def _add(self, names: tuple[str, str], shape: tuple[int, int], timing: dict[str, Any]) -> None:
        part = self._report["parts"][-1]
        precision = subjects_of(self._report["device"])[names[1]].precision
        peak = part["peak_flop_per_s"].get(precision)
        flop_per_s = MODELS[names[0]].flop(*shape) / timing["p50_ms"] * 1e3
        self._report["figures"].append(
            {
                "model": names[0],
                "subject": names[1],
                "precision": precision,
                "batch": shape[0],
                "length": shape[1],
                **timing,
                "peak_fraction": None if peak is None else round(flop_per_s / peak, 4),
                "part": len(self._report["parts"]) - 1,
            }
        )
        self._left[names].remove(shape)
        self._keep()

    def _leave_out(
        self, names: tuple[str, str], shape: tuple[int, int] | None, reason: str
    ) -> None:
        """Leave out the shape, or all that are left if the subject did not start."""
        gone = self._left[names] if shape is None else [shape]
        leave_out(self._report, *names, gone, reason)
        rest = [other for other in self._left[names] if other not in gone]
        self._failures[names] += 1
        if self._failures[names] >= _MOST_FAILURES:
            leave_out(self._report, *names, rest, f"not tried after {_MOST_FAILURES} failures")
            rest = []
        self._left[names] = rest
        self._keep()

    def _told(self, request: Request) -> Iterator[tuple[str, Any]]:
        """Yield the messages of a process; see `lanner_perf.gpu.worker.serve`.

        Raises:
            TimeoutError: The deadline came.
        """
        ours, theirs = Pipe()
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                [sys.executable, "-c", _SERVE.format(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=own_environment(),
                start_new_session=True,  # so that its children end with it
            )
            theirs.close()
            try:
                ours.send(request)
                word = ""
                while word not in ("done", "failed"):
                    if not ours.poll(self._patience()):
                        self._patience()
                        reason = f"its process said nothing for {_PATIENCE_S:.0f} s and was ended"
                        yield "failed", reason
                        return
                    word, content = ours.recv()
                    if word != "done":
                        yield word, content
            except (EOFError, ConnectionError):
                status = process.wait()
                log.seek(0)
                said = last_line(log.read().decode(errors="replace"))
                yield "failed", f"its process ended with status {status}: {said}"
            finally:
                ours.close()
                # Kill it: its libraries may take long to end, or crash.
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _patience(self) -> float:
        """Return the time to wait for a message; raise an error after the deadline."""
        if self._deadline is None:
            return _PATIENCE_S
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return min(left, _PATIENCE_S)

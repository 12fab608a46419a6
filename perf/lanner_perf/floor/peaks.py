"""The highest speed of this machine in matrix products and in reading memory.

Both are measured, as the best of several libraries, on matrices of a model's own sizes. There are
two kinds of processes. In one each library has one thread, and computes independent products as
Lanner's workers do. In the other each library has all threads, and computes one product at a time.
The processes run `lanner_perf.floor.peak_process`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TypedDict

from lanner_perf.floor.peak_process import ONE, THREAD, WORKERS, Answer, Bandwidth, Question, Rate
from lanner_perf.subjects.launch import program
from lanner_perf.subjects.subject import SubjectError, last_line, subject_environment

#: The bytes of a weight.
PRECISIONS = {"fp32": 4, "bf16": 2, "int8": 1}
#: Rounds that differ by more than this fraction of their median show a busy machine, whose true
#: peak may be higher.
NOISY_SPREAD = 0.1

_CODE = "from lanner_perf.floor.peak_process import main; main()"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# A runtime plans its memory ahead, but torch and numpy allocate it for each product. These settings
# make glibc keep freed memory, so that pages are not fetched and cleared again (mallopt(3)).
_KEEP_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024**2),
    "MALLOC_TRIM_THRESHOLD_": str(1024**3),
}


@dataclass(frozen=True)
class Effort:
    """The effort of the measurement.

    Attributes:
        tokens: Rows of the activations that are tried.
        matrices: The number of the model's matrices that are tried.
        rounds: Rounds; their median is reported.
        window_s: The seconds of one measure of a round.
        layouts: The layouts of products on the threads.
    """

    tokens: tuple[int, ...]
    matrices: int
    rounds: int
    window_s: float
    layouts: tuple[str, ...]


FULL = Effort((512, 2048), matrices=3, rounds=5, window_s=0.1, layouts=(WORKERS, ONE))
QUICK = Effort((512,), matrices=1, rounds=3, window_s=0.04, layouts=(WORKERS,))


class Peak(Rate):
    """The highest rate on all threads at one precision, and every rate that was measured.

    Attributes:
        tflop_per_s_one_thread: The highest rate on a single thread.
        rates: The rates of every library in every layout.
    """

    tflop_per_s_one_thread: float
    rates: list[Rate]


class MissingLibrary(TypedDict):
    """A library that was not measured at a precision, and the reason."""

    library: str
    precision: str
    reason: str


class Peaks(TypedDict):
    """The measured peaks; None for a precision that no library has here.

    Attributes:
        fp32: The peak for 32-bit floats.
        bf16: The peak for bfloat16, if the CPU multiplies it.
        int8: The peak for bytes; an operation on bytes counts as one too.
        bandwidth_gb_per_s: The best of the loops of `bandwidth`.
        bandwidth: Each loop over arrays that no cache can hold.
        weights_gb_per_s: By precision, the speed of reading as many bytes as the weights have,
            repeatedly: from a cache, if they fit into one.
        left_out: The libraries without a rate.
    """

    fp32: Peak | None
    bf16: Peak | None
    int8: Peak | None
    bandwidth_gb_per_s: float
    bandwidth: Bandwidth
    weights_gb_per_s: dict[str, float]
    left_out: list[MissingLibrary]


def measure_peaks(
    matrices: Sequence[tuple[int, int]],
    weights: int,
    *,
    threads: int,
    effort: Effort = FULL,
    pythons: Sequence[str] = (sys.executable,),
    progress: Callable[[str], object] = lambda _: None,
) -> Peaks:
    """Measure the peaks of matrix products and of memory.

    Args:
        matrices: Rows and columns of weights to multiply with, the most important first.
        weights: The number of weights.
        threads: Cores that may be used.
        effort: The effort of the measurement.
        pythons: Interpreters whose libraries are measured; a library that the first one lacks is
            taken from the next.
        progress: Called when a step begins.

    Raises:
        SubjectError: A process failed; the message names the interpreter and the reason.
    """
    layouts = effort.layouts if threads > 1 else (WORKERS,)
    rates: list[Rate] = []
    reasons: dict[tuple[str, str], str] = {}
    bandwidth: Bandwidth | None = None
    held: list[float] = []
    for number, python in enumerate(pythons):
        done = sorted({(rate["library"], rate["precision"]) for rate in rates})
        for layout in layouts:
            progress(f"peak of the machine: {layout}" + (f", {python}" if number else ""))
            of_memory = bandwidth is None
            question = Question(
                tokens=effort.tokens,
                matrices=list(matrices)[: effort.matrices],
                rounds=effort.rounds,
                window_s=effort.window_s,
                threads=threads,
                layout=layout,
                done=done,
                read_bytes=[weights * size for size in PRECISIONS.values()] if of_memory else [],
            )
            answer = _ask(python, question)
            rates += answer.rates
            reasons |= {(library, precision): why for library, precision, why in answer.left_out}
            if of_memory:
                bandwidth, held = answer.bandwidth, answer.read_gb_per_s
    if bandwidth is None:  # no interpreter was given
        msg = "the peak of this machine cannot be measured without an interpreter: name one"
        raise SubjectError(msg)
    found = {(rate["library"], rate["precision"]) for rate in rates}
    return {
        "fp32": _peak(rates, "fp32", threads),
        "bf16": _peak(rates, "bf16", threads),
        "int8": _peak(rates, "int8", threads),
        "bandwidth_gb_per_s": max(loop["gb_per_s"] for loop in bandwidth["loops"].values()),
        "bandwidth": bandwidth,
        "weights_gb_per_s": dict(zip(PRECISIONS, held, strict=True)),
        "left_out": [
            {"library": library, "precision": precision, "reason": why}
            for (library, precision), why in reasons.items()
            if (library, precision) not in found
        ],
    }


def _peak(rates: Sequence[Rate], precision: str, threads: int) -> Peak | None:
    of_precision = [rate for rate in rates if rate["precision"] == precision]
    if not of_precision:
        return None
    on_one = [rate for rate in of_precision if rate["layout"] == THREAD]
    on_all = [rate for rate in of_precision if rate["layout"] != THREAD] if threads > 1 else on_one
    return {
        **max(on_all, key=_tflop_per_s),
        "tflop_per_s_one_thread": max(map(_tflop_per_s, on_one)),
        "rates": of_precision,
    }


def _tflop_per_s(rate: Rate) -> float:
    return rate["tflop_per_s"]


def _ask(python: str, question: Question) -> Answer:
    threads = str(1 if question.layout == WORKERS else question.threads)
    environment = {
        **subject_environment(int(threads)),
        **_KEEP_MEMORY,
        **dict.fromkeys(_THREAD_VARIABLES, threads),
    }
    command = [python, "-c", program(_CODE), json.dumps(asdict(question))]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except OSError as error:
        msg = f"the peak of this machine cannot be measured with {python}: {error}"
        raise SubjectError(msg) from None
    if done.returncode:
        why = last_line(done.stderr)
        msg = f"the peak of this machine could not be measured with {python}: {why}"
        raise SubjectError(msg)
    return Answer(**json.loads(last_line(done.stdout)))

"""The process that measures for `lanner_perf.gpu.bench`.

It runs the requested jobs and reports each result at once, so that a crash loses no earlier
figures. It ends after the first failure, because a library may leave the GPU in a bad state.
"""

import gc
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from lanner.errors import BenchmarkError
from lanner_perf.gpu.files import Model, Vectors
from lanner_perf.gpu.models import inputs_of
from lanner_perf.gpu.subjects import Run, subjects_of

#: The warm-up of a shape, in which kernels are loaded, chosen and captured, and clocks rise.
WARM_UP_RUNS, WARM_UP_S = 5, 0.1
LEAST_RUNS = 10
#: In half precision random weights keep a cosine of 0.99999 and more; different texts reach 0.99.
LEAST_COSINE = 0.9995


@dataclass(frozen=True)
class Job:
    """The model and subject to measure.

    Attributes:
        model: One of `lanner_perf.gpu.models.MODELS`.
        subject: The name of one of `lanner_perf.gpu.subjects.SUBJECTS`.
        shapes: Batch and length of each run.
    """

    model: str
    subject: str
    shapes: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Request:
    """The request to a process.

    Attributes:
        device: ``"cuda"`` or ``"cpu"``.
        directory: The directory for the files of the models.
        batches: All numbers of texts of the benchmark.
        lengths: All lengths.
        seconds: The seconds for timing a shape.
        jobs: The jobs.
        surveys: True to measure the device itself first.
    """

    device: str
    directory: Path
    batches: Sequence[int]
    lengths: Sequence[int]
    seconds: float
    jobs: Sequence[Job]
    surveys: bool = True


#: Receives an event: a word and its content. `serve` lists them.
Tell = Callable[[str, Any], object]


def serve(descriptor: int) -> None:
    """Take a request from the connection, and send messages as things happen.

    A message is a word and its content: ``survey`` with the facts of the device; ``begin`` with the
    place of the job that begins; ``missing`` with the reason why the job cannot run here; ``shape``
    with the shape that runs next; ``figure`` with the shape's timing; ``failed`` with the reason,
    for the shape, or for the job if no shape has begun; ``done`` at the end. ``failed`` and
    ``done`` are the last messages.
    """
    # A program that a library starts must not keep the connection open.
    os.set_inheritable(descriptor, False)
    connection = Connection(descriptor)
    request: Request = connection.recv()

    def tell(word: str, content: Any) -> None:
        connection.send((word, content))

    try:
        if request.surveys:
            tell("survey", survey(request.device))
        work(request, tell)
        tell("done", None)
    except Exception as error:  # noqa: BLE001 (any error of a library is reported, and the process ends)
        tell("failed", one_line(error))


def survey(device: str) -> dict[str, Any]:
    """Measure the peaks and settings of the device.

    Raises:
        BenchmarkError: PyTorch has no such device.
    """
    import torch  # noqa: PLC0415

    from lanner_perf.gpu.peaks import gpu_state, measure_peaks, torch_facts  # noqa: PLC0415 (torch)

    if device == "cuda" and not torch.cuda.is_available():
        built = "was built without CUDA" if torch.version.cuda is None else "finds no GPU"
        msg = f"torch {torch.__version__} {built}: install one for this machine's driver"
        raise BenchmarkError(msg)
    return {
        "torch": torch_facts(device),
        "peak_flop_per_s": measure_peaks(device),
        "gpu_state_at_the_peak": gpu_state() if device == "cuda" else {},
    }


def work(request: Request, tell: Tell) -> None:
    """Measure the jobs."""
    known = subjects_of(request.device)
    model: Model | None = None
    for place, job in enumerate(request.jobs):
        tell("begin", place)
        subject = known[job.subject]
        if reason := subject.missing():
            tell("missing", reason)
            continue
        if model is None or job.model != model.name:
            directory = request.directory / job.model
            model = Model(
                job.model, request.device, str(directory), request.batches, request.lengths
            )
            references = _Computed(model) if subject.is_torch else model.expected()
        measure(job, subject.open(model), references, request.seconds, tell)
        _release()


class _Computed(dict[tuple[int, int], Vectors]):
    """The answers of the reference, computed on demand."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._model = model

    def __missing__(self, shape: tuple[int, int]) -> Vectors:
        self[shape] = self._model.reference(inputs_of(*shape))
        return self[shape]


def measure(
    job: Job,
    run: Run,
    expected: Mapping[tuple[int, int], Vectors],
    seconds: float,
    tell: Tell,
) -> None:
    """Compare and time each shape of a job.

    Args:
        job: The job.
        run: Runs a batch.
        expected: The vectors of each batch and length in float32.
        seconds: The seconds for timing a shape.
        tell: Called with shapes and figures.

    Raises:
        BenchmarkError: The answer to a shape is not the reference's.
    """
    for batch, length in job.shapes:
        tell("shape", (batch, length))
        inputs = inputs_of(batch, length)
        cosine = least_cosine(run(inputs), expected[batch, length])
        times = time_runs(lambda inputs=inputs: run(inputs), seconds)  # type: ignore[misc]
        tell("figure", asdict(Timing.of(times, batch, cosine)))


@dataclass(frozen=True)
class Timing:
    """The timing of a shape.

    Attributes:
        p50_ms: The median of a run.
        p99_ms: The 99th percentile of a run; with fewer than a hundred runs, about the slowest.
        texts_per_s: The speed from the mean, one batch after the other.
        runs: The number of timed runs.
        smallest_cosine: The smallest cosine to the vectors of PyTorch in float32.
    """

    p50_ms: float
    p99_ms: float
    texts_per_s: float
    runs: int
    smallest_cosine: float

    @classmethod
    def of(cls, times_s: Sequence[float], batch: int, cosine: float) -> "Timing":
        """Return the timing from the seconds of each run."""
        p50, p99 = 1e3 * np.percentile(times_s, (50, 99))
        return cls(
            p50_ms=round(float(p50), 4),
            p99_ms=round(float(p99), 4),
            texts_per_s=round(batch * len(times_s) / sum(times_s), 1),
            runs=len(times_s),
            smallest_cosine=round(cosine, 6),
        )


def least_cosine(answer: Vectors, expected: Vectors) -> float:
    """Return the smallest cosine between a text's vector and the reference's.

    Raises:
        BenchmarkError: The vectors differ by more than rounding.
    """
    lengths = np.linalg.norm(answer, axis=1) * np.linalg.norm(expected, axis=1)
    cosine = float(((answer * expected).sum(1) / lengths).min())
    if not cosine >= LEAST_COSINE:  # in this form NaN fails too
        msg = f"its vectors are not those of PyTorch in float32 (smallest cosine {cosine:.4f})"
        raise BenchmarkError(msg)
    return cosine


def time_runs(run: Callable[[], object], seconds: float) -> list[float]:
    """Return the seconds of each of many runs, one after the other."""
    warm_up = time.perf_counter() + min(WARM_UP_S, seconds)
    count = 0
    while count < WARM_UP_RUNS or time.perf_counter() < warm_up:
        run()
        count += 1
    times: list[float] = []
    gc.collect()
    gc.disable()
    try:
        end = time.perf_counter() + seconds
        while len(times) < LEAST_RUNS or time.perf_counter() < end:
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
    finally:
        gc.enable()
    return times


def one_line(error: BaseException) -> str:
    """Return the message of an error on one line of limited length, or the name of its type."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _release() -> None:
    """Give the GPU memory that PyTorch caches back."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()

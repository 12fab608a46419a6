"""The process that measures for `lanner_perf.gpu.bench`.

It runs the requested jobs and reports each result at once. It ends after the first failure, because
a library may leave the GPU in a bad state. So a crash loses no figures of others.
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

#: The warm-up of a shape, during which kernels are loaded, chosen and captured, and clocks rise.
WARM_UP_RUNS, WARM_UP_S = 5, 0.1
LEAST_RUNS = 10
#: Random weights in half precision keep 0.99999 and more; other texts have up to 0.99.
LEAST_COSINE = 0.9995


@dataclass(frozen=True)
class Job:
    """The model and subject to measure.

    Attributes:
        model: Of `gpu_models.MODELS`.
        subject: Of `gpu_subjects.SUBJECTS`, by name.
        shapes: Batch and length of each run.
    """

    model: str
    subject: str
    shapes: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Request:
    """The request to a process.

    Attributes:
        device: ``"cuda"``, or ``"cpu"``.
        directory: The directory for the files of the models.
        batches: All numbers of texts of the benchmark.
        lengths: All lengths.
        seconds: How long a shape is timed.
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


#: Told what happens: a word, and what belongs to it. `serve` has them all.
Tell = Callable[[str, Any], object]


def serve(descriptor: int) -> None:
    """Take a request from the connection, and send these messages as they come.

    ``survey`` of the device; ``begin`` a job, by its place; ``missing`` with the reason, of a job
    that cannot be run here; ``shape`` that is run next; ``figure`` of it; ``failed`` with the
    reason: of the shape, or of the job where there was none; ``done`` at the end of all. After
    these two no more comes.
    """
    # What a library starts must not keep it open.
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
    except Exception as error:  # noqa: BLE001 (whatever a library raises is told, and this ends)
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
    """The answers of the reference, computed as they are asked for."""

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
        seconds: How long a shape is timed.
        tell: Told of shapes and figures.

    Raises:
        BenchmarkError: A shape is not answered as by the reference.
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
        p99_ms: Of a run; where fewer than a hundred were timed, about the slowest.
        texts_per_s: By the mean, one batch after the other.
        runs: How many were timed.
        smallest_cosine: With the vectors of PyTorch in float32.
    """

    p50_ms: float
    p99_ms: float
    texts_per_s: float
    runs: int
    smallest_cosine: float

    @classmethod
    def of(cls, times_s: Sequence[float], batch: int, cosine: float) -> "Timing":
        """Of the seconds that runs took."""
        p50, p99 = 1e3 * np.percentile(times_s, (50, 99))
        return cls(
            p50_ms=round(float(p50), 4),
            p99_ms=round(float(p99), 4),
            texts_per_s=round(batch * len(times_s) / sum(times_s), 1),
            runs=len(times_s),
            smallest_cosine=round(cosine, 6),
        )


def least_cosine(answer: Vectors, expected: Vectors) -> float:
    """Of any text's vector with that of the reference.

    Raises:
        BenchmarkError: They are not the same vectors.
    """
    lengths = np.linalg.norm(answer, axis=1) * np.linalg.norm(expected, axis=1)
    cosine = float(((answer * expected).sum(1) / lengths).min())
    if not cosine >= LEAST_COSINE:  # so written, NaN fails
        msg = f"its vectors are not those of PyTorch in float32 (smallest cosine {cosine:.4f})"
        raise BenchmarkError(msg)
    return cosine


def time_runs(run: Callable[[], object], seconds: float) -> list[float]:
    """The seconds of each of many runs, one after the other."""
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
    """Give back what PyTorch keeps of the GPU's memory."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()

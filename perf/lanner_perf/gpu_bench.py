"""Engines on an NVIDIA GPU beside each other: PyTorch, ONNX Runtime on CUDA, TensorRT.

    python -m lanner_perf.gpu_bench --output build/gpu.json

Models of the real shapes with random weights, batches of 1 to 128 texts of 16 to 512 tokens, each
from token ids in host memory to vectors there. What is not installed, or does not answer as PyTorch
does in float32, is left out by name. Writes the figures as JSON, and a plot a model beside it.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanner.commands.common import steps
from lanner.errors import BenchmarkError, LannerError
from lanner.gpu import missing_gpu, require_gpu
from lanner.machine import package_versions, this_machine
from lanner.staging import require_output_file, staged_file
from lanner_perf.gpu_models import MODELS, Shape, write_checkpoint
from lanner_perf.gpu_plot import draw, shown
from lanner_perf.gpu_subjects import (
    Run,
    Subject,
    inputs_of,
    make_artifact,
    subjects,
    torch_run,
)

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
LENGTHS = (16, 32, 64, 128, 256, 512)
#: Runs of a shape before it is timed: kernels are loaded, chosen and captured meanwhile.
_WARM_UPS = 5
#: Half precision stays above it on random weights; what is broken does not.
_LEAST_COSINE = 0.99
_PEAK_SIZES = (2_048, 4_096, 8_192)
_PACKAGES = (
    "torch",
    "transformers",
    "onnxruntime-gpu",
    "onnxruntime",
    "tensorrt-cu12",
    "tensorrt-cu13",
    "cuda-bindings",
    "numpy",
)
_TIMED = "token ids and mask in host memory to vectors there, copies included"


@dataclass(frozen=True)
class Figure:
    """What was measured of one subject and shape.

    Attributes:
        subject: Its name.
        precision: Of its matrix products.
        batch: Texts.
        length: Tokens of each.
        p50_ms: Of a run.
        p99_ms: Of a run.
        texts_per_s: By the mean.
        peak_fraction: Of the matrix products alone, against the measured peak of the precision;
            None where that was not measured.
        runs: How many were timed.
    """

    subject: str
    precision: str
    batch: int
    length: int
    p50_ms: float
    p99_ms: float
    texts_per_s: float
    peak_fraction: float | None
    runs: int


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lanner_perf.gpu_bench", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/gpu.json"), metavar="FILE.json")
    parser.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda", help="cpu: to see that it works"
    )
    parser.add_argument("--models", default="MiniLM-L6,BERT-base,BERT-large")
    parser.add_argument("--batches", default=",".join(map(str, BATCHES)))
    parser.add_argument("--lengths", default=",".join(map(str, LENGTHS)))
    parser.add_argument("--seconds", type=float, default=1.0, help="of each subject and shape")
    args = parser.parse_args(argv)
    try:
        if args.device == "cuda" and (reason := missing_gpu()):
            msg = f"the benchmark needs an NVIDIA GPU, and {reason}: run it where there is one"
            raise BenchmarkError(msg)
        require_output_file(args.output)
        with steps() as tell:
            report = measure(
                _models(args.models),
                batches=_numbers(args.batches),
                lengths=_numbers(args.lengths),
                seconds=args.seconds,
                device=args.device,
                tell=tell,
            )
    except LannerError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    for file in write(report, args.output):
        sys.stderr.write(f"{file}\n")
    print(shown(report))
    return 0


def measure(
    models: Mapping[str, Shape],
    *,
    batches: Sequence[int],
    lengths: Sequence[int],
    seconds: float,
    device: str,
    tell: Callable[[str], object] = lambda _: None,
) -> dict[str, Any]:
    """The whole report.

    Args:
        models: By name, their shapes.
        batches: Numbers of texts.
        lengths: Tokens of each.
        seconds: How long each subject is timed at each shape.
        device: ``"cuda"``, or ``"cpu"``.
        tell: Told what begins.
    """
    tell("the peak of matrix products")
    peaks = measure_peaks(device)
    found: dict[str, Any] = {}
    left_out: list[dict[str, str]] = []
    for name, shape in models.items():
        figures: list[Figure] = []
        with tempfile.TemporaryDirectory() as scratch:
            tell(f"{name}: the artifact")
            checkpoint, artifact = Path(scratch) / "checkpoint", Path(scratch) / "model.lanner"
            write_checkpoint(shape, checkpoint)
            unbuilt = make_artifact(checkpoint, artifact, device, max(batches))
            left_out += [{"model": name, **one} for one in unbuilt]
            expected = torch_run(checkpoint, device="cpu", half=False)(inputs_of(2, 16))
            for subject in subjects(checkpoint, artifact, device):
                tell(f"{name}: {subject.name}")
                try:
                    run = subject.open()
                    require_alike(run(inputs_of(2, 16)), expected)
                    figures += [
                        time_shape(subject, run, shape, batch, length, seconds, peaks)
                        for length in lengths
                        for batch in batches
                    ]
                # A library that is missing or out of memory: the others go on.
                except (LannerError, ImportError, RuntimeError) as error:
                    reason = " ".join(str(error).split())[:300]
                    left_out.append({"model": name, "subject": subject.name, "reason": reason})
        found[name] = {"shape": shape._asdict(), "figures": [asdict(one) for one in figures]}
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python -m lanner_perf.gpu_bench", *sys.argv[1:]]),
        "timed": _TIMED,
        "device": device,
        "gpu": require_gpu("the benchmark").to_json() if device == "cuda" else None,
        "machine": this_machine().to_json(),
        "versions": package_versions(*_PACKAGES),
        "warm_up_runs": _WARM_UPS,
        "peak_flop_per_s": peaks,
        "models": found,
        "left_out": left_out,
    }


def require_alike(answer: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """Refuses what does not answer as PyTorch does in float32.

    Raises:
        BenchmarkError: The vectors point elsewhere.
    """
    lengths = np.linalg.norm(answer, axis=1) * np.linalg.norm(expected, axis=1)
    cosine = float(((answer * expected).sum(1) / lengths).min())
    if not cosine >= _LEAST_COSINE:
        msg = f"its vectors are not those of PyTorch in float32 (smallest cosine {cosine:.4f})"
        raise BenchmarkError(msg)


def time_shape(
    subject: Subject,
    run: Run,
    shape: Shape,
    batch: int,
    length: int,
    seconds: float,
    peaks: Mapping[str, float],
) -> Figure:
    """Runs a shape for so many seconds, at least ten times."""
    inputs = inputs_of(batch, length)
    for _ in range(_WARM_UPS):
        run(inputs)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 10 or time.perf_counter() < end:
        start = time.perf_counter()
        run(inputs)
        times.append(time.perf_counter() - start)
    p50, p99 = np.percentile(times, (50, 99))
    peak = peaks.get(subject.precision)
    return Figure(
        subject=subject.name,
        precision=subject.precision,
        batch=batch,
        length=length,
        p50_ms=round(1e3 * float(p50), 4),
        p99_ms=round(1e3 * float(p99), 4),
        texts_per_s=round(batch * len(times) / sum(times), 1),
        peak_fraction=None if peak is None else round(shape.flop(batch, length) / p50 / peak, 4),
        runs=len(times),
    )


def measure_peaks(device: str) -> dict[str, float]:
    """The most floating-point operations a second of one large product, by precision."""
    import torch  # noqa: PLC0415

    types = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    sizes = _PEAK_SIZES if device == "cuda" else (512,)
    return {
        precision: max(_product_rate(size, kind, device) for size in sizes)
        for precision, kind in types.items()
        if device == "cuda" or precision == "fp32"
    }


def _product_rate(size: int, kind: Any, device: str) -> float:
    import torch  # noqa: PLC0415

    left, right = (torch.randn(size, size, device=device).to(kind) for _ in range(2))

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    best = 0.0
    for _ in range(10):
        wait()
        start = time.perf_counter()
        for _ in range(10):
            left @ right
        wait()
        best = max(best, 10 * 2 * size**3 / (time.perf_counter() - start))
    return best


def write(report: Mapping[str, Any], output: Path) -> list[Path]:
    """The figures, and a plot a model beside them."""
    with staged_file(output) as file:
        file.write(json.dumps(report, indent=1, allow_nan=False).encode() + b"\n")
    files = [output]
    for name, model in report["models"].items():
        if model["figures"]:
            files.append(output.with_name(f"{output.stem}-{name}.png"))
            with staged_file(files[-1]) as file:
                file.write(draw(name, model["figures"], report))
    return files


def _models(names: str) -> dict[str, Shape]:
    if unknown := [name for name in names.split(",") if name not in MODELS]:
        msg = f"there is no model {unknown[0]!r}: use {', '.join(MODELS)}"
        raise BenchmarkError(msg)
    return {name: MODELS[name] for name in names.split(",")}


def _numbers(text: str) -> list[int]:
    numbers = [int(part) if part.isdecimal() else 0 for part in text.split(",")]
    if min(numbers) < 1:
        msg = f"{text!r} must be whole numbers from 1 on, with commas between"
        raise BenchmarkError(msg)
    return numbers


if __name__ == "__main__":
    sys.exit(main())

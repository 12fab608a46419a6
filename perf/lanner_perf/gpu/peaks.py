"""The peaks and settings of a GPU, for comparison with the figures of `lanner_perf.gpu.bench`."""

import csv
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Any

import torch

#: Rows and columns of the tried products; on a CPU one size that takes no time.
_SIZES = {"cuda": (4_096, 8_192, 16_384), "cpu": (512,)}
_SECONDS = 0.4
_LEAST_ROUNDS = 3
#: Operations of a round, enough to make its start and end negligible.
_ROUND_FLOP = {"cuda": 5e12, "cpu": 1e9}
#: By precision: the type of the operands, and torch's setting for float32 products.
_PRECISIONS = {
    "fp32": (torch.float32, "highest"),
    "tf32": (torch.float32, "high"),
    "fp16": (torch.float16, "highest"),
    "bf16": (torch.bfloat16, "highest"),
}
#: The fields to query from nvidia-smi (nvidia-smi --help-query-gpu), without units.
_STATE = (
    "pstate",
    "clocks.sm",
    "clocks.mem",
    "clocks.max.sm",
    "power.draw",
    "power.limit",
    "temperature.gpu",
    "persistence_mode",
    "ecc.mode.current",
    "mig.mode.current",
)
_STATE_S = 30
#: The GPU is kept busy for about this long while its clocks are read.
_BUSY_S = 2.0


def measure_peaks(device: str) -> dict[str, float]:
    """Return the most floating-point operations a second of one large product, by precision.

    Each figure is the best over a few square sizes, both layouts of a layer's weights, and many
    rounds. No model can be faster, so no fraction of it is too high.
    """
    peaks = {}
    for precision in _PRECISIONS if device == "cuda" else ("fp32",):
        torch.set_float32_matmul_precision(_PRECISIONS[precision][1])
        peaks[precision] = max(
            _rate(_product(size, precision, device, is_turned=turned), size, device)
            for size in _SIZES[device]
            for turned in (False, True)
        )
    torch.set_float32_matmul_precision("highest")
    return peaks


def gpu_state() -> dict[str, str]:
    """Return the settings and clocks of the GPU while it multiplies; empty if unknown.

    Clocks in MHz, power in W, temperature in degrees Celsius.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    size = max(_SIZES["cuda"])
    multiply = _product(size, "fp16", "cuda", is_turned=True)
    runs = int(_BUSY_S * _rate(multiply, size, "cuda") / (2 * size**3))
    for _ in range(runs):
        multiply()
    command = [program, f"--query-gpu={','.join(_STATE)}", "--format=csv,noheader,nounits"]
    try:
        # CUDA_VISIBLE_DEVICES selects the GPU, and nvidia-smi ignores it.
        uuid = getattr(torch.cuda.get_device_properties(0), "uuid", "")
        return _asked([*command, f"--id=GPU-{uuid}"]) or _asked(command)
    finally:
        torch.cuda.synchronize()


def _asked(command: list[str]) -> dict[str, str]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_STATE_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    return parse_state(done.stdout)


def parse_state(answer: str) -> dict[str, str]:
    """Return the values of one GPU by their names; empty if the answer is something else."""
    rows = list(csv.reader(answer.splitlines(), skipinitialspace=True))
    if len(rows) != 1 or len(rows[0]) != len(_STATE):
        return {}
    return dict(zip(_STATE, rows[0], strict=True))


def torch_facts(device: str) -> dict[str, Any]:
    """Return PyTorch's description of itself and of its build."""
    if device == "cpu":
        return {"threads": torch.get_num_threads()}
    major, minor = torch.cuda.get_device_capability(0)
    return {
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "device": torch.cuda.get_device_name(0),
        "compute_capability": f"{major}.{minor}",
    }


def _product(size: int, precision: str, device: str, *, is_turned: bool) -> Callable[[], object]:
    kind = _PRECISIONS[precision][0]
    # Random numbers, as in a model: with zeros a GPU draws less power, and is faster.
    left, right = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
    weights, answer = right.t() if is_turned else right, torch.empty_like(left)
    return lambda: torch.mm(left, weights, out=answer)


def _rate(multiply: Callable[[], object], size: int, device: str) -> float:
    """Return the best of many rounds, in operations a second."""
    flop = 2.0 * size**3
    count = max(1, round(_ROUND_FLOP[device] / flop))
    timed = _seconds_on_gpu if device == "cuda" else _seconds
    for _ in range(3):  # kernels are loaded and chosen, and clocks rise
        multiply()
    best, rounds, end = 0.0, 0, time.perf_counter() + _SECONDS
    while rounds < _LEAST_ROUNDS or time.perf_counter() < end:
        best = max(best, count * flop / timed(multiply, count))
        rounds += 1
    return best


def _seconds_on_gpu(multiply: Callable[[], object], count: int) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    start.record()
    for _ in range(count):
        multiply()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1e3


def _seconds(multiply: Callable[[], object], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        multiply()
    return time.perf_counter() - start

"""The report of `lanner_perf.gpu.bench`: its layout on disk, and merging of parts.

A part holds the measurements of one command, and its figures refer to it by its number. So a
benchmark can be continued on another day, or run in pieces.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lanner import __version__
from lanner.errors import InputError
from lanner.files.staging import staged_file
from lanner.machine.gpu import this_gpu
from lanner.machine.machine import TENSORRT_PACKAGES, package_versions, this_machine
from lanner_perf.gpu.models import MODELS
from lanner_perf.gpu.worker import LEAST_COSINE, LEAST_RUNS, WARM_UP_RUNS, WARM_UP_S

SCHEMA = 1
Report = dict[str, Any]
#: The key of a figure or of a left-out shape: model, subject, batch, length.
Key = tuple[str, str, int, int]
_PACKAGES = (
    "torch",
    "triton",
    "transformers",
    "onnx",
    "onnxscript",
    "onnxruntime-gpu",
    "onnxruntime",
    "tensorrt",
    *TENSORRT_PACKAGES,
    "cuda-bindings",
    "numpy",
)
_TIMED = (
    "from token ids and mask in host memory to float32 vectors in host memory, copies included; "
    "one batch after the other, from one thread"
)
_INPUTS = "random tokens, the same for all; in a batch of several texts one is one token shorter"
_PEAK = (
    "the best of square products of random numbers, both layouts of the weights, many rounds; a "
    "figure's peak_fraction is the work of its matrix products divided by its p50 and by the peak "
    "of its precision"
)


def new_report(device: str, seconds: float) -> Report:
    """Return a report of one part without figures."""
    gpu = this_gpu() if device == "cuda" else None
    part = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python -m lanner_perf.gpu.bench", *sys.argv[1:]]),
        "lanner": __version__,
        "machine": this_machine().to_json(),
        "versions": package_versions(*_PACKAGES),
        "seconds_a_shape": seconds,
        "whole_s": 0.0,
    }
    return {
        "schema": SCHEMA,
        "device": device,
        "gpu": None if gpu is None else gpu.to_json(),
        "timed": _TIMED,
        "inputs": _INPUTS,
        "peak": _PEAK,
        "least": {
            "warm_up_runs": WARM_UP_RUNS,
            "warm_up_s": WARM_UP_S,
            "runs": LEAST_RUNS,
            "cosine": LEAST_COSINE,
        },
        "models": {name: shape._asdict() for name, shape in MODELS.items()},
        "parts": [part],
        "figures": [],
        "left_out": [],
    }


def key(figure: Mapping[str, Any]) -> Key:
    """Return the key of a figure."""
    return figure["model"], figure["subject"], figure["batch"], figure["length"]


def leave_out(
    report: Report, model: str, subject: str, shapes: Iterable[tuple[int, int]], reason: str
) -> None:
    """Record shapes [batch, length] without figures, and the reason."""
    row = {"model": model, "subject": subject, "reason": reason}
    if found := [list(shape) for shape in shapes]:
        report["left_out"].append({**row, "shapes": found})


def merged(reports: Mapping[str, Report]) -> Report:
    """Merge reports; the later of two figures for the same key counts.

    Args:
        reports: The reports, by names for messages.

    Raises:
        InputError: The reports are from different GPUs or drivers.
    """
    first_name, first = next(iter(reports.items()))
    whole: Report = {**first, "parts": [], "left_out": []}
    figures: dict[Key, Any] = {}
    reasons: dict[Key, str] = {}
    for name, report in reports.items():
        if (report["device"], report["gpu"]) != (first["device"], first["gpu"]):
            msg = (
                f"{name} was measured on {_device(report)}, and {first_name} on "
                f"{_device(first)}: merge only results from the same kind of machine"
            )
            raise InputError(msg)
        for row in report["figures"]:
            figures[key(row)] = {**row, "part": row["part"] + len(whole["parts"])}
        for row in report["left_out"]:
            for batch, length in row["shapes"]:
                reasons[row["model"], row["subject"], batch, length] = row["reason"]
        whole["parts"] += report["parts"]
    whole["figures"] = list(figures.values())
    shapes: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
    for (model, subject, *shape), reason in reasons.items():
        if (model, subject, *shape) not in figures:
            shapes.setdefault((model, subject, reason), []).append((shape[0], shape[1]))
    for (model, subject, reason), of_those in shapes.items():
        leave_out(whole, model, subject, of_those, reason)
    return whole


def read_report(path: Path) -> Report:
    """Return a report that `write_report` wrote.

    Raises:
        InputError: The file is missing or is not such a report.
    """
    try:
        report = json.loads(path.read_bytes())
        is_report = report["schema"] == SCHEMA and report["parts"]
    except OSError as error:
        msg = (
            f"{path} cannot be read ({error.strerror}): give a .json that lanner_perf.gpu.bench "
            "wrote"
        )
        raise InputError(msg) from None
    except (ValueError, TypeError, KeyError):
        is_report = False
    if not is_report:
        msg = (
            f"{path} is not a result of this version of lanner_perf.gpu.bench: give a .json that "
            "it wrote"
        )
        raise InputError(msg)
    found: Report = report
    return found


def write_report(report: Report, output: Path) -> None:
    """Write the report, whole or not at all."""
    with staged_file(output) as file:
        file.write(json.dumps(report, indent=1, allow_nan=False).encode() + b"\n")


def _device(report: Report) -> str:
    gpu = report["gpu"]
    return "a CPU" if gpu is None else f"{gpu['name']} (driver {gpu['driver'] or 'unknown'})"

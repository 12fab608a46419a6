"""The arithmetic of the floor, worked out by hand."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lanner.artifact.artifact import Artifact
from lanner.errors import UnsupportedError

for package in ("torch", "onnxruntime", "onnx"):
    pytest.importorskip(package, reason="needs lanner-bench")

from lanner_perf.floor.floor import (  # noqa: E402
    Floor,
    floor_of,
    fractions,
    latency_floor,
    measure_floor,
    noisy,
    precision_of,
    summary,
    throughput_floor,
)
from lanner_perf.floor.operations import Operations  # noqa: E402
from lanner_perf.floor.peak_process import WORKERS  # noqa: E402
from lanner_perf.floor.peaks import Effort, Peak, Peaks  # noqa: E402
from lanner_perf.subjects.workloads import build_workloads  # noqa: E402

ROOT = Path(__file__).parents[3]


def a_peak(tflop_per_s: float, spread: float = 0.02) -> Peak:
    return {
        "precision": "",
        "library": "torch",
        "version": "2",
        "layout": WORKERS,
        "shape": [512, 384, 1536],
        "tflop_per_s": tflop_per_s,
        "rounds": [tflop_per_s],
        "spread": spread,
        "tflop_per_s_one_thread": tflop_per_s / 2,
        "rates": [],
    }


def some_peaks(spread: float = 0.02) -> Peaks:
    """Return the peaks of a machine with 0.5 and 2 tera-operations a second, without bfloat16."""
    return {
        "fp32": a_peak(0.5, spread),
        "bf16": None,
        "int8": a_peak(2.0),
        "bandwidth_gb_per_s": 20.0,
        "bandwidth": {
            "loops": {"read": {"gb_per_s": 20.0, "rounds": [20.0], "spread": 0.01}},
            "array_bytes": 128_000_000,
            "cache_bytes": 32_000_000,
            "library": "torch",
            "version": "2",
        },
        "weights_gb_per_s": {"fp32": 20.0, "bf16": 25.0, "int8": 50.0},
        "left_out": [],
    }


def a_floor(spread: float = 0.02) -> Floor:
    """Return operations: 1,000,000 + 20,000,000 n + 10,000 n² for a text of n tokens."""
    operations = Operations(1_000_000, 20_000_000, 10_000, 10_000_000, ())
    lengths = {"short": [10, 20, 30], "mixed": [100]}
    return floor_of(operations, lengths, some_peaks(spread), threads=2)


def test_the_floor_by_hand() -> None:
    floor = a_floor()
    # short: 3 x 1e6 + 60 x 20e6 + 1,400 x 1e4; mixed: 1e6 + 100 x 20e6 + 10,000 x 1e4
    assert floor["flop"] == {"short": 1_217e6, "mixed": 2_101e6}
    short, mixed = floor["floors"]["short"], floor["floors"]["mixed"]
    assert short["fp32"] == pytest.approx(3 / (1_217e6 / 0.5e12))
    assert short["int8"] == pytest.approx(3 / (1_217e6 / 2e12))
    assert short["bf16"] is None
    assert mixed["int8"] == pytest.approx(2e12 / 2_101e6)


def test_one_text_takes_its_products_or_its_weights() -> None:
    floor = a_floor()
    assert floor["latency_tokens"] == 20
    # 405e6 operations take 0.81 ms and 0.2025 ms; 40 MB at 20 GB/s take 2 ms, 10 MB at 50 0.2 ms.
    latency = floor["latency_floor_ms"]
    assert latency["fp32"] == pytest.approx(2.0)
    assert latency["int8"] == pytest.approx(0.2025)
    assert latency["bf16"] is None
    assert latency_floor(floor, 20) == latency
    assert latency_floor(floor, 10)["int8"] == pytest.approx(0.2)


def test_texts_of_one_length() -> None:
    assert throughput_floor(a_floor(), 100) == a_floor()["floors"]["mixed"]


def test_fractions_by_hand() -> None:
    row = {
        "precision": "fp32",
        "throughput": {"mixed": {"texts_per_s": 119.0}},
        "throughput_by_length": {"100": {"texts_per_s": 238.0}},
        "latency_ms": {"p50": 4.0},
        "latency_by_length": {"10": {"p50": 1.0}},
    }
    found = fractions(row, a_floor())
    mixed = found["throughput"]["mixed"]
    assert mixed["of_best"] == pytest.approx(119 * 2_101e6 / 2e12)  # 951.9 at the most
    assert mixed["of_own"] == pytest.approx(119 * 2_101e6 / 0.5e12)
    assert found["throughput_by_length"]["100"]["of_own"] == pytest.approx(2 * mixed["of_own"])
    assert found["latency"] == pytest.approx({"of_best": 0.2025 / 4, "of_own": 2 / 4})
    assert found["latency_by_length"]["10"]["of_best"] == pytest.approx(0.2)


def test_a_precision_without_a_floor_has_only_the_best() -> None:
    row = {"precision": "fp16", "latency_ms": {"p50": 0.405}}
    assert fractions(row, a_floor()) == {"latency": {"of_best": pytest.approx(0.5), "of_own": None}}
    assert fractions({**row, "precision": "bf16"}, a_floor())["latency"]["of_own"] is None


@pytest.mark.parametrize(
    ("row", "precision"),
    [
        ({"precision": "float32"}, "fp32"),
        ({"precision": "fp32", "compute": "f32"}, "fp32"),
        ({"precision": "fp32", "compute": "bf16"}, "bf16"),
        ({"precision": "bfloat16"}, "bf16"),
        ({"precision": "int8 dynamic"}, "int8"),
        ({"precision": "int8", "compute": "bf16"}, "int8"),
        ({"precision": "fp16"}, None),
        ({"precision": "fp32", "compute": "f16"}, None),
    ],
    ids=str,
)
def test_the_precision_of_a_subject(row: dict[str, Any], precision: str | None) -> None:
    assert precision_of(row) == precision


def test_a_busy_machine_is_told() -> None:
    assert noisy(a_floor()) == ""
    told = noisy(a_floor(spread=0.3))
    assert told == (
        "The rounds of the peaks are up to 30% of their median apart: the machine was busy, and "
        "its true peak may be higher."
    )
    assert summary(a_floor(spread=0.3)).endswith(told)


def test_the_table_names_what_reached_the_peak() -> None:
    lines = [line.split() for line in summary(a_floor()).splitlines()]
    assert lines[0] == ["fp32", "int8"]
    assert ["peak,", "TFLOP/s", "0.500", "2.000"] in lines
    assert ["library", "torch", "2", "torch", "2"] in lines
    assert ["mixed,", "texts/s", "at", "most", "238", "952"] in lines
    assert lines[-1][:3] == ["operations:", "20,000,000", "a"]


def test_word_vectors_have_no_floor(word_artifact: Path) -> None:
    with pytest.raises(
        UnsupportedError,
        match=r"words.lanner looks its vectors up in a table: only a model that multiplies "
        r"matrices has a floor$",
    ):
        measure_floor(Artifact.open(word_artifact), build_workloads(None), threads=1)


@pytest.mark.slow
def test_a_real_floor(tiny_artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Effort((8,), matrices=1, rounds=2, window_s=0.001, layouts=(WORKERS,))
    monkeypatch.setattr("lanner_perf.floor.floor.QUICK", small)
    workloads = build_workloads(None).shortened(short=8, mixed=4)
    said: list[str] = []
    floor = measure_floor(tiny_artifact, workloads, threads=1, is_quick=True, progress=said.append)
    assert said[0] == "counting the operations"
    assert floor["flop_per_token"] == 2 * 2 * (4 * 32 * 32 + 2 * 32 * 64)
    assert set(floor["floors"]) == {"short", "mixed"}
    assert floor == json.loads(json.dumps(floor, allow_nan=False))
    best = floor["floors"]["short"]["fp32"]
    peak = floor["peaks"]["fp32"]
    assert best is not None
    assert peak is not None
    assert best == pytest.approx(8 * 1e12 * peak["tflop_per_s"] / floor["flop"]["short"])


def test_the_command_without_an_artifact(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lanner_perf.floor.floor", str(tmp_path / "gone")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"lanner_perf.floor.floor: error: {tmp_path}/gone is not a directory: "
        "pass one that 'lanner export' wrote\n"
    )

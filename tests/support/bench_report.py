"""A hand-written report of `lanner bench`, whose numbers are easy to divide."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lanner_perf.floor.floor import floor_of, fractions
from lanner_perf.floor.operations import Operations
from lanner_perf.record.schema import SUITES
from lanner_perf.report.checks import checks_of

if TYPE_CHECKING:
    from lanner_perf.floor.peaks import Peaks

TORCH, PEER, LANNER = "sentence-transformers torch fp32", "a peer", "lanner int8"


def subject(name: str, kind: str, engine: str, *, speed: float, spearman: float) -> dict[str, Any]:
    """Return three rounds of every suite; the reference has the `speed` 1 and a p50 of 8 ms."""
    rates = [100.0 * speed, 90.0 * speed, 110.0 * speed]
    p50_ms = 8 / speed
    latency = {
        "p50": p50_ms,
        "p90": 2 * p50_ms,
        "p95": 3 * p50_ms,
        "p99": 4 * p50_ms,
        "calls": 10,
        "rounds": [[p50_ms, 2 * p50_ms, 3 * p50_ms, 4 * p50_ms]] * 3,
    }
    throughput = {
        "texts_per_s": rates[0],
        "tokens_per_s": 16 * rates[0],
        "batch_size": 32,
        "texts": 60,
        "rounds": rates,
    }
    point = {"texts_per_s": 70 * speed, "p50_ms": 20.0, "p90_ms": 30.0, "p99_ms": 40.0, "failed": 0}
    arrivals = {"answered_per_s": 50.0, "p50_ms": 3.0, "p99_ms": 9.0, "refused": 0, "failed": 0}
    arrivals |= {"backlog": 2, "is_cut_short": False}
    return {
        "name": name,
        "kind": kind,
        "environment": "harness",
        "engine": engine,
        "precision": "int8" if "int8" in name else "fp32",
        "model_bytes": 90_000_000,
        "latency_ms": latency,
        "latency_by_length": {"8": latency, "128": latency},
        "dispatch_ms": {"p50": 0.05, "rounds": [0.05, 0.04, 0.06]},
        "throughput": {"short": throughput, "mixed": throughput},
        "throughput_by_length": {"8": throughput, "128": throughput},
        "memory": {"imported_mb": None, "loaded_mb": 100.0, "after_mb": 120.0, "peak_mb": 150.0},
        "concurrency": {
            load: {**point, "failure": "", "rounds": [point, point]} for load in ("1", "16")
        },
        "open_loop": {
            "50": {**arrivals, "offered_per_s": 50.0, "failure": "", "rounds": [arrivals]},
            "200": {
                **arrivals,
                "offered_per_s": 200.0,
                "refused": 7,
                "is_cut_short": True,
                "failure": "full",
                "rounds": [arrivals],
            },
        },
        "cold_start": {
            "import_s": 2.0,
            "load_s": 0.5,
            "first_answer_ms": 100.0,
            "rounds": [[2.0, 0.5, 100.0]],
        },
        "quality": {"cosine_min": 0.97, "cosine_mean": 0.99, "spearman": spearman},
    }


def bench_report() -> dict[str, Any]:
    """Return a report of the reference, a peer twice as fast, and Lanner ten times as fast."""
    report: dict[str, Any] = {
        "schema": 2,
        "created": "2026-11-22T08:25:19Z",
        "command": "lanner bench minilm.lanner --checkpoint minilm",
        "machine": {
            "cpu": "A CPU",
            "cores": 2,
            "cpu_flags": ["avx2"],
            "memory_bytes": 25_000_000_000,
            "system": "Linux 6",
            "python": "3.11.7",
        },
        "versions": {"lanner": "0.1.0", "torch": "2.13.0"},
        "environments": {"harness": {"lanner": "0.1.0", "torch": "2.13.0"}},
        "threads": 2,
        "rounds": 3,
        "artifact": "minilm",
        "timed": "encode",
        "workloads": {
            "short": {"texts": 3000, "tokens": 48_709, "source": "pairs.csv"},
            "mixed": {"texts": 500, "tokens": 36_000, "source": "pairs.csv"},
        },
        "suites": list(SUITES),
        "subjects": [
            subject(TORCH, "sentence-transformers", "torch", speed=1, spearman=86.7),
            subject(PEER, "sentence-transformers", "openvino", speed=2, spearman=86.6),
            subject(LANNER, "lanner", "onnxruntime", speed=10, spearman=86.6),
        ],
        "left_out": [{"name": "another", "reason": "it is not <installed>", "suite": "latency"}],
        "random_batches": {"batches": 100, "texts": 16},
        "seconds": {"latency": 60.0, "throughput": 120.0},
        "is_quick": False,
        "is_whole": True,
        "whole_s": 600.0,
    }
    report["checks"] = [check.to_json() for check in checks_of(report)]
    whole: dict[str, Any] = json.loads(json.dumps(report))  # so that no two rounds share an object
    return whole


def with_floor(report: dict[str, Any]) -> dict[str, Any]:
    """Add a floor for texts of 10 tokens, with peaks of 1 and 4 tera-operations a second.

    It allows 500 short texts a second in fp32, and 2,000 in int8.
    """
    rates = {"fp32": 1.0, "int8": 4.0}
    peaks: dict[str, Any] = {
        name: {
            "precision": name,
            "library": "torch",
            "version": "2",
            "layout": "one product",
            "shape": [512, 384, 1536],
            "tflop_per_s": rate,
            "rounds": [rate],
            "spread": 0.01,
            "tflop_per_s_one_thread": rate / 2,
            "rates": [],
        }
        for name, rate in rates.items()
    }
    loops = {"read": {"gb_per_s": 20.0, "rounds": [20.0], "spread": 0.3}}
    peaks |= {"bf16": None, "bandwidth_gb_per_s": 20.0, "left_out": []}
    peaks["bandwidth"] = {"loops": loops, "array_bytes": 128_000_000, "cache_bytes": 8_000_000}
    peaks["weights_gb_per_s"] = {"fp32": 40.0, "bf16": 40.0, "int8": 40.0}
    operations = Operations(0, 200_000_000, 0, 1_000_000, ())
    floor = floor_of(operations, {"short": [10, 10], "mixed": [20]}, cast("Peaks", peaks), 2)
    rows = [{**row, "of_floor": fractions(row, floor)} for row in report["subjects"]]
    return {**report, "floor": floor, "subjects": rows}


def write_result(path: Path, report: Any) -> Path:
    path.write_text(json.dumps(report))
    return path

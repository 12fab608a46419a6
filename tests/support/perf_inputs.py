"""Small inputs of the benchmarks: labelled pairs, and a hand-written report of the variants."""

from pathlib import Path
from typing import Any


def write_pairs(path: Path) -> Path:
    rows = [f"a man plays{' guitar' * n},the train leaves{' seven' * n},{n % 6}" for n in range(30)]
    path.write_text("\n".join(rows))
    return path


def subject(
    name: str, kind: str, engine: str, rates: list[float], p50_ms: list[float], **quality: float
) -> dict[str, Any]:
    """Return a subject with these short texts a second and these latencies in its rounds."""
    speed = {"texts_per_s": sorted(rates)[len(rates) // 2], "rounds": rates, "batch_size": 32}
    return {
        "name": name,
        "kind": kind,
        "engine": engine,
        "precision": "int8" if "int8" in name else "fp32",
        "model_bytes": 25_000_000 if "int8" in name else 100_000_000,
        "cold_start": {"load_s": 0.25},
        "throughput": {"short": speed, "mixed": speed},
        "latency_ms": {
            "p50": sorted(p50_ms)[len(p50_ms) // 2],
            "rounds": [[p50, 2 * p50, 3 * p50] for p50 in p50_ms],
        },
        "quality": {"cosine_min": 0.97, "cosine_mean": 0.99, **quality},
    }


def small_report() -> dict[str, Any]:
    """Return a report of three rounds of five subjects."""
    dynamic = {"spearman": 86.6, "batch_independence_cosine": 0.985}
    exact = {"spearman": 86.72, "batch_independence_cosine": 1.0}
    return {
        "created": "2026-11-22T08:25:19Z",
        "machine": {
            "cpu": "A CPU",
            "cores": 2,
            "cpu_flags": ["avx2", "avx512_vnni"],
            "memory_bytes": 25_000_000_000,
            "system": "Linux 6",
            "python": "3.11.7",
        },
        "versions": {"lanner": "0.1.0", "torch": "2.13.0"},
        "environments": {"harness": {"torch": "2.13.0"}, "peers": {"openvino": "2026.4.1"}},
        "threads": 2,
        "rounds": 3,
        "artifact": "minilm",
        "timed": "encode; medians of the rounds",
        "workloads": {
            "short": {"texts": 3000, "tokens": 48_709, "source": "pairs.csv"},
            "mixed": {"texts": 500, "tokens": 36_000, "source": "pairs.csv"},
        },
        "random_batches": {"batches": 200, "texts": 16},
        "subjects": [
            subject("torch", "sentence-transformers", "torch", [100, 90, 110], [8, 8, 8], **exact),
            {
                **subject(
                    "openvino", "sentence-transformers", "openvino", [200] * 3, [4] * 3, **exact
                ),
                "compute": "bf16",
            },
            subject("lanner fp32", "lanner", "onnxruntime", [300, 300, 300], [3, 3, 3], **exact),
            subject(
                "lanner int8-dynamic",
                "lanner",
                "onnxruntime",
                [500, 400, 500],
                [1.0, 1.0, 2.0],
                **dynamic,
            ),
            subject(
                "lanner int8",
                "lanner",
                "onnxruntime",
                [450, 440, 500],
                [1.1, 1.0, 1.0],
                spearman=86.5,
                batch_independence_cosine=0.99995,
            ),
        ],
        "left_out": [{"name": "a peer", "reason": "it is not installed"}],
    }

"""Invented reports of `lanner_perf.gpu.bench`."""

from typing import Any

from lanner_perf.gpu.record import Report, new_report


def report_of(*figures: tuple[str, int], gpu: Any = None) -> Report:
    """Return figures of BERT-base with 16 tokens, by subject and batch; p50 is 1 ms a text."""
    report = {**new_report("cuda", 0.1), "gpu": gpu}
    report["figures"] = [
        {
            "model": "BERT-base",
            "subject": subject,
            "precision": "fp16",
            "batch": batch,
            "length": 16,
            "p50_ms": float(batch),
            "p99_ms": 2.0 * batch,
            "texts_per_s": 1_000.0,
            "runs": 100,
            "smallest_cosine": 1.0,
            "peak_fraction": batch / 100,
            "part": 0,
        }
        for subject, batch in figures
    ]
    return report

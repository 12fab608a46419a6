"""A hand-written report of a model on a server, whose numbers are easy to divide."""

from typing import Any

from tests.support.bench_report import bench_report, subject

from lanner_perf.report.checks import checks_of

HERE, PLAIN, TOKENS, CACHED = "in process", "by hand, gRPC", "tokens, gRPC", "tokens, gRPC, cached"


def parts(**figures: float) -> dict[str, Any]:
    """Return two rounds of some callers; the second is a tenth slower in all but its texts."""
    point = {"texts_per_s": 500.0, "p50_ms": 8.0, "p90_ms": 9.0, "p99_ms": 10.0, **figures}
    slower = {key: value if "per_" in key else 1.1 * value for key, value in point.items()}
    rounds = [{**each, "failed": 0} for each in (point, slower)]
    return {**point, "failed": 0, "failure": "", "rounds": rounds}


def served(**changes: float) -> dict[str, Any]:
    """Return the parts of a call, which add up to 8 ms."""
    of_call = {"call_ms": 8.0, "client_ms": 1.0, "network_ms": 2.0, "queue_ms": 0.5}
    work = {"compute_ms": 4.5, "texts_per_request": 4.0, "texts_per_run": 5.0, "cached_percent": 0}
    cpu = {"cpu_ms": 0.25, "server_cpu_ms": 0.125, "models_cpu_ms": 1.0, "other_requests": 0}
    return parts(**{**of_call, **work, **cpu, **changes})


def row(name: str, kind: str, speed: float, **loads: dict[str, Any]) -> dict[str, Any]:
    found = subject(name, kind, "triton", speed=speed, spearman=86.6)
    quality = {"cosine_min": 0.99995, "cosine_mean": 1.0, "spearman": 86.6}
    concurrency = {load.removeprefix("of_"): point for load, point in loads.items()}
    return {**found, "concurrency": concurrency, "quality": quality}


def server_report() -> dict[str, Any]:
    """Return a report in which the server has half the bulk speed of the model in process.

    With 16 callers both are equally fast.
    """
    here = parts(call_ms=6.0, cpu_ms=1.5)
    by_hand = served(texts_per_s=200.0, p50_ms=16.0, call_ms=16.0, client_ms=9.0, texts_per_run=1.2)
    del by_hand["server_cpu_ms"]
    cached = served(cached_percent=75.0)
    del cached["texts_per_run"]  # the model never ran
    report = bench_report()
    report["subjects"] = [
        row(HERE, "lanner", 10, of_1=here, of_16=here),
        row(PLAIN, "triton-plain", 1, of_1=by_hand, of_16=by_hand),
        row(TOKENS, "triton", 8, of_1=served(), of_16=served()),
        row(CACHED, "triton", 9, of_1=cached, of_16=cached),
    ]
    model: dict[str, Any] = {"name": "minilm", "version": "1", "variant": "int8", "takes": "tokens"}
    model |= {"backend": "python", "instances": 2, "max_batch_size": 64, "has_cache": False}
    report["server"] = {
        "version": "2.51.0",
        "urls": ["grpc://localhost:8001", "http://localhost:8000"],
        "is_here": True,
        "models": [model, {**model, "name": "minilm_cached", "instances": 1, "has_cache": True}],
        "new_texts": False,
    }
    report["checks"] = [check.to_json() for check in checks_of(report)]
    return report

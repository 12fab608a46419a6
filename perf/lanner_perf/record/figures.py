"""The figures of a subject, one record each, whatever their depth in its row.

Tables, plots, checks and the comparison of two results read a report through this module. So each
of them shows the same number under the same name. Figures that were not measured are missing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lanner_perf.record.schema import PERCENTILES

Row = Mapping[str, Any]
#: The prefix of figures that are another figure as a fraction of the floor.
OF_FLOOR = "of_floor"
#: Smaller differences of quality are rounding: vectors are the same in every round.
_SPEARMAN_NOISE, _COSINE_NOISE = 0.05, 1e-4
#: The figures of a number of callers. Not every row has the parts, and older results lack them.
_CALLS = ("texts_per_s", "p50_ms", "p90_ms", "p99_ms")
_CALL_PARTS = {
    "call_ms": "mean ms",
    "client_ms": "ms in the client",
    "network_ms": "ms in the network",
    "queue_ms": "ms in the queue",
    "compute_ms": "ms in the model",
    "texts_per_request": "texts a request",
    "texts_per_run": "texts a run",
    "cached_percent": "% from the cache",
    "cpu_ms": "CPU ms a text, own process",
    "server_cpu_ms": "CPU ms a text, server",
    "models_cpu_ms": "CPU ms a text, its models",
}
_FORMS = {"texts_per_request": ".1f", "texts_per_run": ".1f", "cached_percent": ".0f"}


@dataclass(frozen=True)
class Figure:
    """One figure of one subject.

    Attributes:
        label: Its name and unit, for people.
        median: The median of its rounds.
        rounds: The value of each round; may be empty.
        form: Its format, as `format` takes it.
        is_more_better: True if the larger of two is the better.
        noise: The difference between two measurements of the same thing, for a figure without
            rounds; None if unknown.
    """

    label: str
    median: float
    rounds: tuple[float, ...]
    form: str
    is_more_better: bool
    noise: float | None = None

    @property
    def spread(self) -> float | None:
        """Return the distance from the lowest to the highest round; None if there is one round.

        A figure without rounds has its `noise` instead.
        """
        return float(np.ptp(self.rounds)) if len(self.rounds) > 1 else self.noise

    @property
    def text(self) -> str:
        """Return the median for people."""
        return f"{self.median:{self.form}}"

    @property
    def spread_text(self) -> str:
        """Return the lowest and the highest round; empty if there is only one."""
        if len(self.rounds) < 2:
            return ""
        return f"{min(self.rounds):{self.form}} to {max(self.rounds):{self.form}}"


def is_lanner(row: Row) -> bool:
    """Return True for Lanner: a variant of the artifact, in process or on a server."""
    return str(row["kind"]) in {"lanner", "lanner-head", "triton"}


def figures(row: Row) -> dict[str, Figure]:
    """Return all figures of a subject, by keys that are the same for every subject and result.

    The keys are ``throughput.short``, ``latency.p50``, ``latency.128.p50`` (128 tokens),
    ``dispatch.p50``, ``concurrency.16.texts_per_s`` (16 callers), ``concurrency.16.queue_ms`` (only
    of a subject on a server), ``open_loop.500.p99_ms`` (500 arrivals a second),
    ``cold_start.load_s``, ``memory.peak_mb``, ``size.model_mb``, ``quality.spearman``,
    ``of_floor.short`` and the like.

    Args:
        row: A subject of a report; see `lanner_perf.record.schema.Row`.
    """
    return dict(_all(row))


def ratio(figure: Figure, base: Figure) -> Figure | None:
    """Return the ratio of two figures of the same run; None if the base is zero.

    Both were measured in turns in the same rounds, so the ratio is the median of the rounds'
    ratios. If the base has another number of rounds, its median stands for each of them.
    """
    if base.median <= 0 or any(turn <= 0 for turn in base.rounds):
        return None
    if len(base.rounds) == len(figure.rounds):
        rounds = tuple(a / b for a, b in zip(figure.rounds, base.rounds, strict=True))
    else:  # not the same rounds: divide each by the median
        rounds = tuple(turn / base.median for turn in figure.rounds)
    median = float(np.median(rounds)) if rounds else figure.median / base.median
    return replace(figure, median=median, rounds=rounds, form=".2f", noise=None)


def is_call_part(key: str) -> bool:
    """Return True for a part of a call's time, False for a speed."""
    return key.rpartition(".")[2] in _CALL_PARTS


def by_number(key_values: Iterable[str]) -> list[str]:
    """Return keys such as "8" and "512" in the order of their numbers."""
    return sorted(key_values, key=float)


def _all(row: Row) -> Iterator[tuple[str, Figure]]:
    for workload, speed in row.get("throughput", {}).items():
        yield f"throughput.{workload}", _speed(f"{workload} texts/s", speed["texts_per_s"], speed)
    if "latency_ms" in row:
        yield from _latencies("latency", "one text", row["latency_ms"])
    if "dispatch_ms" in row:
        overhead, label = row["dispatch_ms"], "one text: ms of the dispatcher"
        yield "dispatch.p50", _figure(label, overhead["p50"], overhead["rounds"], ".3f", False)
    lengths = row.get("throughput_by_length", {})
    for tokens in by_number(lengths):
        speed = lengths[tokens]
        label = f"{tokens} tokens: texts/s"
        yield f"throughput.{tokens}", _speed(label, speed["texts_per_s"], speed)
    lengths = row.get("latency_by_length", {})
    for tokens in by_number(lengths):
        yield from _latencies(f"latency.{tokens}", f"{tokens} tokens", lengths[tokens])
    yield from _loads(row, "concurrency", "callers", (*_CALLS, *_CALL_PARTS))
    yield from _loads(row, "open_loop", "offered/s", ("answered_per_s", "p50_ms", "p99_ms"))
    start = row.get("cold_start", {})
    names = ("import_s", "load_s", "first_answer_ms")
    for index, name in enumerate(name for name in names if name in start):
        rounds = [turn[index] for turn in start["rounds"]]
        form = ".1f" if name.endswith("_ms") else ".2f"
        yield f"cold_start.{name}", _figure(_words(name), start[name], rounds, form, False)
    for name in ("imported_mb", "loaded_mb", "after_mb", "peak_mb"):
        megabytes = row.get("memory", {}).get(name)
        if megabytes is not None:
            label = f"memory {_words(name)}"
            yield f"memory.{name}", _figure(label, megabytes, [], ",.0f", False)
    if "model_bytes" in row:
        megabytes = row["model_bytes"] / 1e6
        figure = _figure("model files, MB", megabytes, [], ",.1f", False)
        yield "size.model_mb", replace(figure, noise=0.0)
    yield from _quality(row.get("quality", {}))
    for workload, fraction in row.get("of_floor", {}).get("throughput", {}).items():
        speed = row["throughput"][workload]
        percent = 100 * fraction["of_best"] / speed["texts_per_s"]  # of one text a second
        rounds = [percent * turn for turn in speed["rounds"]]
        label = f"{workload}: % of the floor"
        yield (
            f"{OF_FLOOR}.{workload}",
            _figure(label, 100 * fraction["of_best"], rounds, ".1f", True),
        )


def _figure(
    label: str, median: float, rounds: Sequence[float], form: str, is_more_better: bool
) -> Figure:
    return Figure(label, float(median), tuple(map(float, rounds)), form, is_more_better)


def _speed(label: str, median: float, figures_of: Row) -> Figure:
    return _figure(label, median, figures_of["rounds"], ",.0f", True)


def _latencies(key: str, what: str, latency: Row) -> Iterator[tuple[str, Figure]]:
    for index, percent in enumerate(PERCENTILES):
        rounds = [turn[index] for turn in latency["rounds"]]
        label = f"{what}: p{percent} ms"
        yield f"{key}.p{percent}", _figure(label, latency[f"p{percent}"], rounds, ".2f", False)


def _loads(row: Row, suite: str, unit: str, names: Sequence[str]) -> Iterator[tuple[str, Figure]]:
    loads = row.get(suite, {})
    for load in by_number(loads):
        for name in names:
            if name in _CALL_PARTS and name not in loads[load]:
                continue
            is_rate = name.endswith("_per_s")
            rounds = [turn[name] for turn in loads[load]["rounds"]]
            label = f"{load} {unit}: {_CALL_PARTS.get(name) or _words(name)}"
            form = ",.0f" if is_rate else _FORMS.get(name, ".2f")
            yield f"{suite}.{load}.{name}", _figure(label, loads[load][name], rounds, form, is_rate)


def _quality(quality: Row) -> Iterator[tuple[str, Figure]]:
    columns = (
        ("spearman", "Spearman x100", ".2f", _SPEARMAN_NOISE),
        ("cosine_mean", "mean cosine to the reference", ".5f", _COSINE_NOISE),
        ("cosine_min", "smallest cosine to the reference", ".4f", _COSINE_NOISE),
        ("batch_independence_cosine", "alone or in a batch, cosine", ".6f", _COSINE_NOISE),
    )
    for name, label, form, noise in columns:
        if name in quality:
            figure = _figure(label, quality[name], [], form, True)
            yield f"quality.{name}", replace(figure, noise=noise)


def _words(name: str) -> str:
    return name.replace("_per_s", "/s").replace("_mb", " MB").replace("_", " ")

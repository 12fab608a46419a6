"""The report of a replay: what it kept, beside an oracle, fixed sizing and the simulation."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lanner_perf.elastic.load_curve import LoadCurve
from lanner_perf.elastic.simulator import Outcome, area


@dataclass(frozen=True)
class Bounds:
    """The bounds that a replay has to keep.

    Attributes:
        p99_ms: The target of the p99.
        every_s: Seconds of an interval, a minute of the day that is replayed.
        window_s: The stabilisation window.
        capacity: The requests that a busy pod answers in a second.
        target: The autoscaler's target of the busy share.
        least: The least pods.
    """

    p99_ms: float
    every_s: float
    window_s: float
    capacity: float
    target: float
    least: int


def figures(outcome: Outcome, curve: LoadCurve, bounds: Bounds) -> dict[str, Any]:
    """Return the figures of a run."""
    p99_ms = [one for one in outcome.p99_ms(bounds.every_s) if not math.isnan(one)]
    oracle = oracle_pod_seconds(curve, bounds)
    peak = pods_for(curve.peak, bounds)
    return {
        "answered": len(outcome.latency_ms),
        "refused": len(outcome.refused_s),
        "lost": outcome.lost,
        "p50_ms": float(np.percentile(outcome.latency_ms, 50)),
        "p99_ms": float(np.percentile(outcome.latency_ms, 99)),
        "worst_minute_p99_ms": max(p99_ms),
        "minutes_within": sum(one <= bounds.p99_ms for one in p99_ms) / len(p99_ms),
        "most_pods": max(number for _, number in outcome.asked),
        "pod_seconds": outcome.pod_seconds,
        "of_oracle": outcome.pod_seconds / oracle,
        "of_fixed": outcome.pod_seconds / (peak * curve.seconds),
        "turns": outcome.turns(bounds.window_s),
    }


def pods_for(rate: float, bounds: Bounds) -> int:
    """Return the pods that keep the target of the busy share at a rate."""
    return max(bounds.least, math.ceil(rate / bounds.capacity / bounds.target - 1e-9))


def oracle_pod_seconds(curve: LoadCurve, bounds: Bounds) -> float:
    """Return the time of the pods of an oracle, which has at each second those that it needs."""
    steps = [
        (at_s, pods_for(curve.rate(at_s), bounds))
        for at_s in np.arange(0.0, curve.seconds, 0.25).tolist()
    ]
    return area(steps, curve.seconds)


def checks(found: dict[str, Any]) -> list[tuple[str, bool]]:
    """Return what a run must keep, and whether it did."""
    return [
        (
            f"p99 within the target in {found['minutes_within']:.1%} of minutes (at least 99 %)",
            found["minutes_within"] >= 0.99,
        ),
        (f"{found['lost']} requests lost (none may be)", found["lost"] == 0),
        (
            f"{found['turns']} changes of direction within the window (at most 1)",
            found["turns"] <= 1,
        ),
        (f"{found['of_oracle']:.2f} of the oracle's pods (at most 1.3)", found["of_oracle"] <= 1.3),
    ]


def markdown(found: dict[str, Any], simulated: dict[str, Any], about: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    lines = [
        "# A day of load, scaled by the algorithm of the HPA",
        "",
        *(f"- {name}: {value}" for name, value in about.items()),
        "",
        "| figure | replay | simulation | ratio |",
        "|---|---|---|---|",
    ]
    for name, value in found.items():
        other = simulated[name]
        ratio = f"{other / value:.2f}" if value else ""
        lines.append(f"| {name} | {_shown(value)} | {_shown(other)} | {ratio} |")
    lines += [
        "",
        *(f"- {'kept' if kept else 'NOT kept'}: {said}" for said, kept in checks(found)),
        "",
    ]
    return "\n".join(lines)


def _shown(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"

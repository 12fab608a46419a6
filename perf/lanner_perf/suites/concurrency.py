"""Concurrency: several callers, each of which sends its next text when the last is answered."""

from typing import Any, cast

import numpy as np

from lanner_perf.record.call_parts import call_parts
from lanner_perf.record.schema import Concurrency, ConcurrencyRound
from lanner_perf.subjects.callers import Calls
from lanner_perf.subjects.subject import Subject
from lanner_perf.suites.inputs import Inputs, Parts, median, repeated
from lanner_perf.suites.roster import Roster, by_name
from lanner_perf.suites.suite_plan import SuitePlan

#: The fewest calls of each caller: a shorter round is mostly its beginning and its end.
_LEAST_CALLS_A_CALLER = 4
_MOST_CALLS = 20_000
#: The counts that are added up over the rounds; all other figures are medians.
_SUMS = frozenset({"failed", "other_requests"})


def measure(roster: Roster, inputs: Inputs, plan: SuitePlan) -> Parts:
    """Measure texts a second and latency, for each number of callers."""
    short = inputs.workloads.texts["short"]
    points = {str(callers): _point(roster, short, plan, callers) for callers in plan.callers}
    return {
        subject.name: {
            "concurrency": {callers: found[subject.name] for callers, found in points.items()}
        }
        for subject in roster.present
    }


def _point(
    roster: Roster, texts: list[str], plan: SuitePlan, callers: int
) -> dict[str, Concurrency]:
    """Measure one number of callers; every subject answers for about the same time."""
    what = f"{callers} callers at once" if callers > 1 else "one caller"
    roster.tell(f"{what}: warming up")
    probe = repeated(texts, max(16, 2 * callers))
    speeds = {
        name: _speed(calls) for name, calls in roster.each(lambda s: s.closed_loop(probe, callers))
    }

    def ask(subject: Subject) -> Calls:
        fitting = int(speeds[subject.name] * plan.point_s)
        count = min(max(fitting, _LEAST_CALLS_A_CALLER * callers), _MOST_CALLS)
        return subject.closed_loop(repeated(texts, count), callers)

    rounds: dict[str, list[Calls]] = {}
    for turn in range(plan.point_rounds):
        roster.tell(f"{what}: round {turn + 1} of {plan.point_rounds}")
        by_name(roster.each(ask), rounds)
    return {subject.name: summary(rounds[subject.name]) for subject in roster.present}


def summary(rounds: list[Calls]) -> Concurrency:
    """Return the medians of the rounds."""
    figures: list[dict[str, Any]] = [{**_round(calls)} for calls in rounds]
    # A round without an answer has no parts of a call.
    names = [name for name in figures[0] if all(name in figure for figure in figures)]
    of_all = {
        name: (sum if name in _SUMS else median)(figure[name] for figure in figures)
        for name in names
    }
    failure = next((calls.failure for calls in rounds if calls.failure), "")
    return cast("Concurrency", {**of_all, "failure": failure, "rounds": figures})


def _round(calls: Calls) -> ConcurrencyRound:
    answered = [call for call in calls.calls if call.outcome == "answered"]
    latencies_ms = [1e3 * (call.end_s - call.due_s) for call in answered] or [0.0]
    p50, p90, p99 = (float(value) for value in np.percentile(latencies_ms, (50, 90, 99)))
    call_ms = float(np.mean(latencies_ms))
    return {
        "texts_per_s": _speed(calls),
        "p50_ms": p50,
        "p90_ms": p90,
        "p99_ms": p99,
        "call_ms": call_ms,
        "cpu_ms": 1e3 * calls.cpu_s / max(1, len(answered)),
        "failed": len(calls.calls) - len(answered),
        **call_parts(calls, call_ms, len(answered)),
    }


def _speed(calls: Calls) -> float:
    answered = sum(call.outcome == "answered" for call in calls.calls)
    return answered / max(call.end_s for call in calls.calls)

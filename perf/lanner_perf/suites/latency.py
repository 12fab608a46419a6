"""Latency: one text a call, one call at a time."""

from typing import Any

import numpy as np

from lanner.tune.workload import spread
from lanner_perf.record.schema import PERCENTILES, Latency, Overhead
from lanner_perf.suites.inputs import Inputs, Parts, fitting, median, repeated
from lanner_perf.suites.roster import Roster, by_name
from lanner_perf.suites.suite_plan import SuitePlan

#: Each for natural texts and for texts by length: the calls that warm up and show the time of a
#: call, and the fewest calls of a round.
_WARM_UP_CALLS, _LEAST_CALLS = (32, 8), (40, 10)


def measure(roster: Roster, inputs: Inputs, plan: SuitePlan) -> Parts:
    """Measure natural short texts, and texts by their length in tokens."""
    most = plan.latency_texts
    short = spread(inputs.workloads.texts["short"], most)
    natural = _latencies(roster, short, plan, "latency")
    by_length = {
        str(tokens): _latencies(
            roster, repeated(texts, most), plan, f"latency of {tokens} tokens", is_natural=False
        )
        for tokens, texts in inputs.lengths.texts.items()
    }
    overheads = _overheads(roster, short, plan)
    return {
        subject.name: {
            "latency_ms": natural[subject.name],
            "latency_by_length": {
                tokens: found[subject.name] for tokens, found in by_length.items()
            },
        }
        | overheads[subject.name]
        for subject in roster.present
    }


def _overheads(roster: Roster, texts: list[str], plan: SuitePlan) -> dict[str, dict[str, Overhead]]:
    """Measure the time of the dispatcher for the subjects that can tell it."""
    roster.tell("what the dispatcher adds")
    rounds: dict[str, list[float]] = {}
    for _ in range(plan.rounds):
        found = roster.each(lambda subject: subject.overheads_ms(texts))
        by_name(((name, median(calls)) for name, calls in found if calls), rounds)
    return {
        subject.name: {"dispatch_ms": {"p50": median(turns), "rounds": turns}}
        if (turns := rounds.get(subject.name))
        else {}
        for subject in roster.present
    }


def _latencies(
    roster: Roster, texts: list[str], plan: SuitePlan, what: str, *, is_natural: bool = True
) -> dict[str, Latency]:
    """Measure all subjects with the same texts, as many as the slowest answers in a round."""
    warm_up, least = (calls[not is_natural] for calls in (_WARM_UP_CALLS, _LEAST_CALLS))
    roster.tell(f"{what}: warming up")
    probe = spread(texts, warm_up)
    slowest_ms = max(median(found) for _, found in roster.each(lambda s: s.latencies_ms(probe)))
    seconds = plan.latency_s if is_natural else plan.latency_s / 4
    texts = fitting(texts, 1e3 / slowest_ms, seconds, least=least)
    rounds: dict[str, list[Any]] = {}
    # A slow phase of the machine lasts about as long as a round; the median needs several rounds
    # outside of it.
    count = 2 * plan.rounds + 1 if is_natural else plan.rounds
    for turn in range(count):
        roster.tell(f"{what}: round {turn + 1} of {count}")
        by_name(roster.each(lambda subject: _percentiles(subject.latencies_ms(texts))), rounds)
    return {subject.name: _summary(rounds[subject.name], len(texts)) for subject in roster.present}


def _percentiles(latencies_ms: list[float]) -> list[float]:
    return [float(value) for value in np.percentile(latencies_ms, PERCENTILES)]


def _summary(rounds: list[list[float]], calls: int) -> Latency:
    p50, p90, p95, p99 = (median(column) for column in zip(*rounds, strict=True))
    return {"p50": p50, "p90": p90, "p95": p95, "p99": p99, "calls": calls, "rounds": rounds}

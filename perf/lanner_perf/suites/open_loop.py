"""Open loop: texts arrive at random times of a fixed rate, whether or not a subject keeps up."""

from functools import partial

import numpy as np

from lanner.tune.workload import spread
from lanner_perf.record.schema import OpenLoop, OpenLoopRound
from lanner_perf.subjects.callers import Calls
from lanner_perf.subjects.subject import Subject
from lanner_perf.subjects.workloads import SEED
from lanner_perf.suites.inputs import Inputs, Parts, fitting, median
from lanner_perf.suites.roster import Roster, by_name
from lanner_perf.suites.suite_plan import SuitePlan

#: The most calls at once; a further call waits until one of them ends.
CALLERS = 64
_MOST_ARRIVALS = 20_000
_TRIAL_TEXTS, _BATCH_SIZE = 64, 32


def measure(roster: Roster, inputs: Inputs, plan: SuitePlan) -> Parts:
    """Measure the latency from the arrival at each rate; all subjects get the same arrivals.

    The rates are multiples of the reference's speed in bulk. So the subjects of one report can be
    compared, and the rates mean the same on another machine.
    """
    short = inputs.workloads.texts["short"]
    roster.tell("open loop: speed of the reference")
    probe = spread(short, _TRIAL_TEXTS)
    speed = roster.reference.rate(probe, _BATCH_SIZE, plan.point_s / 4)
    texts = fitting(short, speed, plan.point_s, least=_TRIAL_TEXTS)
    speed = roster.reference.rate(texts, _BATCH_SIZE)
    points = {}
    for load in plan.loads:
        rate = round_rate(load * speed)
        points[f"{rate:g}"] = _point(roster, short, plan, rate)
    return {
        subject.name: {"open_loop": {rate: found[subject.name] for rate, found in points.items()}}
        for subject in roster.present
    }


def round_rate(rate: float) -> float:
    """Round to two digits, the precision of the measurement."""
    return float(f"{rate:.2g}")


def poisson_arrivals_s(rate: float, seconds: float, turn: int) -> list[float]:
    """Return the ascending times in seconds of a Poisson process, the same for a `turn`.

    If the number of arrivals is given, the times of such a process are sorted uniform numbers
    (Ross, Introduction to Probability Models, 5.3.5). So the rate is exact even in a short run.
    """
    generator = np.random.default_rng((SEED, turn))
    count = min(int(rate * seconds) + 1, _MOST_ARRIVALS)
    times: list[float] = np.sort(generator.uniform(0, count / rate, count)).tolist()
    return times


def _point(roster: Roster, texts: list[str], plan: SuitePlan, rate: float) -> dict[str, OpenLoop]:
    # A subject that is this far behind does not catch up.
    patience_s = plan.point_s / 2
    rounds: dict[str, list[Calls]] = {}
    for turn in range(plan.point_rounds):
        roster.tell(f"{rate:g} arrivals/s: round {turn + 1} of {plan.point_rounds}")
        ask = partial(_ask, texts, poisson_arrivals_s(rate, plan.point_s, turn), patience_s)
        by_name(roster.each(ask), rounds)
    return {subject.name: summary(rounds[subject.name], rate) for subject in roster.present}


def _ask(texts: list[str], arrivals_s: list[float], patience_s: float, subject: Subject) -> Calls:
    return subject.open_loop(texts, arrivals_s, callers=CALLERS, patience_s=patience_s)


def summary(rounds: list[Calls], rate: float) -> OpenLoop:
    """Return the medians of the rounds."""
    figures = [_round(calls, rate) for calls in rounds]
    return {
        "offered_per_s": rate,
        "answered_per_s": median(figure["answered_per_s"] for figure in figures),
        "p50_ms": median(figure["p50_ms"] for figure in figures),
        "p99_ms": median(figure["p99_ms"] for figure in figures),
        "refused": sum(figure["refused"] for figure in figures),
        "failed": sum(figure["failed"] for figure in figures),
        "backlog": max(figure["backlog"] for figure in figures),
        "is_cut_short": any(figure["is_cut_short"] for figure in figures),
        "failure": next((calls.failure for calls in rounds if calls.failure), ""),
        "rounds": figures,
    }


def _round(calls: Calls, rate: float) -> OpenLoopRound:
    outcomes = [call.outcome for call in calls.calls]
    served = [call for call in calls.calls if call.outcome in ("answered", "waiting")]
    latencies_ms = [1e3 * (call.end_s - call.due_s) for call in served] or [0.0]
    end_s = max(call.end_s for call in calls.calls)
    if not calls.is_cut_short:
        end_s = max(end_s, len(calls.calls) / rate)  # the last text may arrive before the end
    p50, p99 = (float(value) for value in np.percentile(latencies_ms, (50, 99)))
    return {
        "answered_per_s": outcomes.count("answered") / end_s,
        "p50_ms": p50,
        "p99_ms": p99,
        "refused": outcomes.count("refused"),
        "failed": outcomes.count("failed"),
        "backlog": most_at_once(calls),
        "is_cut_short": calls.is_cut_short,
    }


def most_at_once(calls: Calls) -> int:
    """Return the most calls that were due and not over at the same time."""
    due_s = np.sort([call.due_s for call in calls.calls])
    end_s = np.sort([call.end_s for call in calls.calls])
    # At each arrival: the calls that have arrived, itself included, less those that have ended.
    gone = np.searchsorted(end_s, due_s, side="right")
    return int((np.arange(1, len(due_s) + 1) - gone).max())

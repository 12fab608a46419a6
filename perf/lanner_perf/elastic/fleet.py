"""Fleets of any size: pods that get equal shares of the load, so that a few stand for all.

A balancer that chooses the emptiest of many pods makes them equal. So the latency depends on the
busy share alone, and `latency_table` measures it once, with a group of pods event by event. The
autoscaler then works on the whole fleet, step by step, with the backlog of overloaded seconds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lanner_perf.elastic.autoscaler import Autoscaler, Scaling
from lanner_perf.elastic.load_curve import LoadCurve
from lanner_perf.elastic.simulator import USUAL, LostZone, Observation, PodKind, Simulation

#: The pods of the group that stands for all, and the requests of a measurement.
_GROUP, _REQUESTS = 8, 10_000
_SHARES = (0.1, 0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


@dataclass(frozen=True)
class LatencyTable:
    """The p99 of pods by their busy share.

    Attributes:
        capacity: The requests that a busy pod answers in a second.
        points: Busy shares, ascending, and the p99 in milliseconds.
    """

    capacity: float
    points: Sequence[tuple[float, float]]

    def p99_ms(self, share: float) -> float:
        """Return the p99 at a busy share below 1."""
        shares, found_ms = np.array(self.points).T
        return float(np.interp(share, shares, found_ms))

    def share_for(self, p99_ms: float) -> float | None:
        """Return the greatest busy share within a p99, or None if there is none."""
        fitting = [share for share, found in self.points if found <= p99_ms]
        if not fitting:
            return None
        low = max(fitting)
        above = next((point for point in self.points if point[0] > low), None)
        if above is None:
            return low
        at_low = dict(self.points)[low]
        return low + (above[0] - low) * (p99_ms - at_low) / (above[1] - at_low)


def latency_table(
    kind: PodKind, lengths: Sequence[float], *, pods: int = _GROUP, seed: int = 1
) -> LatencyTable:
    """Return the p99 of pods by their busy share, simulated event by event.

    Args:
        kind: The pods.
        lengths: Numbers of tokens, of which each request has one at random.
        pods: The pods of the fleet, if it has fewer than a group.
        seed: The seed.
    """
    group = min(pods, _GROUP)
    texts_ms = [kind.times.of_text(one) + kind.times.request_ms for one in lengths]
    together = max(1.0, kind.times.token_budget / float(np.mean(lengths)))
    capacity = kind.cores * 1e3 / (float(np.mean(texts_ms)) + kind.times.run_ms / together)
    points: list[tuple[float, float]] = []
    for share in _SHARES:
        rate = share * capacity * group
        curve = LoadCurve([(0.0, rate), (_REQUESTS / rate, rate)])
        found = Simulation(kind, pods=group).run(curve, lengths, seed)
        p99_ms = float(np.percentile(found.latency_ms, 99))
        points.append((share, max(p99_ms, points[-1][1] if points else 0.0)))
    return LatencyTable(capacity, points)


@dataclass(frozen=True)
class Step:
    """A step of a fleet.

    Attributes:
        at_s: The time.
        rate: Requests a second.
        asked: The pods that were asked for.
        ready: The ready pods.
        share: Their busy share, at most 1.
        p99_ms: The p99, with the wait for the backlog.
    """

    at_s: float
    rate: float
    asked: int
    ready: int
    share: float
    p99_ms: float


@dataclass(frozen=True)
class FleetRun:
    """A fleet over a load curve.

    Attributes:
        steps: Its steps.
        step_s: Seconds of a step.
    """

    steps: Sequence[Step]
    step_s: float

    @cached_property
    def pod_hours(self) -> float:
        """The hours of all pods that were asked for, added up."""
        return sum(one.asked for one in self.steps) * self.step_s / 3600

    def within(self, p99_ms: float) -> float:
        """Return the share of steps whose p99 is within a target."""
        return sum(one.p99_ms <= p99_ms for one in self.steps) / len(self.steps)


def run_fleet(
    table: LatencyTable,
    curve: LoadCurve,
    scaling: Scaling,
    *,
    pods: int,
    start_s: float,
    observation: Observation = USUAL,
    lost_zone: LostZone | None = None,
    step_s: float = 1.0,
) -> FleetRun:
    """Run a fleet of any size over a curve.

    Args:
        table: The latency of its pods.
        curve: The load.
        scaling: The autoscaler's values.
        pods: The pods at the start, all ready.
        start_s: Seconds from the decision to the first answer of a pod.
        observation: What the autoscaler sees.
        lost_zone: A failure, or None.
        step_s: Seconds of a step.
    """
    autoscaler, asked = Autoscaler(scaling), pods
    cohorts = _Cohorts([(0.0, pods)])
    backlog, next_s, busy_s = 0.0, scaling.sync_s, [0.0]
    steps: list[Step] = []
    for at_s in np.arange(0.0, curve.seconds, step_s).tolist():
        if lost_zone is not None and at_s >= lost_zone.at_s:
            cohorts.lose(lost_zone.zones)
            cohorts.scale(asked, at_s + start_s)
            lost_zone = None
        if at_s >= next_s:
            next_s += scaling.sync_s
            to_s = at_s - observation.delay_s
            metrics = cohorts.metrics(busy_s, step_s, to_s - observation.window_s, to_s)
            asked = autoscaler.decide(at_s, asked, metrics)
            cohorts.scale(asked, at_s + start_s)
        rate, ready = curve.rate(at_s), cohorts.ready(at_s)
        capacity = max(ready, 1e-9) * table.capacity
        work = rate * step_s + backlog
        done = min(work, capacity * step_s)
        backlog = work - done
        share = done / (capacity * step_s)
        busy_s.append(busy_s[-1] + share * step_s)
        p99_ms = table.p99_ms(min(share, table.points[-1][0])) + backlog / capacity * 1e3
        steps.append(Step(at_s, rate, asked, ready, share, p99_ms))
    return FleetRun(steps, step_s)


class _Cohorts:
    """The pods of a fleet by the time at which they are ready; those of one time are alike."""

    def __init__(self, cohorts: list[tuple[float, int]]) -> None:
        self._cohorts = cohorts

    def ready(self, at_s: float) -> int:
        return sum(number for ready_s, number in self._cohorts if ready_s <= at_s)

    def scale(self, asked: int, ready_s: float) -> None:
        """Start pods, or end some: first those that are not ready, then the youngest."""
        more = asked - sum(number for _, number in self._cohorts)
        if more > 0:
            self._cohorts.append((ready_s, more))
        while more < 0:
            last_s, number = self._cohorts.pop()
            if number > -more:
                self._cohorts.append((last_s, number + more))
            more += number

    def lose(self, zones: int) -> None:
        """End the pods of one of so many zones, every so-many-th."""
        before, kept = 0, list[tuple[float, int]]()
        for ready_s, number in self._cohorts:
            lost = math.ceil((before + number) / zones) - math.ceil(before / zones)
            before += number
            kept.append((ready_s, number - lost))
        self._cohorts = kept

    def metrics(
        self, busy_s: Sequence[float], step_s: float, from_s: float, to_s: float
    ) -> dict[str, float | None]:
        """Return the busy share of each pod in a time, of a young one since it was ready.

        Args:
            busy_s: The busy seconds of a pod until the start of each step.
            step_s: Seconds of a step.
            from_s: The start of the time.
            to_s: Its end. A pod that was not ready then has no metric.
        """
        found: dict[str, float | None] = {}
        for cohort, (ready_s, number) in enumerate(self._cohorts):
            share = None
            if ready_s < to_s:
                since_s = max(from_s, ready_s, 0.0)
                spent_s = _until(busy_s, to_s / step_s) - _until(busy_s, since_s / step_s)
                share = spent_s / (to_s - since_s)
            found |= {f"{cohort}-{one}": share for one in range(number)}
        return found


def _until(sums: Sequence[float], step: float) -> float:
    """Return a sum at a step, between two steps in a straight line."""
    low = min(int(step), len(sums) - 2)
    return sums[low] + (sums[low + 1] - sums[low]) * (step - low)

"""A plan for a load: cores, pods and the values of the autoscaler, with the reasons."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lanner.errors import UsageError
from lanner_perf.elastic.autoscaler import DOWN, Policy, Rules, Scaling
from lanner_perf.elastic.fleet import LatencyTable, latency_table, run_fleet
from lanner_perf.elastic.load_curve import LoadCurve, day
from lanner_perf.elastic.service_time import ServiceTime
from lanner_perf.elastic.simulator import LostZone, Observation, PodKind

#: Where a queue grows without bound after the smallest burst.
_MOST_SHARE = 0.9
#: The rules are those of the chart. More pods are added when the demand has lasted as long as the
#: metric's window: before, the metric has not seen the pods that were added last, and too many
#: would follow.
_UP = Rules(60.0, (Policy("Percent", 100, 30.0), Policy("Pods", 2, 30.0)))
#: A quarter of the pods a minute, after five minutes of less load.
_DOWN = Rules(DOWN.window_s, (Policy("Percent", 25, 60.0),))


@dataclass(frozen=True)
class Need:
    """The load, and what it must keep.

    Attributes:
        rps: Requests a second at the peak.
        tokens: Tokens of a request.
        p99_ms: The target of the service's own p99.
        cores: Cores of a pod.
        start_s: Seconds until a new pod answers.
        growth: The share by which the load may grow within a minute.
        zones: Zones; the loss of one must not break the target. 1 for no such need.
        core_hour: The price of a core for an hour, or None.
    """

    rps: float
    tokens: float
    p99_ms: float
    cores: int = 2
    start_s: float = 30.0
    growth: float = 0.1
    zones: int = 3
    core_hour: float | None = None


@dataclass(frozen=True)
class Plan:
    """A plan.

    Attributes:
        need: The need.
        subject: The measured subject.
        table: The latency of a pod by its busy share.
        share: The greatest busy share within the target.
        target: The autoscaler's target of the busy share.
        pods: The pods at the peak.
        scaling: The values of the autoscaler.
        within: The share of the minutes of a simulated day within the target.
        pod_hours: The pods of that day, in hours.
        worst_after_loss_ms: The worst p99 when a zone is lost at the peak; None for one zone.
        reasons: The reasons, for people.
    """

    need: Need
    subject: str
    table: LatencyTable
    share: float
    target: float
    pods: int
    scaling: Scaling
    within: float
    pod_hours: float
    worst_after_loss_ms: float | None
    reasons: Sequence[str]

    @property
    def cores(self) -> int:
        """The cores of all pods at the peak."""
        return self.pods * self.need.cores

    def to_json(self) -> dict[str, Any]:
        """Return the plan for programs."""
        return {
            "need": asdict(self.need),
            "subject": self.subject,
            "pods": self.pods,
            "cores": self.cores,
            "requests_per_pod_s": self.table.capacity,
            "busy_share_within_target": self.share,
            "p99_ms_by_busy_share": [list(point) for point in self.table.points],
            "hpa": hpa(self),
            "helm": chart_values(self),
            "day": {
                "share_within_target": self.within,
                "pod_hours": self.pod_hours,
                "fixed_pod_hours": 24.0 * self.pods,
            },
            "worst_p99_ms_after_a_lost_zone": self.worst_after_loss_ms,
            "reasons": list(self.reasons),
        }


def plan(need: Need, subject: str, times: ServiceTime) -> Plan:
    """Return a plan for a need.

    Args:
        need: The need.
        subject: The name of the measured subject.
        times: Its times.

    Raises:
        UsageError: No number of pods keeps the target.
    """
    kind = PodKind(times, need.cores, start_s=need.start_s)
    lengths = [need.tokens]
    table = latency_table(kind, lengths)
    share = table.share_for(need.p99_ms)
    if share is None:
        best = table.points[0][1]
        msg = (
            f"no number of pods keeps a p99 of {need.p99_ms:g} ms: a request of "
            f"{need.tokens:g} tokens takes {best:.3g} ms on idle pods; allow at least that, "
            "shorten the texts, or measure a faster engine"
        )
        raise UsageError(msg)
    share = min(share, _MOST_SHARE)
    observation = Observation()
    seen_s = observation.window_s / 2 + observation.delay_s
    blind_s = need.start_s + Scaling(1.0).sync_s + seen_s + _UP.window_s
    grown = (1 + need.growth) ** (blind_s / 60)
    left = (need.zones - 1) / need.zones if need.zones > 1 else 1.0
    target = math.floor(share * min(1 / grown, left) * 100) / 100
    pods = max(math.ceil(need.rps / (table.capacity * target)), need.zones)
    least = max(need.zones, math.ceil(pods * 0.1))
    scaling = Scaling(target, least, max(pods + 1, math.ceil(pods * 1.5)), _UP, _DOWN)
    curve = day(need.rps)
    start = max(least, math.ceil(curve.rate(0.0) / table.capacity / target))
    found = run_fleet(
        table, curve, scaling, pods=start, start_s=need.start_s, observation=observation
    )
    worst = None
    if need.zones > 1:
        lost = run_fleet(
            table,
            LoadCurve([(0.0, need.rps), (900.0, need.rps)]),
            scaling,
            pods=pods,
            start_s=need.start_s,
            observation=observation,
            lost_zone=LostZone(300.0, need.zones),
        )
        worst = max(step.p99_ms for step in lost.steps)
    reasons = _reasons(need, subject, table, share, grown, left, target, pods, blind_s)
    return Plan(
        need,
        subject,
        table,
        share,
        target,
        pods,
        scaling,
        found.within(need.p99_ms),
        found.pod_hours,
        worst,
        reasons,
    )


def _reasons(
    need: Need,
    subject: str,
    table: LatencyTable,
    share: float,
    grown: float,
    left: float,
    target: float,
    pods: int,
    blind_s: float,
) -> list[str]:
    capacity = (
        f"A pod of {need.cores} cores answers {table.capacity:,.0f} requests of {need.tokens:g} "
        f"tokens a second when it is always busy, as {subject} was measured."
    )
    latency = (
        f"Up to a busy share of {share:.2f} the p99 stays within {need.p99_ms:g} ms (simulated "
        "event by event, with random arrivals)."
    )
    growth = (
        f"For {blind_s:.0f} s a growth of the load is not answered yet: the metric's window, the "
        f"decision, {_UP.window_s:g} s that it must last, and {need.start_s:g} s of start. At "
        f"{need.growth:.0%} a minute the load grows {grown:.2f} times meanwhile, which leaves a "
        f"share of {share / grown:.2f}."
    )
    zone = (
        f"When one of {need.zones} zones is lost, the others take {1 / left:.2f} times their "
        f"load at once, which leaves a share of {share * left:.2f}."
    )
    result = (
        f"The target of the busy share is the smallest of these, {target:.2f}; {need.rps:,.0f} "
        f"requests a second need {need.rps / table.capacity:,.1f} busy pods, and {pods:,} at that "
        "share."
    )
    return [capacity, latency, growth, *([zone] if need.zones > 1 else []), result]


def hpa(made: Plan) -> dict[str, Any]:
    """Return the values of the HorizontalPodAutoscaler (autoscaling/v2), without its names."""

    def rules(some: Rules) -> dict[str, Any]:
        return {
            "stabilizationWindowSeconds": int(some.window_s),
            "policies": [
                {"type": one.kind, "value": int(one.value), "periodSeconds": int(one.period_s)}
                for one in some.policies
            ],
        }

    scaling = made.scaling
    return {
        "minReplicas": scaling.least,
        "maxReplicas": scaling.most,
        "metrics": [
            {
                "type": "Pods",
                "pods": {
                    "metric": {"name": "lanner_busy_share"},
                    "target": {
                        "type": "AverageValue",
                        "averageValue": f"{round(scaling.target * 1000)}m",
                    },
                },
            }
        ],
        "behavior": {"scaleUp": rules(scaling.up), "scaleDown": rules(scaling.down)},
    }


def chart_values(made: Plan) -> dict[str, Any]:
    """Return the values for the Helm chart `deploy/helm/lanner`."""
    found = hpa(made)
    return {
        "resources": {
            "requests": {"cpu": str(made.need.cores)},
            "limits": {"cpu": str(made.need.cores)},
        },
        "autoscaling": {
            "by": "hpa",
            "metric": "busy",
            "minReplicas": found["minReplicas"],
            "maxReplicas": found["maxReplicas"],
            "targets": {"busy": made.scaling.target},
            "behavior": found["behavior"],
        },
    }

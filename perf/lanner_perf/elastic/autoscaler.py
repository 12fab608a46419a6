"""The algorithm of Kubernetes' HorizontalPodAutoscaler, without a cluster.

It follows the documentation of autoscaling/v2 and of its behaviour: the ratio of metric to target,
the tolerance, pods without a metric, the stabilisation windows, and policies of scaling.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

#: Changes of the metric below this share of the target are ignored.
TOLERANCE = 0.1


@dataclass(frozen=True)
class Policy:
    """A bound on the change within a period.

    Attributes:
        kind: ``"Pods"`` or ``"Percent"`` of the pods at the start of the period.
        value: The number of pods, or percent.
        period_s: The period.
    """

    kind: Literal["Pods", "Percent"]
    value: float
    period_s: float


@dataclass(frozen=True)
class Rules:
    """The rules of one direction.

    Attributes:
        window_s: The stabilisation window: going up the least, going down the greatest
            recommendation within it counts.
        policies: The policies; the one that allows the greatest change counts.
    """

    window_s: float
    policies: Sequence[Policy]


#: The defaults of Kubernetes.
UP = Rules(0.0, (Policy("Pods", 4, 15.0), Policy("Percent", 100, 15.0)))
DOWN = Rules(300.0, (Policy("Percent", 100, 15.0),))


@dataclass(frozen=True)
class Scaling:
    """The values of a HorizontalPodAutoscaler.

    Attributes:
        target: The target of the metric, averaged over pods.
        least: The least pods.
        most: The most pods.
        up: The rules for scaling up.
        down: The rules for scaling down.
        tolerance: See `TOLERANCE`.
        sync_s: Seconds between two decisions.
    """

    target: float
    least: int = 1
    most: int = 10
    up: Rules = UP
    down: Rules = DOWN
    tolerance: float = TOLERANCE
    sync_s: float = 15.0

    def faster(self, times: float) -> "Scaling":
        """Return the same values for a clock that runs faster, as in a replay of a day."""

        def rules(some: Rules) -> Rules:
            policies = [Policy(one.kind, one.value, one.period_s / times) for one in some.policies]
            return Rules(some.window_s / times, policies)

        return Scaling(
            self.target,
            self.least,
            self.most,
            rules(self.up),
            rules(self.down),
            self.tolerance,
            self.sync_s / times,
        )


@dataclass
class Autoscaler:
    """Decides on the number of pods. It keeps the recommendations and changes of the past.

    Attributes:
        scaling: Its values.
    """

    scaling: Scaling
    _recommended: list[tuple[float, int]] = field(default_factory=list)
    _changes: list[tuple[float, int]] = field(default_factory=list)

    def decide(self, now_s: float, pods: int, metrics: Mapping[str, float | None]) -> int:
        """Return the number of pods that there should be.

        Args:
            now_s: The time.
            pods: The number of pods that were asked for last.
            metrics: The metric of each pod that is not ending; None for a pod without one yet.
        """
        wanted = recommended(pods, metrics, self.scaling.target, self.scaling.tolerance)
        return self.settle(now_s, pods, wanted)

    def settle(self, now_s: float, pods: int, wanted: int) -> int:
        """Return the number of pods after windows, policies and bounds.

        Args:
            now_s: The time.
            pods: The number of pods that were asked for last.
            wanted: The recommendation.
        """
        scaling = self.scaling
        if not self._recommended:  # a controller that starts knows only the present
            self._recommended.append((now_s, pods))
        least, greatest = wanted, wanted
        for at_s, past in self._recommended:
            if at_s > now_s - scaling.up.window_s:
                least = min(least, past)
            if at_s > now_s - scaling.down.window_s:
                greatest = max(greatest, past)
        longest_s = max(scaling.up.window_s, scaling.down.window_s)
        self._recommended = [one for one in self._recommended if one[0] > now_s - longest_s]
        self._recommended.append((now_s, wanted))
        stable = min(max(pods, least), greatest)
        result = self._bounded(now_s, pods, stable)
        if result != pods:
            self._changes.append((now_s, result - pods))
        return result

    def _bounded(self, now_s: float, pods: int, wanted: int) -> int:
        scaling = self.scaling
        if wanted > pods:
            limits = [
                self._start(now_s, pods, one) + one.value
                if one.kind == "Pods"
                else math.ceil(self._start(now_s, pods, one) * (1 + one.value / 100))
                for one in scaling.up.policies
            ]
            wanted = min(wanted, max(pods, *map(int, limits)))
        elif wanted < pods:
            limits = [
                self._start(now_s, pods, one) - one.value
                if one.kind == "Pods"
                else self._start(now_s, pods, one) * (1 - one.value / 100)
                for one in scaling.down.policies
            ]
            wanted = max(wanted, min(pods, *map(int, limits)))
        return min(max(wanted, scaling.least), scaling.most)

    def _start(self, now_s: float, pods: int, policy: Policy) -> int:
        """Return the number of pods at the start of a policy's period."""
        return pods - sum(
            change for at_s, change in self._changes if at_s > now_s - policy.period_s
        )


def recommended(
    pods: int, metrics: Mapping[str, float | None], target: float, tolerance: float = TOLERANCE
) -> int:
    """Return the number of pods that brings the mean of a metric to its target.

    Args:
        pods: The number of pods now.
        metrics: The metric of each pod; None for a pod without one. Such a pod counts as idle if
            the others ask for more pods, and as at the target if they ask for fewer.
        target: The target.
        tolerance: Smaller relative differences change nothing.
    """
    known = [value for value in metrics.values() if value is not None]
    missing = len(metrics) - len(known)
    if not known:
        return pods
    ratio = sum(known) / len(known) / target
    if not missing:
        return pods if _is_near(ratio, tolerance) else _ceiling(ratio * len(known))
    if _is_near(ratio, tolerance):
        return pods
    filled = [*known, *[target if ratio < 1 else 0.0] * missing]
    cautious = sum(filled) / len(filled) / target
    if _is_near(cautious, tolerance) or (ratio < 1) != (cautious < 1):
        return pods
    wanted = _ceiling(cautious * len(filled))
    # It must not go the other way because the pods asked for and the pods seen differ.
    return pods if (cautious < 1) == (wanted > pods) else wanted


def _is_near(ratio: float, tolerance: float) -> bool:
    return abs(ratio - 1) <= tolerance


def _ceiling(number: float) -> int:
    """Return the next integer; rounding errors of the ratio are no pod."""
    return math.ceil(number - 1e-9)

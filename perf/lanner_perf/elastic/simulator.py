"""A simulation of a fleet of pods behind a balancer, event by event.

A pod has workers, one a core, before one queue, and takes waiting requests in batches as
`lanner.running.scheduler` does. The balancer chooses the pod with the fewest open requests. The
autoscaler reads the busy share of each pod over the last seconds.
"""

import heapq
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanner_perf.elastic.autoscaler import Autoscaler, Scaling
from lanner_perf.elastic.load_curve import LoadCurve
from lanner_perf.elastic.service_time import ServiceTime


@dataclass(frozen=True)
class PodKind:
    """The facts of a pod.

    Attributes:
        cores: The cores, each of which runs a batch at a time.
        times: The time of batches.
        most_tokens: The most tokens that wait; a request beyond them is refused.
        start_s: Seconds from the decision to the first answer.
    """

    times: ServiceTime
    cores: int = 1
    most_tokens: int = 200_000
    start_s: float = 10.0


@dataclass(frozen=True)
class Observation:
    """The way in which the autoscaler sees the pods.

    Attributes:
        window_s: Seconds over which the busy share is averaged.
        delay_s: The age of what it sees.
    """

    window_s: float = 30.0
    delay_s: float = 5.0


#: What an autoscaler of a cluster usually sees.
USUAL = Observation()


@dataclass(frozen=True)
class LostZone:
    """A zone that fails.

    Attributes:
        at_s: When it fails.
        zones: The number of zones; every so-many-th pod is in it.
    """

    at_s: float
    zones: int = 3


@dataclass(eq=False)
class _Pod:
    number: int
    ready_s: float
    kind: PodKind
    waiting: "deque[tuple[float, float]]" = field(default_factory=deque)
    waiting_tokens: float = 0.0
    running: int = 0
    running_tokens: float = 0.0
    open: int = 0
    is_ending: bool = False
    is_lost: bool = False
    #: Starts and ends of batches, for the busy share.
    batches: "deque[tuple[float, float]]" = field(default_factory=deque)

    def take(self) -> list[tuple[float, float]]:
        """Return the next requests to run together."""
        enough = (self.waiting_tokens + self.running_tokens) / self.kind.cores
        taken: list[tuple[float, float]] = []
        tokens = 0.0
        while self.waiting and (not taken or tokens < enough):
            if taken and tokens + self.waiting[0][1] > self.kind.times.token_budget:
                break
            taken.append(self.waiting.popleft())
            tokens += taken[-1][1]
        self.waiting_tokens -= tokens
        return taken

    def busy(self, from_s: float, to_s: float) -> float:
        """Return the busy share of the workers in a time."""
        while self.batches and self.batches[0][1] < from_s:
            self.batches.popleft()
        spent_s = sum(
            min(end, to_s) - max(start, from_s) for start, end in self.batches if start < to_s
        )
        return spent_s / max(to_s - max(from_s, self.ready_s), 1e-9) / self.kind.cores


@dataclass
class Outcome:
    """The outcome of a simulation or a replay.

    Attributes:
        arrived_s: The arrival of each answered request, float64 [n].
        latency_ms: Its latency, float64 [n].
        refused_s: The arrivals of refused requests.
        lost: The number of requests that were lost.
        pods: Times and the number of ready pods from then on.
        asked: Times and the number of pods that were asked for from then on.
        seconds: The length.
    """

    arrived_s: NDArray[Any]
    latency_ms: NDArray[Any]
    refused_s: Sequence[float]
    lost: int
    pods: Sequence[tuple[float, int]]
    asked: Sequence[tuple[float, int]]
    seconds: float

    def p99_ms(self, every_s: float) -> list[float]:
        """Return the p99 of the requests that arrived in each interval; NaN without any."""
        edges = np.arange(0.0, self.seconds + 1e-9, every_s)
        return [
            float(np.percentile(found, 99))
            if (found := self._between(low, low + every_s)).size
            else float("nan")
            for low in edges[:-1]
        ]

    def _between(self, low: float, high: float) -> NDArray[Any]:
        found: NDArray[Any] = self.latency_ms[(self.arrived_s >= low) & (self.arrived_s < high)]
        return found

    @property
    def pod_seconds(self) -> float:
        """The time of all pods that were asked for, added up."""
        return area(self.asked, self.seconds)

    def turns(self, within_s: float) -> int:
        """Return the most changes of direction within a time."""
        changes = [
            (at_s, after > before)
            for (_, before), (at_s, after) in pairwise(self.asked)
            if after != before
        ]
        turned = [at_s for (_, was_up), (at_s, is_up) in pairwise(changes) if was_up != is_up]
        return max(
            (sum(at_s <= one < at_s + within_s for one in turned) for at_s in turned), default=0
        )


def area(steps: Sequence[tuple[float, int]], seconds: float) -> float:
    """Return the integral of a step function until a time."""
    ends = [at_s for at_s, _ in steps[1:]] + [seconds]
    return sum(
        (min(end, seconds) - at_s) * number
        for (at_s, number), end in zip(steps, ends, strict=True)
        if at_s < seconds
    )


class Simulation:
    """One run over a load curve.

    Args:
        kind: The pods.
        scaling: The autoscaler's values; None keeps the first number of pods.
        pods: The number of pods at the start, all ready.
        observation: What the autoscaler sees.
        lost_zone: A failure, or None.
    """

    def __init__(
        self,
        kind: PodKind,
        scaling: Scaling | None = None,
        *,
        pods: int = 1,
        observation: Observation = USUAL,
        lost_zone: LostZone | None = None,
    ) -> None:
        self.kind, self.scaling, self.observation = kind, scaling, observation
        self.lost_zone = lost_zone
        self._numbers = count()
        self._asked = pods
        self._pods = [_Pod(next(self._numbers), 0.0, kind) for _ in range(pods)]
        self._events: list[tuple[float, int, str, Any]] = []
        self._order = count()
        self._done: list[tuple[float, float]] = []
        self._refused: list[float] = []
        self._lost = 0

    def run(self, curve: LoadCurve, lengths: Sequence[float], seed: int = 1) -> Outcome:
        """Run the curve.

        Args:
            curve: The load.
            lengths: Numbers of tokens, of which each request has one at random.
            seed: The seed of arrivals and lengths.
        """
        generator = np.random.default_rng(seed)
        arrivals = curve.arrivals_s(generator)
        tokens = generator.choice(np.asarray(lengths, np.float64), len(arrivals))
        self._ready = [(0.0, len(self._pods))]
        asked = [(0.0, self._asked)]
        autoscaler = None if self.scaling is None else Autoscaler(self.scaling)
        if self.scaling is not None:
            self._at(self.scaling.sync_s, "decide", None)
        if self.lost_zone is not None:
            self._at(self.lost_zone.at_s, "lose", self.lost_zone.zones)
        upcoming = 0
        while upcoming < len(arrivals) or self._events:
            if upcoming < len(arrivals) and (
                not self._events or arrivals[upcoming] <= self._events[0][0]
            ):
                self._arrive(float(arrivals[upcoming]), float(tokens[upcoming]))
                upcoming += 1
                continue
            now_s, _, what, about = heapq.heappop(self._events)
            if what == "done":
                self._finish(now_s, *about)
            elif what == "ready":
                self._note(now_s)
            elif what == "lose":
                self._lose(now_s, about)
            elif what == "decide" and now_s <= curve.seconds and autoscaler is not None:
                self._asked = autoscaler.decide(now_s, self._asked, self._metrics(now_s))
                if self._asked != asked[-1][1]:
                    asked.append((now_s, self._asked))
                self._follow(now_s)
                self._at(now_s + autoscaler.scaling.sync_s, "decide", None)
        done = np.array(self._done or np.zeros((0, 2)), np.float64)
        return Outcome(
            done[:, 0], done[:, 1], self._refused, self._lost, self._ready, asked, curve.seconds
        )

    def _at(self, at_s: float, what: str, about: Any) -> None:
        heapq.heappush(self._events, (at_s, next(self._order), what, about))

    def _is_open(self, pod: _Pod, now_s: float) -> bool:
        return not pod.is_ending and not pod.is_lost and pod.ready_s <= now_s

    def _arrive(self, now_s: float, tokens: float) -> None:
        pods = [one for one in self._pods if self._is_open(one, now_s)]
        if not pods:
            self._lost += 1
            return
        pod = min(pods, key=lambda one: one.open)
        if pod.waiting and pod.waiting_tokens + tokens > self.kind.most_tokens:
            self._refused.append(now_s)
            return
        # The balancer turns: of equals the one that was chosen longest ago is next.
        self._pods.remove(pod)
        self._pods.append(pod)
        pod.open += 1
        pod.waiting.append((now_s, tokens))
        pod.waiting_tokens += tokens
        self._begin(now_s, pod)

    def _begin(self, now_s: float, pod: _Pod) -> None:
        while pod.running < self.kind.cores and pod.waiting:
            taken = pod.take()
            spent_s = self.kind.times.of_batch([tokens for _, tokens in taken]) / 1e3
            pod.running += 1
            pod.running_tokens += sum(tokens for _, tokens in taken)
            pod.batches.append((now_s, now_s + spent_s))
            self._at(now_s + spent_s, "done", (pod, taken))

    def _finish(self, now_s: float, pod: _Pod, taken: list[tuple[float, float]]) -> None:
        if pod.is_lost:
            return
        pod.running -= 1
        pod.open -= len(taken)
        for at_s, tokens in taken:
            pod.running_tokens -= tokens
            self._done.append((at_s, (now_s - at_s) * 1e3))
        self._begin(now_s, pod)
        if pod.is_ending and not pod.open:
            self._pods.remove(pod)

    def _metrics(self, now_s: float) -> Mapping[str, float | None]:
        to_s = now_s - self.observation.delay_s
        from_s = to_s - self.observation.window_s
        return {
            str(one.number): one.busy(from_s, to_s) if one.ready_s < to_s else None
            for one in self._pods
            if not one.is_ending and not one.is_lost
        }

    def _follow(self, now_s: float) -> None:
        """Start or end pods until there are as many as were asked for."""
        alive = [one for one in self._pods if not one.is_ending and not one.is_lost]
        for _ in range(self._asked - len(alive)):
            pod = _Pod(next(self._numbers), now_s + self.kind.start_s, self.kind)
            self._pods.append(pod)
            self._at(pod.ready_s, "ready", None)
        # As Kubernetes: first those that are not ready, then the youngest.
        youngest = sorted(alive, key=lambda one: (one.ready_s <= now_s, -one.ready_s, -one.number))
        for pod in youngest[: max(0, len(alive) - self._asked)]:
            pod.is_ending = True
            if not pod.open:
                self._pods.remove(pod)
        self._note(now_s)

    def _lose(self, now_s: float, zones: int) -> None:
        for pod in [one for one in self._pods if one.number % zones == 0]:
            pod.is_lost = True
            self._lost += pod.open
            self._pods.remove(pod)
        self._follow(now_s)

    def _note(self, now_s: float) -> None:
        ready = sum(self._is_open(one, now_s) for one in self._pods)
        if ready != self._ready[-1][1]:
            self._ready.append((now_s, ready))

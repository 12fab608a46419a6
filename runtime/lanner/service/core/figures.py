"""The counts of a service, in the text format of Prometheus."""

import asyncio
import os
from bisect import bisect_left
from collections import defaultdict

from lanner.service.core.exchange import Request
from lanner.service.core.queue import TokenQueue
from lanner.service.core.snapshots import Labels, Snapshot, Snapshots, total

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
#: Seconds between two snapshots for the other workers.
_SHARED_S = 1.0


class Figures:
    """Counts of requests, texts, tokens and times. For one event loop.

    Args:
        snapshots: The counts of all workers; None for a service of one.
    """

    def __init__(self, snapshots: Snapshots | None = None) -> None:
        self._snapshots = snapshots
        self.in_flight = 0
        self._counts: dict[str, dict[Labels, float]] = defaultdict(lambda: defaultdict(float))
        self._durations: dict[str, list[float]] = {}

    def note(self, request: Request, status: int, duration_s: float) -> None:
        """Count a request that was answered."""
        model = ("model", request.model)
        counts = self._counts
        counts["requests"][(("route", request.route), model, ("status", str(status)))] += 1
        if request.texts:
            counts["texts"][(model,)] += request.texts
            counts["tokens"][(model,)] += request.tokens
        if request.cut:
            counts["truncated_texts"][(model,)] += len(request.cut)
        for kind, number in request.masked.items():
            counts["masked"][(("kind", kind),)] += number
        for part, spent_ms in request.parts_ms.items():
            counts["part_seconds"][(("part", part), model)] += spent_ms / 1e3
        found = self._durations.get(request.route)
        if found is None:
            found = self._durations[request.route] = [0.0] * (len(_BUCKETS_S) + 2)
        found[bisect_left(_BUCKETS_S, duration_s)] += 1
        found[-1] += duration_s

    def text(self, queue: TokenQueue) -> str:
        """Return all counts as text, those of all workers together.

        Args:
            queue: The queue, whose state is a gauge.
        """
        own = self._snapshot(queue)
        if self._snapshots is None:
            return _text(total([own]))
        self._snapshots.write(own)
        return _text(total(self._snapshots.read()))

    async def share(self, queue: TokenQueue) -> None:
        """Write the counts for the other workers, every second until the task is cancelled."""
        if self._snapshots is None:
            return
        try:
            while True:
                self._snapshots.write(self._snapshot(queue))
                await asyncio.sleep(_SHARED_S)
        finally:
            self._snapshots.write(self._snapshot(queue))

    def _snapshot(self, queue: TokenQueue) -> Snapshot:
        counts = [
            (name, labels, value)
            for name, found in self._counts.items()
            for labels, value in found.items()
        ]
        gauges = {
            "queue_tokens": queue.tokens,
            "queue_tokens_limit": queue.most_tokens,
            "requests_in_flight": self.in_flight,
        }
        return Snapshot(os.getpid(), counts, self._durations, {**gauges})


def _text(snapshot: Snapshot) -> str:
    lines = []
    for name, described in _COUNTERS.items():
        lines += [
            f"# HELP lanner_{name}_total {described}",
            f"# TYPE lanner_{name}_total counter",
        ]
        of_name = sorted(one[1:] for one in snapshot.counts if one[0] == name)
        lines += [
            f"lanner_{name}_total{_labels(labels)} {_number(value)}" for labels, value in of_name
        ]
    for name, described in _GAUGES.items():
        lines += [f"# HELP lanner_{name} {described}", f"# TYPE lanner_{name} gauge"]
        lines.append(f"lanner_{name} {_number(snapshot.gauges[name])}")
    return "\n".join([*lines, *_histogram(snapshot.durations)]) + "\n"


def _histogram(durations: dict[str, list[float]]) -> list[str]:
    name = "lanner_request_duration_seconds"
    lines = [
        f"# HELP {name} Time from a request's head to its answer.",
        f"# TYPE {name} histogram",
    ]
    for route, found in sorted(durations.items()):
        count = 0.0
        for limit, more in zip((*map(str, _BUCKETS_S), "+Inf"), found[:-1], strict=True):
            count += more
            labels = _labels((("route", route), ("le", limit)))
            lines.append(f"{name}_bucket{labels} {_number(count)}")
        labels = _labels((("route", route),))
        lines += [f"{name}_sum{labels} {found[-1]:.6f}", f"{name}_count{labels} {_number(count)}"]
    return lines


_GAUGES = {
    "queue_tokens": "Tokens that were admitted and are not answered yet.",
    "queue_tokens_limit": "The most tokens that may wait.",
    "requests_in_flight": "Requests that are being answered.",
}
_COUNTERS = {
    "requests": "Requests that were answered, by their status.",
    "texts": "Texts and pairs that were answered.",
    "tokens": "Tokens that were run.",
    "truncated_texts": "Texts that were cut to the model's limit.",
    "masked": "Personal data that was masked.",
    "part_seconds": "Seconds spent in each part of the work.",
}


def _labels(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels) + "}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.6f}"

"""The counts of a service, as Prometheus reads them."""

import asyncio
from bisect import bisect_left
from collections.abc import Callable

from lanner._version import __version__
from lanner.monitoring.models import Models
from lanner.monitoring.record import Record, Series, empty, summed
from lanner.service.core.exchange import Request
from lanner.service.metrics import families
from lanner.service.metrics.process import write_process
from lanner.service.metrics.snapshots import Snapshots

#: Seconds between two snapshots for the other workers.
_SHARED_S = 1.0
_OTHER = "other"

_FROM_ZERO = (families.TEXTS, families.TOKENS, families.TRUNCATED, families.MASKED_TEXTS)

#: Writes values into a record: gauges, as they are at that moment.
Source = Callable[[Record], None]


class Figures:
    """Counts of requests, texts, tokens and times. For one event loop.

    Args:
        snapshots: The counts of all workers; None for a service of one.

    Attributes:
        models: The models of the service.
        sources: Further sources of values.
        in_flight: The number of requests that are being answered.
    """

    def __init__(self, snapshots: Snapshots | None = None) -> None:
        self._snapshots = snapshots
        self.models = Models()
        self.sources: list[Source] = []
        self.in_flight = 0
        self._record = Record()
        #: By model, the histograms of `_record` for each part: the keys there are slow to make.
        self._parts: dict[str, dict[str, list[float]]] = {}
        self._keys: set[str] = set()

    def note(self, request: Request, status: int, duration_s: float) -> None:
        """Count a request that was answered."""
        model = request.model
        key = "" if request.key is None else self._key(request.key.name)
        add = self._add
        add((families.REQUESTS.name, (request.route, model, key, str(status))), 1)
        if request.texts:
            add((families.TEXTS.name, (model,)), request.texts)
            add((families.TOKENS.name, (model,)), request.tokens)
        if request.cut:
            add((families.TRUNCATED.name, (model,)), len(request.cut))
        if request.masked:
            add((families.MASKED_TEXTS.name, (model,)), request.masked_texts)
            for kind, number in request.masked.items():
                add((families.MASKED.name, (kind,)), number)
        self._record.observe(families.REQUEST_SECONDS, duration_s, request.route)
        parts, limits = self._parts.get(model), families.PART_SECONDS.limits
        if parts is None:
            parts = self._parts[model] = {}
        for part, spent_ms in request.parts_ms.items():
            # As `Record.observe`, without a call for each of the parts.
            one = parts.get(part)
            if one is None:
                one = parts[part] = empty(families.PART_SECONDS)
                self._record.distributions[families.PART_SECONDS.name, (part, model)] = one
            spent_s = spent_ms * 1e-3
            one[bisect_left(limits, spent_s)] += 1
            one[-1] += spent_s

    def note_refusal(self, reason: str) -> None:
        """Count a refusal.

        Args:
            reason: A word of a closed list.
        """
        self._add((families.REFUSALS.name, (reason,)), 1)

    def _add(self, series: Series, number: float) -> None:
        counts = self._record.counts
        counts[series] = counts.get(series, 0.0) + number

    def _key(self, name: str) -> str:
        if name not in self._keys:
            if len(self._keys) >= families.MOST_KEY_NAMES:
                return _OTHER
            self._keys.add(name)
        return name

    def record(self) -> Record:
        """Return all counts, those of all workers together."""
        own = self._now()
        if self._snapshots is None:
            return own
        self._snapshots.write(own)
        return summed(self._snapshots.read(), families.FAMILIES)

    async def share(self) -> None:
        """Write the counts for the other workers, every second until the task is cancelled."""
        if self._snapshots is None:
            return
        try:
            while True:
                self._snapshots.write(self._now())
                await asyncio.sleep(_SHARED_S)
        finally:
            self._snapshots.write(self._now())

    def _now(self) -> Record:
        """Return the counts and gauges of this process."""
        counted = self._record
        record = Record(dict(counted.counts), dict(counted.distributions))
        record.set(families.IN_FLIGHT, self.in_flight)
        record.set(families.WORKERS, 1)
        record.set(families.BUILD_INFO, 1, __version__)
        self.models.write(record)
        for name in self.models.names():
            for family in _FROM_ZERO:  # a rate needs the value before the first request
                record.counts.setdefault((family.name, (name,)), 0.0)
        write_process(record)
        for write in self.sources:
            write(record)
        return record

"""The values of metrics at a moment, and their sum over processes."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field

from lanner.monitoring.families import Family

#: The name of a family, and the values of its labels.
Series = tuple[str, tuple[str, ...]]


@dataclass
class Record:
    """The values of metrics.

    Attributes:
        counts: The counters.
        distributions: The histograms: the number of values in each bucket (not of those below it),
            that of larger values, and the sum of all values.
        gauges: The gauges.
    """

    counts: dict[Series, float] = field(default_factory=dict)
    distributions: dict[Series, list[float]] = field(default_factory=dict)
    gauges: dict[Series, float] = field(default_factory=dict)

    def add(self, family: Family, number: float, *labels: str) -> None:
        """Add a number to a counter."""
        series = (family.name, labels)
        self.counts[series] = self.counts.get(series, 0.0) + number

    def observe(self, family: Family, value: float, *labels: str) -> None:
        """Add a value to a histogram."""
        series = (family.name, labels)
        found = self.distributions.get(series)
        if found is None:
            found = self.distributions[series] = empty(family)
        put(found, family.limits, value)

    def set(self, family: Family, value: float, *labels: str) -> None:
        """Set a gauge; several values of one series in this process are merged."""
        _merge(self.gauges, (family.name, labels), value, family.merge)


def empty(family: Family) -> list[float]:
    """Return a histogram without values."""
    return [0.0] * (len(family.limits) + 2)


def put(distribution: list[float], limits: tuple[float, ...], value: float) -> None:
    """Add a value to a histogram."""
    distribution[bisect_left(limits, value)] += 1
    distribution[-1] += value


def summed(records: Iterable[tuple[Record, bool]], families: Iterable[Family]) -> Record:
    """Return the sum of records of several processes.

    Args:
        records: The records, each with whether its process is alive: the counts of a process that
            has ended stay, its gauges do not.
        families: The families; other series are left out.
    """
    merges = {family.name: family.merge for family in families}
    total = Record()
    for record, is_alive in records:
        for series, count in record.counts.items():
            if series[0] in merges:
                total.counts[series] = total.counts.get(series, 0.0) + count
        for series, found in record.distributions.items():
            if series[0] in merges:
                before = total.distributions.get(series, [0.0] * len(found))
                total.distributions[series] = [a + b for a, b in zip(before, found, strict=True)]
        for series, value in record.gauges.items() if is_alive else ():
            if series[0] in merges:
                _merge(total.gauges, series, value, merges[series[0]])
    return total


def _merge(gauges: dict[Series, float], series: Series, value: float, merge: str) -> None:
    before = gauges.get(series)
    if before is None:
        gauges[series] = value
    elif merge == "sum":
        gauges[series] = before + value
    else:
        gauges[series] = min(before, value) if merge == "least" else max(before, value)

"""Metrics as text in the format of Prometheus, and as objects of prometheus-client.

The text is written here: prometheus-client takes about 12 microseconds for a line, and a service
with 50 models has 7,000.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from lanner.errors import MissingExtraError
from lanner.monitoring.families import Family
from lanner.monitoring.record import Record

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

#: The media type of the text.
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Sample(NamedTuple):
    """One value.

    Attributes:
        name: The name of the family, or of a part of a histogram.
        labels: The labels.
        value: The value.
    """

    name: str
    labels: Mapping[str, str]
    value: float


def text(record: Record, families: Iterable[Family]) -> str:
    """Return a record as text; families without series have their description alone."""
    series = _by_family(record)
    lines: list[str] = []
    for family in families:
        name = family.name
        lines.append(f"# HELP {name} {_escaped_help(family.meaning)}")
        lines.append(f"# TYPE {name} {family.kind}")
        if family.kind != "histogram":
            for labels, value in series[name]:
                written = _written(family.labels, labels)
                lines.append(
                    f"{name}{{{written}}} {_number(value)}"
                    if written
                    else f"{name} {_number(value)}"
                )
            continue
        limits = _limits(family.limits)
        for labels, found in sorted(_distributions(record, name)):
            written = _written(family.labels, labels)
            before = f'{name}_bucket{{{written}{"," if written else ""}le="'
            count = 0
            for limit, more in zip(limits, found, strict=False):
                count += int(more)
                lines.append(f'{before}{limit}"}} {count}')
            after = f"{{{written}}}" if written else ""
            lines.append(f"{name}_sum{after} {_number(found[-1])}")
            lines.append(f"{name}_count{after} {count}")
    return "\n".join(lines) + "\n"


def samples(record: Record, families: Iterable[Family]) -> Iterator[tuple[Family, list[Sample]]]:
    """Yield the samples of each family, those of a histogram with its buckets."""
    series = _by_family(record)
    for family in families:
        name, found = family.name, list[Sample]()
        if family.kind != "histogram":
            found += [
                Sample(name, dict(zip(family.labels, labels, strict=True)), value)
                for labels, value in series[name]
            ]
        for labels, distribution in sorted(_distributions(record, name)):
            named = dict(zip(family.labels, labels, strict=True))
            count = 0.0
            for limit, more in zip(_limits(family.limits), distribution, strict=False):
                count += more
                found.append(Sample(f"{name}_bucket", {**named, "le": limit}, count))
            found.append(Sample(f"{name}_sum", named, distribution[-1]))
            found.append(Sample(f"{name}_count", named, count))
        yield family, found


def client_metrics(record: Record, families: Iterable[Family]) -> "Iterator[Metric]":
    """Yield a record as objects of prometheus-client.

    Raises:
        MissingExtraError: prometheus-client is not installed.
    """
    try:
        from prometheus_client.metrics_core import Metric  # noqa: PLC0415 (an extra)
    except ImportError:
        what, extra, module = "a collector of prometheus-client", "metrics", "prometheus_client"
        raise MissingExtraError(what, extra, module) from None
    for family, found in samples(record, families):
        metric = Metric(family.name.removesuffix("_total"), family.meaning, family.kind)
        for sample in found:
            metric.add_sample(sample.name, dict(sample.labels), sample.value)
        yield metric


Values = tuple[str, ...]


def _by_family(record: Record) -> dict[str, list[tuple[Values, float]]]:
    """Return the counters and gauges by the name of their family, each sorted by its labels."""
    found: dict[str, list[tuple[Values, float]]] = defaultdict(list)
    for values in (record.counts, record.gauges):
        for (name, labels), value in values.items():
            found[name].append((labels, value))
    for one in found.values():
        one.sort()
    return found


def _distributions(record: Record, name: str) -> Iterator[tuple[Values, list[float]]]:
    for (family, labels), found in record.distributions.items():
        if family == name:
            yield labels, found


@lru_cache(maxsize=20_000)
def _written(names: Values, values: Values) -> str:
    return ",".join(
        f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)
    )


@lru_cache(maxsize=100)
def _limits(limits: tuple[float, ...]) -> list[str]:
    return [*map(_number, limits), "+Inf"]


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _escaped_help(meaning: str) -> str:
    return meaning.replace("\\", r"\\").replace("\n", r"\n")


def _number(value: float) -> str:
    if not math.isfinite(value):
        return {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, "NaN")
    return str(int(value)) if value == int(value) else repr(float(value))

"""The metrics of the models that a program has loaded."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lanner.monitoring import exposition
from lanner.monitoring.exposition import Sample
from lanner.monitoring.families import RUNTIME
from lanner.monitoring.models import LOADED
from lanner.monitoring.record import Record

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


class Metrics:
    """The metrics of all models of this process, as they are at the moment of each call."""

    def samples(self) -> list[Sample]:
        """Return all values: name, labels and value of each.

        A histogram has `NAME_bucket` for each upper limit `le` (the number of values up to it),
        `NAME_sum` and `NAME_count`.
        """
        return [one for _, found in exposition.samples(_record(), RUNTIME) for one in found]

    def text(self) -> str:
        """Return all values in the text format of Prometheus."""
        return exposition.text(_record(), RUNTIME)

    def collect(self) -> "Iterator[Metric]":
        """Yield all values for prometheus-client, whose registry takes this object as a collector.

        Raises:
            MissingExtraError: prometheus-client is not installed (the extra `metrics`).
        """
        return exposition.client_metrics(_record(), RUNTIME)


def metrics() -> Metrics:
    """Return the metrics of the models of this process, for a program with metrics of its own.

    Register the result with prometheus-client, or write its `text` into an answer of your own:

        prometheus_client.REGISTRY.register(lanner.metrics())

    The label `model` is the name of the artifact. Models of one name are added up.
    """
    return Metrics()


def _record() -> Record:
    record = Record()
    LOADED.write(record)
    return record

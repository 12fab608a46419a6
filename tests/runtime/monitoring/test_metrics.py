"""`lanner.metrics()`: the batches of the models of this process, read by prometheus-client."""

import gc
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="needs the export extra to write a graph")

from tests.support.word_artifact import write_word_artifact

import lanner
from lanner.errors import EngineError
from lanner.monitoring import exposition
from lanner.monitoring.families import (
    BATCH_SECONDS,
    BATCH_TEXTS,
    BATCH_TOKENS,
    BUSY_SECONDS,
    RUNTIME,
    Family,
)
from lanner.monitoring.models import RunFigures
from lanner.monitoring.record import Record, summed

Value = Callable[..., float]


@pytest.fixture
def value() -> Value:
    """Return a function that looks up a value by name and labels."""

    def look(name: str, **labels: str) -> float:
        found = [
            one.value
            for one in lanner.metrics().samples()
            if one.name == name and labels.items() <= one.labels.items()
        ]
        return found[0] if found else 0.0

    return look


def test_batches_of_a_model_are_counted(tmp_path: Path, value: Value) -> None:
    write_word_artifact(tmp_path / "counted.lanner")
    model = lanner.load(tmp_path / "counted.lanner", threads=1)
    name = model.manifest.name
    texts, tokens = (
        value("lanner_batch_texts_sum", model=name),
        value("lanner_batch_tokens_sum", model=name),
    )
    batches = value("lanner_batch_texts_count", model=name)
    model.encode(["a b", "b a"])  # one length, so one batch
    assert value("lanner_batch_texts_sum", model=name) - texts == 2
    assert value("lanner_batch_texts_count", model=name) - batches == 1
    assert value("lanner_batch_tokens_sum", model=name) - tokens == 4
    assert value("lanner_batch_texts_bucket", model=name, le="1") <= batches
    assert value("lanner_batch_duration_seconds_sum", model=name) > 0
    assert 0 < value("lanner_model_load_seconds", model=name) < 60
    labels = {"head": "embed", "variant": model.variant.name, "engine": model.runner.engine.name}
    digest = model.manifest.files[model.variant.file].sha256[:12]
    assert value("lanner_model_info", model=name, sha256=digest, **labels) == 1
    model.close()


def test_every_batch_of_many_threads_is_counted_once() -> None:
    figures = RunFigures()

    def note() -> None:
        for _ in range(1_000):
            figures.note(2, 48, 0.25, 3)

    threads = [threading.Thread(target=note) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    record = Record()
    figures.write(record, "m")
    figures.write(record, "n")  # reading counts nothing twice
    for model in ("m", "n"):
        for family, each in ((BATCH_TEXTS, 2), (BATCH_TOKENS, 48), (BATCH_SECONDS, 0.25)):
            found = record.distributions[family.name, (model,)]
            assert sum(found[:-1]) == 4_000
            assert found[-1] == 4_000 * each
        assert record.counts[BUSY_SECONDS.name, (model,)] == 4_000 * 0.75


def test_counts_stay_and_states_go_when_a_model_ends(tmp_path: Path, value: Value) -> None:
    write_word_artifact(tmp_path / "gone.lanner")
    model = lanner.load(tmp_path / "gone.lanner", threads=1)
    name = model.manifest.name
    before = value("lanner_model_workers", model=name)
    model.encode("a")
    counted = value("lanner_batch_texts_count", model=name)
    del model
    gc.collect()
    assert value("lanner_batch_texts_count", model=name) == counted
    assert value("lanner_model_workers", model=name) == before - 1


def test_waiting_calls_and_failures_are_seen(tmp_path: Path, value: Value) -> None:
    write_word_artifact(tmp_path / "held.lanner")
    model = lanner.load(tmp_path / "held.lanner", threads=1)
    name = model.manifest.name
    begun, may_go = threading.Event(), threading.Event()
    failures = value("lanner_batch_failures_total", model=name)

    class Held:
        name, run_tokens = "held", 0

        def run(self, *_: object, **__: object) -> None:
            begun.set()
            assert may_go.wait(20)
            msg = "it fails"
            raise EngineError(msg)

    model.runner.engine = Held()  # type: ignore[assignment]
    errors: list[BaseException] = []

    def call() -> None:
        try:
            model.encode("a")
        except EngineError as error:
            errors.append(error)

    threads = [threading.Thread(target=call) for _ in range(2)]
    threads[0].start()
    assert begun.wait(20)
    threads[1].start()
    while not value("lanner_model_waiting_calls", model=name):
        pass
    first = value("lanner_model_oldest_waiting_seconds", model=name)
    while not value("lanner_model_oldest_waiting_seconds", model=name) > first > 0:
        first = first or value("lanner_model_oldest_waiting_seconds", model=name)
    assert value("lanner_model_workers_busy", model=name) == 1
    may_go.set()
    for thread in threads:
        thread.join()
    assert len(errors) == 2
    assert value("lanner_batch_failures_total", model=name) - failures == 2
    assert value("lanner_model_oldest_waiting_seconds", model=name) == 0


def test_prometheus_client_reads_the_text_and_takes_the_collector(word_artifact: Path) -> None:
    client = pytest.importorskip("prometheus_client", reason="needs the extra 'metrics'")
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415

    gc.collect()  # models of other tests end now, not between the two readings
    model = lanner.load(word_artifact)
    model.encode(["a", "b"])
    metrics = lanner.metrics()
    registry = client.CollectorRegistry()
    registry.register(metrics)

    def read(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    ours = read(metrics.text())
    assert ours == read(client.generate_latest(registry).decode())
    assert len(ours) == len(metrics.samples()) > 20


def test_text_is_escaped() -> None:
    parser = pytest.importorskip("prometheus_client.parser", reason="needs the extra 'metrics'")
    family = Family("odd_total", "counter", 'a "meaning" \\ and\nmore', ("model",))
    record = Record()
    record.add(family, 2.5, 'a"b\\c\nd')
    (read,) = parser.text_string_to_metric_families(exposition.text(record, [family]))
    assert read.samples[0].labels == {"model": 'a"b\\c\nd'}
    assert read.samples[0].value == 2.5
    assert read.documentation == 'a "meaning" \\ and\nmore'


def test_records_of_processes_are_merged_by_their_families() -> None:
    # Worked out by hand: counts of the dead stay, gauges of the dead go.
    count = Family("count_total", "counter", "")
    spread = Family("spread", "histogram", "", limits=(1, 2))
    total, most, least = (
        Family(name, "gauge", "", merge=merge)  # type: ignore[arg-type]
        for name, merge in (("total", "sum"), ("most", "most"), ("least", "least"))
    )
    records = []
    for number in (1, 5, 100):
        record = Record()
        record.add(count, number)
        record.observe(spread, number)
        for family in (total, most, least):
            record.set(family, number)
        records.append((record, number < 100))
    merged = summed(records, (count, spread, total, most, least))
    assert merged.counts == {("count_total", ()): 106}
    assert merged.distributions == {("spread", ()): [1, 0, 2, 106]}
    assert merged.gauges == {("total", ()): 6, ("most", ()): 5, ("least", ()): 1}
    assert 'spread_bucket{le="2"} 1\nspread_bucket{le="+Inf"} 3\n' in exposition.text(
        merged, [spread]
    )


def test_names_of_metrics_are_those_of_prometheus() -> None:
    for family in RUNTIME:
        assert family.name.startswith("lanner_")
        assert (family.kind == "counter") == family.name.endswith("_total")

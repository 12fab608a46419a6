"""The measurement of jobs on a cluster of Ray."""

from pathlib import Path

import pytest

pytest.importorskip("lanner_perf", reason="needs lanner-bench")
pytest.importorskip("psutil", reason="needs lanner-bench")
pytest.importorskip("pyarrow", reason="needs the extra 'distributed'")
import pyarrow.parquet as pq

from lanner_perf.subjects.plain_workers import Written
from lanner_perf.subjects.watched import Sample, Watched
from lanner_perf.tools.distributed import Timing, is_worker, ratios, write_texts


def test_rates_are_those_of_the_files() -> None:
    # 10 rows before the first file was there, then 40 rows in 4 s.
    written = [Written(104.0, 20), Written(100.0, 10), Written(101.0, 20)]
    watch = Watched({7: [Sample(99.0, 1.0, 3.0), Sample(103.0, 3.0, 4.0)]}, {8: []})
    found = Timing.of(written, 10.0, watch, 1)
    assert (found.rows, found.rows_per_s, found.steady_rows_per_s) == (50, 5, 10)
    assert (found.worker_ms_per_row, found.other_ms_per_row) == (50, 0)
    assert (found.memory_mb, found.peak_mb) == ({}, 4)
    # On two cores two files may be there at once.
    assert Timing.of(written, 10.0, watch, 2).steady_rows_per_s == pytest.approx(20 / 3)
    alone = Timing.of([Written(1.0, 5)], 2.0, watch, 2)
    assert (alone.steady_rows_per_s, alone.worker_ms_per_row) == (None, None)


def test_workers_are_known_by_their_names() -> None:
    assert is_worker("local", ["python", "-m", "lanner", "encode", "minilm.lanner"])
    assert not is_worker("ray", ["python", "-m", "lanner", "encode", "minilm.lanner"])
    assert is_worker("ray", ["ray::_encode"])
    assert is_worker("plain", ["ray::MapWorker(MapBatches(Plain)).submit"])
    assert not is_worker("plain", ["ray::IDLE"])
    assert not is_worker("plain", [])


def test_ratios_are_medians_of_rounds() -> None:
    def timing(rate: float, steady: float | None) -> Timing:
        return Timing(100, 100 / rate, rate, steady, None, None, {}, 0)

    rounds = [
        {"ray": timing(10, 12), "plain": timing(5, 4)},
        {"ray": timing(9, 12), "plain": timing(9, None)},
        {"ray": timing(12, 12), "plain": timing(4, 3)},
    ]
    assert ratios(rounds) == {"plain": {"whole": 2, "steady": 3.5}}
    assert ratios([{"local": timing(1, 1)}]) == {}


def test_texts_are_the_same_each_time(tmp_path: Path) -> None:
    sentences = ["one two three", "four five"]
    for name in ("first", "second"):
        write_texts(tmp_path / name, sentences, rows=10, files=3)
    found = [pq.read_table(path) for path in sorted((tmp_path / "first").iterdir())]
    assert [one.num_rows for one in found] == [3, 3, 4]
    assert [row for one in found for row in one.column("id").to_pylist()] == list(range(10))
    texts = [text.split() for one in found for text in one.column("text").to_pylist()]
    assert {len(text) for text in texts} == {2, 3}
    assert {word for text in texts for word in text} <= {"one", "two", "three", "four", "five"}
    for one, path in zip(found, sorted((tmp_path / "second").iterdir()), strict=True):
        assert one == pq.read_table(path)

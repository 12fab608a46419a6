"""The measurement of jobs on a cluster of Ray."""

from pathlib import Path

import pytest

pytest.importorskip("lanner_perf", reason="needs lanner-bench")
pytest.importorskip("psutil", reason="needs lanner-bench")
pytest.importorskip("pyarrow", reason="needs the extra 'distributed'")
import pyarrow.parquet as pq

from lanner_perf.tools.distributed import Timing, Written, quarters, ratios, write_texts


def test_rates_are_those_of_the_files() -> None:
    # 10 rows before the first file was there, then 40 rows in 4 s.
    written = [Written(104.0, 20), Written(100.0, 10), Written(101.0, 20)]
    found = Timing.of(written, 10.0, {7: [1.0] * 8, 8: [2.0]})
    assert (found.rows, found.rows_per_s, found.steady_rows_per_s) == (50, 5, 10)
    assert found.memory_mb == {"7": [1, 1, 1, 1]}
    assert Timing.of([Written(1.0, 5)], 2.0, {}).steady_rows_per_s is None


def test_memory_is_shown_in_quarters() -> None:
    assert quarters([1, 3, 5, 7, 9, 11, 13, 15]) == [2, 6, 10, 14]
    assert quarters([1, 2, 3]) == []


def test_ratios_are_medians_of_rounds() -> None:
    def timing(rate: float, steady: float | None) -> Timing:
        return Timing(100, 100 / rate, rate, steady, {})

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

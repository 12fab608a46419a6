import os
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs lanner-bench")

from lanner_perf.floor.bandwidth import (
    last_cache_bytes,
    reading,
    stream_array_bytes,
    stream_loops,
)


def write_cpu(cpus: Path, core: int, shared_by: str) -> None:
    for index, (level, size) in enumerate([(1, "48K"), (1, "32K"), (2, "1024K"), (3, "32M")]):
        folder = cpus / f"cpu{core}" / "cache" / f"index{index}"
        folder.mkdir(parents=True)
        (folder / "level").write_text(f"{level}\n")
        (folder / "size").write_text(f"{size}\n")
        (folder / "shared_cpu_list").write_text(f"{shared_by if level == 3 else core}\n")


def test_each_last_cache_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 4, 5})
    for core, shared_by in ((0, "0-3"), (1, "0-3"), (4, "4-7"), (5, "4-7"), (6, "6")):
        write_cpu(tmp_path, core, shared_by)
    assert last_cache_bytes(tmp_path) == 2 * 32 * 1024**2


def test_a_machine_that_does_not_tell_its_caches(tmp_path: Path) -> None:
    assert last_cache_bytes(tmp_path) == 0


def test_arrays_are_four_times_the_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 12 * 1024**3 // 4096}
    monkeypatch.setattr(os, "sysconf", pages.get)
    assert stream_array_bytes(32 * 1024**2) == 128 * 1024**2
    assert stream_array_bytes(0) == 64 * 1024**2
    assert stream_array_bytes(1024**3) == 1024**3  # three of them are a quarter of memory


def test_the_loops_do_what_stream_says() -> None:
    loops = stream_loops(threads=2, array_bytes=4000)
    assert {name: (len(calls), amount) for name, (calls, amount) in loops.items()} == {
        "copy": (2, 2 * 2000.0),
        "triad": (2, 3 * 2000.0),
        "read": (2, 2000.0),
    }
    triad = loops["triad"][0][1]()
    assert triad.shape == (500,)  # type: ignore[attr-defined]
    assert set(triad.tolist()) == {1 + 3 * 1}  # type: ignore[attr-defined]
    assert set(loops["copy"][0][1]().tolist()) == {1}  # type: ignore[attr-defined]
    assert loops["read"][0][0]() == 500


def test_reading_reads_everything_once() -> None:
    calls, amount = reading(threads=2, read_bytes=4000)
    assert [float(call()) for call in calls] == [500, 500]  # type: ignore[arg-type]
    assert amount == 2000

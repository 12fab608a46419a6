"""Workers of Ray Data as a user writes them first."""

import time
from pathlib import Path

import pytest

pytest.importorskip("lanner_perf", reason="needs lanner-bench")
from lanner_perf.subjects.plain_workers import Diary


def test_workers_note_their_batches(tmp_path: Path) -> None:
    begin_s = time.time()
    diary = Diary(str(tmp_path))
    diary.note(256)
    diary.note(20)
    (tmp_path / "another").write_text("1.5 7\n", encoding="utf-8")
    found = sorted(Diary.read(tmp_path))
    assert [one.rows for one in found] == [7, 256, 20]
    assert found[0].at_s == 1.5
    assert begin_s <= found[1].at_s <= found[2].at_s <= time.time()

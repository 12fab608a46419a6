import json
from pathlib import Path

import numpy as np
import pytest

from lanner.files.row_files import open_rows
from lanner.files.rows import BadRow, Columns
from lanner.files.vectors import VECTOR_SUFFIXES
from lanner_perf.kill_resume import run_trial, write_rows

#: With more chunks than the default, so that a kill in a second finds some that are finished.
_PROGRAM = """\
import sys, lanner.files.bulk
from lanner.commands import main
lanner.files.bulk.CHUNK_ROWS = 50
sys.exit(main())
"""


def test_one_row_in_a_thousand_is_bad(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", 2_500)
    with open_rows(source, Columns(["text"], ["id", "extra"], ["id"])) as rows:
        items = list(rows)
    assert len(items) == 2_500
    assert [row for row, item in enumerate(items) if isinstance(item, BadRow)] == [7, 1_007, 2_007]
    texts = [json.loads(line)["text"] for line in source.read_text("utf-8").splitlines()[8:1_000]]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("suffix", VECTOR_SUFFIXES)
def test_killed_runs_go_on_to_the_same_bytes(
    word_artifact: Path, tmp_path: Path, suffix: str
) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="needs the parquet extra")
    source = write_rows(tmp_path / "rows.jsonl", 6_000)
    model = [str(word_artifact), "--variant", "fp32", "--threads", "2"]
    trial = run_trial(model, source, suffix, 2, np.random.default_rng(0), _PROGRAM)
    assert trial.kills == 2
    assert trial.outputs == trial.identical > 0

from pathlib import Path

import pytest

from lanner_export.graph.rewriting import PASSES
from lanner_perf.tools import passes


def test_a_table_says_what_leaving_a_pass_out_costs() -> None:
    shape_ms = {
        (passes.ALL, "fp32"): 10.0,
        (passes.ALL, "int8"): 4.0,
        ("one-mask", "fp32"): 10.5,
        ("one-mask", "int8"): 4.0,
        (passes.NONE, "fp32"): 9.0,
        (passes.NONE, "int8"): 5.0,
    }
    lines = passes.table("bert", dict.fromkeys(passes.SHAPES, shape_ms)).splitlines()
    assert lines[0].startswith("|  | fp32 1 x 16 | fp32 32 x 16 | fp32 4 x 128 | int8 1 x 16 |")
    assert lines[2] == "| all passes |" + " 10.00 ms |" * 3 + " 4.00 ms |" * 3
    assert lines[3] == "| without `one-mask` |" + " +5.0 % |" * 3 + " +0.0 % |" * 3
    assert lines[4] == "| no pass |" + " -10.0 % |" * 3 + " +25.0 % |" * 3


@pytest.mark.slow
def test_every_pass_is_measured(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "passes.md"
    command = ["passes", str(tiny_checkpoint), "--rounds", "1", "--output", str(output)]
    monkeypatch.setattr("sys.argv", command)
    monkeypatch.setattr(passes, "PASSES", PASSES[-2:])
    assert passes.main() == 0
    rows = [line for line in output.read_text().splitlines() if line.startswith("|")]
    names = [f"without `{item.name}`" for item in PASSES[-2:]]
    assert [row.split("|")[1].strip() for row in rows[2:]] == ["all passes", *names, "no pass"]

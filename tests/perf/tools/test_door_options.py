"""The measurement of the cost of options of the service."""

import json
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="needs the extra 'service'")

from lanner_perf.tools.door_options import compared, main


def test_a_service_without_the_options_is_measured_twice(
    word_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "options.json"
    counts = ["--calls", "40", "--callers", "4", "--rounds", "2"]
    main([str(word_artifact), "--options=--max-texts 8", "--output", str(output), *counts])
    found = json.loads(output.read_text())
    assert found["options"] == "--max-texts 8"
    assert set(found["compared"]) == {"with", "without_again"}
    for figures in ("cpu_ms", "requests_per_s"):
        assert set(found[figures]) == {"without", "with", "without_again"}
        assert min(found[figures].values()) > 0
    assert [len(turns) for turns in found["turns"].values()] == [2, 2, 2]
    assert '"compared"' in capsys.readouterr().out


def test_services_are_compared_within_a_round() -> None:
    # Rounds of 1, 2 and 4 ms: twice as much with the options, and three times in the last.
    turns = {
        "without": [(1.0, 100.0), (2.0, 50.0), (4.0, 25.0)],
        "with": [(2.0, 50.0), (4.0, 25.0), (12.0, 5.0)],
    }
    assert compared(turns, "with") == pytest.approx(
        {
            "more_cpu": 1.0,
            "more_cpu_lower_quartile": 1.0,
            "more_cpu_upper_quartile": 1.5,
            "more_requests_per_s": -0.5,
        }
    )

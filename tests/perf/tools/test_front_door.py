"""The measurement of the service beside the model in process."""

import json
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="needs the extra 'service'")

from lanner_perf.tools.front_door import main


def test_it_measures_both_and_compares(
    word_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(
        [
            str(word_artifact),
            "--output",
            str(tmp_path / "door.json"),
            "--calls",
            "32",
            "--rounds",
            "1",
        ]
    )
    found = json.loads((tmp_path / "door.json").read_text())
    for side in ("in_process", "service"):
        assert found[side]["one_text_p50_ms"] > 0
        for figures in ("callers_texts_per_s", "callers_cpu_ms"):
            assert set(found[side][figures]) == {"16", "64"}
            assert min(found[side][figures].values()) > 0
    assert set(found["service"]["client_cpu_ms"]) == {"16", "64"}
    assert len(found["rounds"]["service"]) == 1
    difference = found["service"]["one_text_p50_ms"] - found["in_process"]["one_text_p50_ms"]
    assert found["added_p50_ms"] == pytest.approx(difference)
    share = (
        found["service"]["large_call_texts_per_s"] / found["in_process"]["large_call_texts_per_s"]
    )
    assert found["large_call_share"] == pytest.approx(share)
    assert '"added_p50_ms"' in capsys.readouterr().out

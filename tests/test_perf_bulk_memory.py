"""That it is measured; what a real model takes for 100,000 texts is not a test's time."""

import json
from pathlib import Path

import pytest

from lanner.triton.server.installation import Installation
from lanner_perf import bulk_memory
from lanner_perf.bulk_memory import encode_file, main


def test_one_file(word_artifact: Path, tmp_path: Path) -> None:
    run = encode_file(str(word_artifact), 500, tmp_path)
    # 4 dimensions of float32; whatever else, it took Python, numpy and the vectors.
    assert (run.rows, run.vectors_mb) == (500, 500 * 4 * 4 / 1e6)
    assert run.peak_mb > 20
    assert run.seconds > 0
    texts = (tmp_path / "500.txt").read_text(encoding="utf-8").splitlines()
    assert len(set(texts)) == 500


def test_files_through_a_server(
    word_artifact: Path,
    tritonserver: Installation,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    options = [str(word_artifact), "--through", "grpc", "--rows", "100,200"]
    # Bounds beyond and below what it takes: nothing else in these runs differs.
    for bound, status in ((10, 0), (0.5, 1)):
        monkeypatch.setattr(bulk_memory, "MOST_GROWTH", bound)
        assert main(options) == status
        out, err = capfd.readouterr()
        found = json.loads(out)
        assert (found["through"], [run["rows"] for run in found["runs"]]) == ("grpc", [100, 200])
        verdict = "holds" if status == 0 else "does not hold"
        assert err.splitlines()[-1].endswith(f"x, at most {bound}x {verdict}")


def test_wrong_use_is_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["dir", "--rows", "100"])
    assert (
        capfd.readouterr()
        .err.splitlines()[-1]
        .endswith("argument --rows: must be two numbers of rows or more, not '100'")
    )
    assert main([str(tmp_path / "gone"), "--through", "process"]) == 1
    message = f"lanner_perf.bulk_memory: error: lanner encode failed (1): lanner: error: {tmp_path}"
    assert capfd.readouterr().err.startswith(message)

"""The tool runs and reports; its times are measured on a quiet machine."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("scipy", reason="needs lanner-bench")

from lanner_perf.subjects.resident import peak_resident_mb, resident_mb, restart_peak
from lanner_perf.tools import long_text

ROOT = Path(__file__).parents[3]


def test_the_peak_of_memory_counts_anew() -> None:
    large = bytearray(200_000_000)
    large[::4096] = b"x" * len(large[::4096])
    del large
    assert peak_resident_mb() > resident_mb() + 150
    restart_peak()
    assert peak_resident_mb() < resident_mb() + 20


def test_a_report(word_artifact: Path, tmp_path: Path) -> None:
    output = tmp_path / "long_text.json"
    arguments = [word_artifact, "--texts", 60, "--rounds", 1, "--callers", 3, "--output", output]
    command = [sys.executable, "-m", "lanner_perf.tools.long_text", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    report = json.loads(output.read_text())
    assert done.returncode == (0 if report["holds"] else 1)
    assert report["kinds"].keys() == long_text.KINDS.keys()
    for kind, found in report["kinds"].items():
        assert found["long_texts"] > 0, kind
        assert found["delay_ms"] == found["with_p99_ms"] - found["without_p99_ms"]
        line = (
            f"{kind}: p99 {found['without_p99_ms']:.1f} ms, with it {found['with_p99_ms']:.1f} ms"
        )
        assert line in done.stdout


def test_a_long_text_holds_little_memory(word_artifact: Path) -> None:
    from lanner.loading.load import load  # noqa: PLC0415

    model = load(word_artifact, threads=2)
    model.encode(["a b", "c"])
    for pattern in long_text.KINDS.values():
        text = (pattern * (long_text.CHARACTERS // len(pattern) + 1))[: long_text.CHARACTERS]
        restart_peak()
        before = peak_resident_mb()
        model.encode([text, "a"])
        assert peak_resident_mb() - before < long_text.MOST_MB

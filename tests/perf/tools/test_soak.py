"""The soak runs and reports; a run over 100,000 texts of a real model takes too long here."""

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from lanner.artifact.artifact import Artifact
from lanner.triton.server.installation import Installation

pytest.importorskip("scipy", reason="needs lanner-bench")
pytest.importorskip("matplotlib", reason="needs lanner-bench")

from lanner_perf.tools import soak
from lanner_perf.tools.soak import Growth, Sample, random_texts

ROOT = Path(__file__).parents[3]


def run_soak(*options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lanner_perf.tools.soak", *map(str, options)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_growth_counts_from_the_baseline() -> None:
    samples = [Sample(200, 50), Sample(1_000, 100), Sample(1_200, 130), Sample(1_400, 110)]
    growth = Growth.of(samples)
    assert growth == Growth(baseline_mb=100, end_mb=110, highest_mb=130, ratio=1.3, holds=False)
    assert Growth.of([*samples[:2], Sample(1_200, 120)]).holds


def test_texts_reach_from_a_word_to_beyond_the_limit() -> None:
    words = [len(text.split()) for text in islice(random_texts(40), 1_000)]
    assert (min(words), max(words)) == (1, 50)
    # The logarithm is uniform, so the median is the square root of 50.
    assert sum(count <= 7 for count in words) == pytest.approx(500, abs=50)
    assert list(islice(random_texts(40), 5)) == list(islice(random_texts(40), 5))


@pytest.mark.slow
def test_a_short_soak_holds_and_is_written(tiny_artifact: Artifact, tmp_path: Path) -> None:
    output = tmp_path / "soak.json"
    done = run_soak(
        *(tiny_artifact.directory, "--texts", 1_500, "--output", output),
        *("--variant", "fp32", "--threads", 2, "--callers", 3),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(output.read_text())
    assert [texts for texts, _ in report["samples"]] == [*range(200, 1_500, 200), 1_500]
    assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    chosen = {key: report[key] for key in ("variant", "engine", "threads", "callers")}
    assert chosen == {"variant": "fp32", "engine": "onnxruntime", "threads": 2, "callers": 3}
    assert report["baseline_mb"] == report["samples"][4][1]
    assert report["peak_mb"] >= report["highest_mb"]
    assert list(report["parts_mb_by_threads"]) == ["1", "2"]
    for parts in report["parts_mb_by_threads"].values():
        assert list(parts) == ["python_and_lanner", "engine_package", "tokenizer", "engine"]
        assert sum(part["resident_mb"] for part in parts.values()) > 20
        # At most the resident memory, and less if other processes map the same library.
        assert all(part["proportional_mb"] <= part["resident_mb"] + 1 for part in parts.values())
    assert done.stdout.startswith(f"{report['artifact']} fp32 in onnxruntime, 2 threads, 3 callers")


@pytest.mark.slow
def test_a_short_soak_of_a_client(
    tiny_artifact: Artifact, tmp_path: Path, tritonserver: Installation
) -> None:
    output = tmp_path / "soak.json"
    done = run_soak(
        *(tiny_artifact.directory, "--texts", 1_200, "--output", output, "--through", "grpc"),
        *("--variant", "fp32", "--threads", 2, "--callers", 3),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(output.read_text())
    assert [texts for texts, _ in report["samples"]] == [*range(200, 1_201, 200)]
    chosen = [report[key] for key in ("variant", "engine", "through", "parts_mb_by_threads")]
    assert chosen == ["fp32", "triton", "grpc", {}]
    first, second = done.stdout.splitlines()
    assert first.startswith(f"{report['artifact']} fp32 in triton, 2 threads, 3 callers: loaded ")
    assert " MB after 1,000 texts, at most " in second


def test_memory_that_grows_fails(
    scorer_artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A bound below the present memory: nothing else in this run differs from one that holds.
    monkeypatch.setattr(soak, "MOST_GROWTH", 0.5)
    output = tmp_path / "soak.json"
    options = [str(scorer_artifact.directory), "--texts", "1100", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["soak", *options])
    assert soak.main() == 1
    assert json.loads(output.read_text())["holds"] is False


def test_wrong_use_is_one_sentence(tiny_artifact: Artifact, tmp_path: Path) -> None:
    output = tmp_path / "soak.json"
    few = run_soak(tiny_artifact.directory, "--texts", 1_000, "--output", output)
    assert few.returncode == 2
    assert few.stderr.splitlines()[-1] == (
        "python -m lanner_perf.tools.soak: error: argument --texts: must be more than 1,000, "
        "because growth is measured from there"
    )
    gone = run_soak(tmp_path / "gone", "--output", output)
    assert gone.returncode == 1
    assert gone.stderr == (
        f"lanner_perf.tools.soak: error: {tmp_path}/gone is not a directory: "
        "pass one that 'lanner export' wrote\n"
    )
    none = run_soak(tiny_artifact.directory, "--variant", "int3", "--output", output)
    assert none.returncode == 1
    assert "int3" in none.stderr.splitlines()[-1]
    assert not output.exists()

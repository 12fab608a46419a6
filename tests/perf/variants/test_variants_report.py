"""The report of a tiny artifact, whole; what it measures is not a test's business."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.checkpoints import bert_checkpoint
from tests.support.perf_inputs import write_pairs

from lanner.artifact.artifact import Artifact

pytest.importorskip("scipy", reason="needs lanner-bench")
pytest.importorskip("matplotlib", reason="needs lanner-bench")

from lanner_perf.peers.peers import NOT_MEASURED

ROOT = Path(__file__).parents[3]


def run_report(*options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lanner_perf.variants.variants_report", *map(str, options)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_one_command_writes_page_plot_and_figures(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the reference")
    from lanner_export.export import export  # noqa: PLC0415

    # Stock quantization refuses a Dense module: it takes a transposed weight for a wrong shape.
    checkpoint = bert_checkpoint(tmp_path / "checkpoint", dense=False)
    artifact = export(checkpoint, tmp_path / "tiny.lanner")
    (no_place := tmp_path / "file").touch()
    done = run_report(
        *(artifact.directory, "--checkpoint", checkpoint, "--quick"),
        *("--pairs", write_pairs(tmp_path / "pairs.csv"), "--output", tmp_path / "results"),
        *("--environments", no_place, "--peer-models", tmp_path / "models"),
        *("--machine", "Test Machine", "--threads", 1),
    )
    assert done.returncode == 0, done.stderr
    figures, text, plot = sorted((tmp_path / "results").iterdir())
    assert figures.name.endswith("-tiny-test-machine.json")
    assert (text.name, plot.name) == (f"{figures.stem}.md", f"{figures.stem}.png")
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert text.read_text() == done.stdout
    report = json.loads(figures.read_text())
    rows = {row["name"]: row for row in report["subjects"]}
    assert list(rows) == [
        "sentence-transformers torch fp32",
        "sentence-transformers torch bf16",
        "stock quantize_dynamic",
        "dynamic int8, QAttention",
        "lanner fp32",
        "lanner int8",
    ]
    # There is no place for the environments of the peers, and so each has that as its reason.
    reasons = {item["name"]: item["reason"] for item in report["left_out"]}
    assert set(NOT_MEASURED) < set(reasons)
    for name in set(reasons) - set(NOT_MEASURED):
        assert re.match(r"the environment '[\w-]+' could not be made: ", reasons[name])
    manifest = artifact.manifest
    for variant in manifest.variants:
        row = rows[f"lanner {variant.name}"]
        assert row["model_bytes"] == manifest.files[variant.file].bytes
    # The stock file answers as the checkpoint does, but its scales move with the batch.
    assert rows["stock quantize_dynamic"]["quality"]["cosine_mean"] > 0.9
    moves = {name: 1 - row["quality"]["batch_independence_cosine"] for name, row in rows.items()}
    assert moves["stock quantize_dynamic"] > 3e-5
    assert max(moves["lanner fp32"], moves["lanner int8"]) < 1e-5
    gone = "lanner int8-dynamic not measured"
    assert [check["missing"] for check in report["checks"]][3:] == [gone, gone, "", gone]
    assert report["random_batches"] == {"batches": 20, "texts": 16}


def test_another_head_is_refused(scorer_artifact: Artifact, tmp_path: Path) -> None:
    done = run_report(scorer_artifact.directory, "--checkpoint", "x", "--output", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr == (
        f"lanner_perf.variants.variants_report: error: {scorer_artifact.directory} has the head "
        "'score', and the report compares vectors: give an artifact with the head 'embed'\n"
    )
    assert not (tmp_path / "out").exists()

"""The benchmark's own parts; what it measures is not a test's business."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lanner.artifact import Artifact

pytest.importorskip("scipy", reason="needs the bench extra")

from lanner_perf.bench import specs
from lanner_perf.measure import measure
from lanner_perf.plan import BASIC_SUITES, Plan
from lanner_perf.subjects import Spec, Subject, SubjectError
from lanner_perf.workloads import MIXED_TEXTS, build_workloads, spread
from tests.perf_inputs import write_pairs

ROOT = Path(__file__).parents[1]


def test_workloads_of_a_file(tmp_path: Path) -> None:
    workloads = build_workloads(write_pairs(tmp_path / "pairs.csv"))
    assert workloads.source == "pairs.csv"
    assert len(workloads.texts["short"]) == 60
    assert workloads.texts["short"][30] == "the train leaves"
    assert workloads.pairs is not None


def test_the_mixed_workload_is_as_described() -> None:
    workloads = build_workloads(None)
    mixed = workloads.texts["mixed"]
    assert len(mixed) == MIXED_TEXTS
    assert mixed == build_workloads(None).texts["mixed"]
    words = np.array([len(text.split()) for text in mixed])
    assert words.max() > 8 * np.median(words) / 2  # a long tail
    assert workloads.pairs is None


def test_spread_covers_the_list() -> None:
    assert spread(list("abcdefgh"), 4) == ["a", "c", "e", "g"]
    assert spread(["a", "b"], 5) == ["a", "b"]


def test_a_shorter_workload_keeps_its_pairs(tmp_path: Path) -> None:
    workloads = build_workloads(write_pairs(tmp_path / "pairs.csv")).shortened(short=20, mixed=10)
    assert workloads.pairs is not None
    left, right, scores = workloads.pairs
    assert workloads.texts["short"] == left + right
    assert left[1] == "a man plays guitar guitar guitar"
    assert right[1] == "the train leaves seven seven seven"
    assert scores[:3] == [0, 3, 0]
    assert (len(scores), len(workloads.texts["mixed"])) == (10, 10)


def test_a_shorter_workload_without_pairs() -> None:
    workloads = build_workloads(None)
    assert len(workloads.shortened(short=20).texts["short"]) == 20
    assert workloads.shortened() == workloads


def test_a_subject_that_dies_says_what_it_said_last(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho starting\necho no such library >&2\nexit 3\n")
    python.chmod(0o755)
    spec = Spec("a peer", "lanner", "x", python=str(python))
    with pytest.raises(
        SubjectError, match=r"^a peer ended unexpectedly with status 3: no such library$"
    ):
        Subject(spec, threads=1)


def test_only_an_optional_subject_is_left_out(tiny_artifact: Artifact) -> None:
    workloads = build_workloads(None).shortened(short=8, mixed=4)
    plan = replace(Plan.quick(1, BASIC_SUITES), lengths=())
    good, *_ = specs(tiny_artifact, "x")[1:]
    bad = Spec("a peer", "lanner", "/gone", {"variant": "fp32"}, is_optional=True)
    report = measure(tiny_artifact, [good, bad], workloads, plan, lambda _: None)
    assert [row["name"] for row in report["subjects"]] == ["lanner fp32"]
    assert report["left_out"] == [
        {
            "name": "a peer",
            "reason": "a peer on /gone: ArtifactError: /gone is not a directory: "
            "give one that 'lanner export' wrote",
        }
    ]
    with pytest.raises(SubjectError, match=r"^a peer on /gone: ArtifactError: /gone is not a dir"):
        measure(
            tiny_artifact, [good, replace(bad, is_optional=False)], workloads, plan, lambda _: None
        )


def test_the_benchmark_runs_and_records_everything(
    tiny_artifact: Artifact, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason="the peer")
    output = tmp_path / "bench.json"
    options = ["--checkpoint", tiny_checkpoint, "--pairs", write_pairs(tmp_path / "pairs.csv")]
    options += ["--rounds", "2", "--output", output]
    command = [sys.executable, "-m", "lanner_perf.bench", tiny_artifact.directory, *options]
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(output.read_text())
    names = [subject["name"] for subject in report["subjects"]]
    assert names == ["sentence-transformers torch fp32", "lanner fp32", "lanner int8"]
    assert [subject["precision"] for subject in report["subjects"]] == ["float32", "fp32", "int8"]
    assert report["workloads"]["short"]["texts"] == 60
    assert {"cpu", "cores"} <= set(report["machine"])
    assert {"torch", "onnxruntime", "lanner"} <= set(report["versions"])
    for subject in report["subjects"]:
        assert len(subject["throughput"]["short"]["rounds"]) == 2
        assert subject["latency_ms"]["p50"] <= subject["latency_ms"]["p99"]
        assert subject["cold_start"]["load_s"] > 0
        assert subject["memory"]["peak_mb"] >= subject["memory"]["loaded_mb"] > 10
        assert -100 <= subject["quality"]["spearman"] <= 100
    assert report["subjects"][1]["quality"]["cosine_min"] > 0.9999
    assert "lanner int8" in done.stderr


def test_a_missing_artifact_is_one_sentence(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "lanner_perf.bench",
        str(tmp_path / "gone"),
        "--checkpoint",
        "x",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        f"lanner_perf.bench: error: {tmp_path}/gone is not a directory: "
        "give one that 'lanner export' wrote\n"
    )


def test_a_subject_that_cannot_start_is_one_sentence(tiny_artifact: Artifact) -> None:
    command = [sys.executable, "-m", "lanner_perf.bench", str(tiny_artifact.directory)]
    command += ["--checkpoint", "/gone"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("lanner_perf.bench: error: sentence-transformers torch fp32 on /gone: ")


def test_a_place_for_no_output_is_found_at_once(tiny_artifact: Artifact, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lanner_perf.bench", str(tiny_artifact.directory)]
    command += ["--checkpoint", "x", "--output", str(tmp_path / "no" / "bench.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == (
        f"lanner_perf.bench: error: there is no directory {tmp_path}/no for bench.json: "
        "make it first\n"
    )

"""The parts of the benchmark; the tests do not check the figures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lanner.artifact.artifact import Artifact

pytest.importorskip("scipy", reason="needs lanner-bench")


from tests.support.perf_inputs import write_pairs

from lanner_perf.bench import specs
from lanner_perf.subjects.subject import Spec, Subject, SubjectError
from lanner_perf.subjects.workloads import MIXED_TEXTS, build_workloads
from lanner_perf.suites.measure import measure
from lanner_perf.suites.suite_plan import BASIC_SUITES, SuitePlan


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
    plan = replace(SuitePlan.quick(1, BASIC_SUITES), lengths=())
    good, *_ = specs(tiny_artifact, "x")[1:]
    bad = Spec("a peer", "lanner", "/gone", {"variant": "fp32"}, is_optional=True)
    report = measure(tiny_artifact, [good, bad], workloads, plan, lambda _: None)
    assert [row["name"] for row in report["subjects"]] == ["lanner fp32"]
    assert report["left_out"] == [
        {
            "name": "a peer",
            "reason": "a peer on /gone: ArtifactError: /gone is not a directory: "
            "pass one that 'lanner export' wrote",
        }
    ]
    with pytest.raises(SubjectError, match=r"^a peer on /gone: ArtifactError: /gone is not a dir"):
        measure(
            tiny_artifact, [good, replace(bad, is_optional=False)], workloads, plan, lambda _: None
        )

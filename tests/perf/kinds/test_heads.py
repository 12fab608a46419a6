"""The other heads beside their own framework; the tests do not check the figures."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanner.artifact.artifact import Artifact
from lanner.artifact.heads import HEADS

pytest.importorskip("scipy", reason="needs lanner-bench")
pytest.importorskip("torch", reason="the frameworks of the checkpoints")

from lanner_perf.bench import specs
from lanner_perf.kinds.heads import HEAD_KINDS, inputs_of
from lanner_perf.subjects.workloads import build_workloads
from lanner_perf.suites.measure import measure
from lanner_perf.suites.suite_plan import SuitePlan


def load_all(artifact: Artifact, checkpoint: Path) -> list[Any]:
    found = specs(artifact, str(checkpoint))[:2]
    return [HEAD_KINDS[spec.kind](spec.path, spec.options, 1).encode for spec in found]


def test_scores_are_those_of_the_framework(
    scorer_artifact: Artifact, scorer_checkpoint: Path
) -> None:
    theirs, ours = load_all(scorer_artifact, scorer_checkpoint)
    pairs = inputs_of(build_workloads(None).shortened(short=8), HEADS["score"]).texts["short"]
    assert pairs[0][1] == pairs[1][0]
    np.testing.assert_allclose(ours(pairs, batch_size=4), theirs(pairs, batch_size=4), atol=1e-5)
    assert float(ours(pairs[0])) == pytest.approx(float(theirs(pairs[0])), abs=1e-5)


def test_labels_are_those_of_the_framework(
    classifier_artifact: Artifact, classifier_checkpoint: Path
) -> None:
    theirs, ours = load_all(classifier_artifact, classifier_checkpoint)
    texts = build_workloads(None).shortened(short=8).texts["short"]
    for mine, answer in zip(ours(texts, batch_size=4), theirs(texts, batch_size=4), strict=True):
        assert mine.scores == pytest.approx(
            {item["label"]: item["score"] for item in answer}, abs=1e-5
        )
    assert ours(texts[0]).label == theirs(texts[0])[0]["label"]


def test_entities_are_those_of_the_framework(
    tagger_artifact: Artifact, tagger_checkpoint: Path
) -> None:
    theirs, ours = load_all(tagger_artifact, tagger_checkpoint)
    texts = build_workloads(None).shortened(short=8).texts["short"]
    for mine, answer in zip(ours(texts, batch_size=4), theirs(texts, batch_size=4), strict=True):
        assert [(item.label, item.start, item.end) for item in mine] == [
            (item["entity_group"], item["start"], item["end"]) for item in answer
        ]
    assert len(ours(texts[0])) == len(theirs(texts[0]))


@pytest.mark.slow
def test_every_head_is_measured(scorer_artifact: Artifact, scorer_checkpoint: Path) -> None:
    plan = replace(
        SuitePlan.quick(1),
        latency_s=0.05,
        throughput_s=0.05,
        throughput_by_length_s=0.02,
        call_tokens=64,
        callers=(2,),
        loads=(0.5,),
        point_s=0.05,
    )
    workloads = build_workloads(None).shortened(short=40, mixed=10)
    chosen = specs(scorer_artifact, str(scorer_checkpoint))[:2]
    report = measure(scorer_artifact, chosen, workloads, plan, lambda _: None)
    assert report["suites"] == [suite for suite in plan.suites if suite != "quality"]
    assert [row["name"] for row in report["subjects"]] == [
        "sentence-transformers torch fp32",
        "lanner fp32",
    ]
    for row in report["subjects"]:
        assert row["throughput"]["mixed"]["tokens_per_s"] > 0
        assert row["concurrency"]["2"]["failed"] == row["open_loop"].popitem()[1]["failed"] == 0
    assert [item["name"] for item in report["left_out"]] == ["quality", "texts by length"]
    assert report["timed"].startswith("score, from pairs to a score a pair, ")

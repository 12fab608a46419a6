"""All suites on an artifact that answers in no time; the tests do not check the figures."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lanner.artifact.artifact import Artifact

pytest.importorskip("scipy", reason="needs lanner-bench")


from tests.support.report_layout import require_laid_out

from lanner_perf.record.schema import SUITES, Report, whole_rows
from lanner_perf.subjects.subject import Spec
from lanner_perf.subjects.workloads import build_workloads
from lanner_perf.suites.measure import SUITES as MODULES
from lanner_perf.suites.measure import leaders, measure
from lanner_perf.suites.suite_plan import SuitePlan

QUICK = replace(
    SuitePlan.quick(threads=1),
    rounds=2,
    latency_s=0.05,
    throughput_s=0.05,
    throughput_by_length_s=0.02,
    call_tokens=64,
    bulk_texts=90,
    lengths=(2, 4, 8),
    callers=(1, 4),
    loads=(0.25, 1.0),
    point_s=0.05,
    point_rounds=2,
    cold_starts=2,
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    pytest.importorskip("onnx", reason="needs the export extra to write a graph")
    from tests.support.word_artifact import write_word_artifact  # noqa: PLC0415

    artifact = Artifact.open(write_word_artifact(tmp_path_factory.mktemp("words") / "words.lanner"))
    specs = [
        Spec(name, "lanner", str(artifact.directory), {"variant": name})
        for name in ("fp32", "int8")
    ]
    told: list[str] = []
    workloads = build_workloads(None).shortened(short=40, mixed=20)
    report = measure(artifact, specs, workloads, QUICK, told.append)
    return {"report": report, "told": told}


def test_a_report_is_laid_out_as_written_down(report: dict[str, Any]) -> None:
    require_laid_out(report["report"], Report)
    assert [row["name"] for row in whole_rows(report["report"], SUITES)] == ["fp32", "int8"]


def test_the_suites_are_those_of_the_layout() -> None:
    assert tuple(MODULES) == SUITES
    assert all(MODULES[name].__name__.endswith(f".{name}") for name in SUITES)


def test_every_round_is_kept(report: dict[str, Any]) -> None:
    for row in report["report"]["subjects"]:
        assert [len(turn) for turn in row["latency_ms"]["rounds"]] == [4] * 5
        assert list(row["latency_by_length"]) == list(row["throughput_by_length"]) == ["2", "4"]
        assert list(row["throughput"]) == ["short", "mixed"]
        assert row["throughput"]["short"]["texts"] == 90  # of 40 texts, which are repeated
        assert [len(figures["rounds"]) for figures in row["throughput"].values()] == [2, 2]
        assert len(row["dispatch_ms"]["rounds"]) == 2
        assert list(row["concurrency"]) == ["1", "4"]
        assert [len(figures["rounds"]) for figures in row["open_loop"].values()] == [2, 2]
        assert [len(turn) for turn in row["cold_start"]["rounds"]] == [3, 3]


def test_tokens_are_counted(report: dict[str, Any]) -> None:
    for row in report["report"]["subjects"]:
        for length, figures in row["throughput_by_length"].items():
            assert figures["tokens_per_s"] == pytest.approx(int(length) * figures["texts_per_s"])


def test_memory_grows_with_each_step(report: dict[str, Any]) -> None:
    for row in report["report"]["subjects"]:
        memory = row["memory"]
        assert 5 < memory["imported_mb"] < memory["loaded_mb"] < memory["peak_mb"]
        assert memory["after_mb"] <= memory["peak_mb"]


def test_loads_are_the_same_for_all(report: dict[str, Any]) -> None:
    first, second = report["report"]["subjects"]
    assert list(first["open_loop"]) == list(second["open_loop"])
    assert [float(rate) for rate in first["open_loop"]] == [
        figures["offered_per_s"] for figures in first["open_loop"].values()
    ]


def test_quality_is_that_of_the_same_graph(report: dict[str, Any]) -> None:
    quality = report["report"]["subjects"][1]["quality"]
    assert quality["cosine_mean"] == pytest.approx(1)
    assert quality["batch_independence_cosine"] == pytest.approx(1)
    assert "spearman" not in quality


def test_what_the_model_cuts_is_left_out(report: dict[str, Any]) -> None:
    assert report["report"]["left_out"] == [
        {"name": "8 tokens", "reason": "the model cuts at 4 tokens"}
    ]


def test_the_part_and_the_time_so_far_are_told(report: dict[str, Any]) -> None:
    parts = 1 + len(SUITES)
    form = re.compile(r".* \(part (\d+) of (\d+), \d+ s so far\)")
    told = [form.fullmatch(line) for line in report["told"]]
    numbers = [int(found[1]) for found in told if found is not None and int(found[2]) == parts]
    assert len(numbers) == len(told)
    assert sorted(numbers) == numbers
    assert {numbers[0], numbers[-1]} == {1, parts}
    assert report["told"][0].startswith("starting fp32 (part 1 of ")
    assert list(report["report"]["seconds"]) == ["starting", *SUITES]


def test_only_the_suites_that_are_asked_for(word_artifact: Path) -> None:
    artifact = Artifact.open(word_artifact)
    spec = Spec("fp32", "lanner", str(word_artifact), {"variant": "fp32"})
    plan = replace(QUICK, suites=("latency",), lengths=(), cold_starts=0)
    workloads = build_workloads(None).shortened(short=8, mixed=8)
    report = measure(artifact, [spec], workloads, plan, lambda _: None)
    require_laid_out(report, Report)
    row = report["subjects"][0]
    assert set(row) & set(SUITES) == {"cold_start"}
    assert len(row["cold_start"]["rounds"]) == 1
    assert whole_rows(report, ["latency"]) == [row]
    assert whole_rows(report, ["latency", "throughput"]) == []


def test_the_fastest_of_each_kind_lead() -> None:
    def row(name: str, kind: str, texts_per_s: float, p50: float) -> dict[str, Any]:
        throughput = {"short": {"texts_per_s": texts_per_s}}
        return {"name": name, "kind": kind, "throughput": throughput, "latency_ms": {"p50": p50}}

    rows = [
        row("reference", "torch", 1, 9),
        row("torch bulk", "torch", 5, 8),
        row("torch lone", "torch", 3, 2),
        row("torch neither", "torch", 4, 3),
        row("other", "onnx", 2, 4),
        row("ours", "lanner", 1, 9),
        row("ours too", "lanner", 2, 8),
    ]
    assert leaders(rows) == {row["name"] for row in rows} - {"torch neither"}
    del rows[3]["latency_ms"]
    assert leaders(rows) == {row["name"] for row in rows}

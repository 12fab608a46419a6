"""Plans: times read from a result, and sizes worked out by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lanner.commands import main
from lanner.errors import BenchmarkError, UsageError
from lanner_perf.elastic.plan import Need, hpa, plan
from lanner_perf.elastic.service_time import ServiceTime, of_report

RESULT = Path(__file__).parents[3] / "perf/results/2026-11-23-bench-minilm-zen5-2-cores.json"

CHART = Path(__file__).parents[3] / "deploy/helm/lanner"


def conforms(values: Any, schema: Any) -> bool:
    """Return whether a schema has each of the names in nested values."""
    if not isinstance(values, dict):
        return True
    found = schema.get("properties")
    return found is None or all(
        name in found and conforms(value, found[name]) for name, value in values.items()
    )


def row(name: str, kind: str, rate: float) -> dict[str, Any]:
    """Return a subject that answers so many texts of 10 tokens a second on 2 cores."""
    return {
        "name": name,
        "kind": kind,
        "throughput": {
            "short": {"texts_per_s": rate, "tokens_per_s": 10 * rate},
            "mixed": {"texts_per_s": rate / 4, "tokens_per_s": 40 * rate / 4},
        },
        "throughput_by_length": {
            "10": {"texts_per_s": rate},
            "20": {"texts_per_s": rate / 2},
            "40": {"texts_per_s": rate / 5},
        },
        "latency_by_length": {"10": {"p50": 2e3 / rate + 0.5}},
        "concurrency": {"8": {"texts_per_s": rate * 0.8}, "1": {"texts_per_s": rate * 0.3}},
    }


def test_the_times_of_a_result() -> None:
    subjects = [row("peer", "other", 9e9), row("int8", "lanner", 1_000)]
    report = {"threads": 2, "subjects": subjects}
    name, times = of_report(report)
    assert name == "int8 in process, without HTTP,"
    # On 2 cores 1,000 texts a second are 2 ms of a core each.
    assert times.text_ms == [(10, 2.0), (20, 4.0), (40, 10.0)]
    assert times.run_ms == pytest.approx(0.5)
    assert times.request_ms == pytest.approx(0.5)  # 2 x 1,000 / 800 less 2
    assert [times.of_text(tokens) for tokens in (5, 10, 15, 30, 60)] == [1.0, 2.0, 3.0, 7.0, 16.0]
    assert times.of_batch([10, 20]) == pytest.approx(0.5 + 2 + 4 + 2 * 0.5)
    # 51.2 texts of 10 tokens share a batch of 512.
    assert times.per_core(10) == pytest.approx(1e3 / (2.5 + 0.5 / 51.2))
    subjects.append(row("service", "service", 100))
    assert of_report(report)[0] == "service"
    assert of_report(report, "peer")[0].startswith("peer")


@pytest.mark.parametrize("subject", ["nobody", None])
def test_a_result_without_the_subject(subject: str | None) -> None:
    said = "the result has no throughput of (nobody|a subject): it has int8; measure with 'lanner"
    with pytest.raises(BenchmarkError, match=said):
        of_report({"threads": 2, "subjects": [{"name": "int8", "kind": "lanner"}]}, subject)


def test_a_plan_has_the_pods_that_the_target_needs() -> None:
    # 10 ms a text: 100 a second for a core, 200 for a pod of 2.
    times = ServiceTime([(10, 10.0)], token_budget=10)
    made = plan(Need(2_000, 10, 100, cores=2), "int8", times)
    assert made.table.capacity == 200
    # A lost zone of three takes a third; the busy share before it is two thirds of what is allowed.
    assert made.target == pytest.approx(made.share * 2 / 3, abs=0.01)
    assert made.pods == -(-2_000 // (200 * made.target))
    assert made.scaling.most > made.pods
    assert made.within > 0.99
    assert made.worst_after_loss_ms is not None
    assert made.pod_hours < 24 * made.pods * 0.75
    assert hpa(made)["metrics"][0]["pods"]["target"]["averageValue"] == f"{made.target * 1000:.0f}m"
    alone = plan(Need(2_000, 10, 100, cores=2, zones=1, growth=0.0), "int8", times)
    assert alone.target == pytest.approx(alone.share, abs=0.01)
    assert alone.worst_after_loss_ms is None


def test_the_values_of_a_plan_are_those_of_the_chart() -> None:
    made = hpa(plan(Need(2_000, 10, 100), "int8", ServiceTime([(10, 10.0)], token_budget=10)))
    chart = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["autoscaling"]
    behavior = chart["behavior"]
    assert behavior["scaleUp"].pop("selectPolicy") == "Max"  # the default of Kubernetes
    assert made["behavior"] == behavior
    name = made["metrics"][0]["pods"]["metric"]["name"]
    adapter = (CHART.parent / "prometheus-adapter.yaml").read_text(encoding="utf-8")
    assert name in {one["name"]["as"] for one in yaml.safe_load(adapter)["rules"]["custom"]}


def test_a_target_that_no_pods_keep() -> None:
    said = "no number of pods keeps a p99 of 5 ms: a request of 10 tokens takes 1.* ms on idle pods"
    with pytest.raises(UsageError, match=said):
        plan(Need(100, 10, 5), "int8", ServiceTime([(10, 10.0)], token_budget=10))


def test_the_command_plans_from_a_recorded_result(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--rps", "5000", "--tokens", "30", "--p99-ms", "50", "--from", str(RESULT)]
    assert main(["plan", *options, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["cores"] == 2 * made["pods"]
    # No fewer than the busy pods of the measured throughput, and a lost zone more.
    assert 5_000 / made["requests_per_pod_s"] * 1.5 <= made["pods"] <= 20
    assert made["hpa"]["minReplicas"] >= 3
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert conforms(made["helm"], schema)
    assert main(["plan", *options, "--core-hour", "0.05", "--growth", "0", "--zones", "1"]) == 0
    said = capsys.readouterr().out
    assert "The day costs" in said
    assert '"averageValue"' in said
    assert main(["plan", *options, "--subject", "nobody"]) == 1
    assert "the result has no throughput of nobody" in capsys.readouterr().err


def test_the_guide_shows_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    guide = (Path(__file__).parents[3] / "docs/guide/scaling.md").read_text(encoding="utf-8")
    shown = guide.partition("```text\n")[2].partition("```")[0].splitlines()
    result = RESULT.with_name("2026-12-01-bench-minilm-zen4-2-cores.json")
    command = ["plan", "--rps", "5000", "--tokens", "30", "--p99-ms", "50", "--from", str(result)]
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines()[: len(shown)] == shown

from typing import Any

import pytest

pytest.importorskip("scipy", reason="needs lanner-bench")


from tests.support.bench_report import LANNER, PEER, TORCH, bench_report, with_floor
from tests.support.server_report import HERE, server_report

from lanner.errors import InputError
from lanner_perf.report.compare import Change, compare, comparison_text


def faster(report: dict[str, Any], factor: float, name: str = LANNER) -> dict[str, Any]:
    """Return the report with other short texts a second for one subject."""
    for row in report["subjects"]:
        if row["name"] == name:
            speed = row["throughput"]["short"]
            speed["rounds"] = [factor * rate for rate in speed["rounds"]]
            speed["texts_per_s"] *= factor
    return report


def change_of(old: dict[str, Any], new: dict[str, Any], key: str, name: str = LANNER) -> Change:
    (change,) = (one for one in compare(old, new).changes if one.key == key and one.subject == name)
    return change


def test_a_change_is_beyond_both_spreads() -> None:
    # 900 to 1,100 and 1,350 to 1,650: the medians are 500 apart, the spreads 200 and 300.
    same = change_of(bench_report(), faster(bench_report(), 1.5), "throughput.short")
    assert (same.has_changed, same.is_better) == (False, None)
    # 1,440 to 1,760: 600 apart, the spreads 200 and 320.
    better = change_of(bench_report(), faster(bench_report(), 1.6), "throughput.short")
    assert (better.has_changed, better.is_better) == (True, True)
    assert (better.old, better.new) == (1000, 1600)
    assert better.ratio == pytest.approx(1.6)
    assert (better.lowest, better.highest) == pytest.approx((1440 / 1100, 1760 / 900))
    worse = change_of(faster(bench_report(), 1.6), bench_report(), "throughput.short")
    assert (worse.has_changed, worse.is_better) == (True, False)


def test_a_server_that_moved_or_changed_is_told_and_its_ports_are_not() -> None:
    new = server_report()
    new["server"] |= {"urls": ["grpc://elsewhere:1"]}
    new["server"]["models"][0]["version"] = "2"
    assert compare(server_report(), new).differences == ()
    new["server"] |= {"version": "2.52.0", "is_here": False}
    new["server"]["models"][0]["instances"] = 4
    comparison = compare(server_report(), new)
    assert comparison.differences == (
        "version of Triton",
        "where the server is",
        "models of the server",
    )
    assert comparison.base == HERE
    assert compare(server_report(), bench_report() | {"subjects": new["subjects"]}).differences


def test_where_the_time_goes_is_no_figure_to_become_worse() -> None:
    new = server_report()
    for point in new["subjects"][2]["concurrency"].values():
        point |= {
            "queue_ms": 50.0,
            "rounds": [{**turn, "queue_ms": 50.0} for turn in point["rounds"]],
        }
    comparison = compare(server_report(), new)
    assert not [change for change in comparison.changes if change.has_changed]
    assert "concurrency.16.p50_ms" in {change.key for change in comparison.changes}


def test_a_package_that_one_result_does_not_name_is_no_difference() -> None:
    new = bench_report()
    new["environments"]["harness"]["grpcio"] = "1.85.1"
    assert compare(bench_report(), new).differences == ()


def test_less_latency_is_better() -> None:
    new = bench_report()
    latency = new["subjects"][2]["latency_ms"]
    latency["p50"], latency["rounds"] = 0.4, [[0.4, 1, 2, 3]] * 3
    change = change_of(bench_report(), new, "latency.p50")
    assert change.ratio == pytest.approx(0.5)
    assert (change.has_changed, change.is_better) == (True, True)


def test_one_round_says_nothing_of_noise() -> None:
    new = bench_report()
    new["subjects"][2]["memory"]["peak_mb"] = 300.0
    change = change_of(bench_report(), new, "memory.peak_mb")
    assert (change.ratio, change.has_changed, change.is_better) == (2, None, None)


def test_quality_has_no_noise_to_speak_of() -> None:
    new = bench_report()
    new["subjects"][2]["quality"]["spearman"] -= 0.05
    assert change_of(bench_report(), new, "quality.spearman").has_changed is False
    new["subjects"][2]["quality"]["spearman"] -= 0.2
    assert change_of(bench_report(), new, "quality.spearman").is_better is False


def test_the_same_conditions_need_no_warning() -> None:
    new = bench_report()
    new["versions"]["lanner"] = new["environments"]["harness"]["lanner"] = "0.2.0"
    comparison = compare(bench_report(), new)
    assert (comparison.differences, comparison.warning, comparison.base) == ((), "", "")


def test_other_conditions_are_named_and_ratios_compared() -> None:
    new = bench_report()
    new["machine"]["cpu"], new["threads"] = "Another", 4
    new["versions"]["torch"] = "2.14.0"
    new["workloads"]["short"]["texts"] = 10
    for name in (TORCH, PEER, LANNER):
        faster(new, 3, name)
    comparison = compare(bench_report(), new)
    assert comparison.warning == (
        "the results differ in machine (cpu), version of torch, threads (2 and 4), workload short, "
        f"so each figure is compared as its ratio to {TORCH} of the same result"
    )
    assert {change.subject for change in comparison.changes} == {PEER, LANNER}
    change = change_of(bench_report(), new, "throughput.short")
    assert (change.old, change.new, change.has_changed) == (10, 10, False)
    assert change_of(bench_report(), new, "quality.spearman").old == 86.6


def test_with_another_reference_it_is_the_first_that_both_have() -> None:
    new = bench_report()
    new["threads"] = 4
    del new["subjects"][0]
    comparison = compare(bench_report(), new)
    assert comparison.base == PEER
    assert comparison.only_old == (TORCH,)
    assert change_of(bench_report(), new, "throughput.short").new == 5


def test_parts_of_the_floor_are_not_compared() -> None:
    reports = [with_floor(bench_report()) for _ in range(2)]
    assert not [one for one in compare(*reports).changes if one.key.startswith("of_floor")]


def test_nothing_in_common_cannot_be_compared() -> None:
    old, new = bench_report(), bench_report()
    old["subjects"], new["subjects"] = old["subjects"][:2], new["subjects"][2:]
    message = (
        rf"^the results have no subject in common: {TORCH}, {PEER} in the older and {LANNER} in "
        "the newer$"
    )
    with pytest.raises(InputError, match=message):
        compare(old, new)


def test_worse_than_a_bound_beyond_the_noise() -> None:
    slower = compare(bench_report(), faster(bench_report(), 0.5))
    (worse,) = slower.worse_than(0.95)
    assert (worse.subject, worse.key) == (LANNER, "throughput.short")
    assert slower.worse_than(0.4) == []
    assert compare(bench_report(), faster(bench_report(), 0.9)).worse_than(0.95) == []
    assert compare(bench_report(), faster(bench_report(), 2)).worse_than(0.95) == []


def test_a_table_of_what_matters_and_of_what_changed() -> None:
    new = faster(bench_report(), 0.5)
    new["subjects"].pop(1)
    lines = comparison_text(compare(bench_report(), new)).splitlines()
    row = next(line for line in lines if LANNER in line and "short texts/s" in line)
    assert row.split()[-6:] == ["1,000", "500", "0.500", "0.409", "0.611", "WORSE"]
    assert lines[-1] == f"Only in the older result: {PEER}."
    # of two subjects 8 tokens, 128 tokens and so on
    assert lines[-3].endswith(" other figures did not change beyond the noise.")

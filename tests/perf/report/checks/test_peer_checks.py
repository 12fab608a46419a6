from typing import Any

import pytest

pytest.importorskip("scipy", reason="needs lanner-bench")


from tests.support.bench_report import LANNER, PEER, TORCH, bench_report, subject

from lanner_perf.report.checks import checks_of
from lanner_perf.report.checks.check import Check
from lanner_perf.report.content import headlines


def by_what(report: dict[str, Any]) -> dict[str, Check]:
    return {check.what: check for check in checks_of(report)}


def test_lanner_beside_torch_and_the_best_peer() -> None:
    checks = by_what(bench_report())
    torch = checks["short texts/s, of torch fp32"]
    assert (torch.measured, torch.bound, torch.holds) == (10, 4.5, True)
    assert torch.of == f"{LANNER} / {TORCH}"
    peer = checks["mixed texts/s, of the best peer"]
    assert (peer.measured, peer.holds, peer.of) == (5, True, f"{LANNER} / {PEER}")
    latency = checks["p50 of one text, of torch fp32"]
    assert latency.measured == pytest.approx(0.1)
    assert latency.holds is True
    assert checks["p50 of one text, of the best peer"].measured == pytest.approx(0.2)
    assert checks["minutes for the whole report"].measured == 10


def test_callers_are_compared_with_one_call_and_their_tail_with_their_middle() -> None:
    report = bench_report()
    report["subjects"][2]["concurrency"]["16"]["rounds"][1]["texts_per_s"] = 620
    checks = by_what(report)
    rate = checks["16 callers: texts/s, of short texts/s in one call"]
    assert rate.rounds == (0.7, 0.62)
    assert rate.measured == pytest.approx(0.66)
    assert rate.holds is True
    tail = checks["16 callers: p99, of p50"]
    assert (tail.measured, tail.holds, tail.of) == (2, True, LANNER)


def test_one_caller_pays_little_beyond_the_engine() -> None:
    report = bench_report()
    check = by_what(report)["one caller: ms of the dispatcher over the bare engine"]
    assert (check.measured, check.rounds, check.holds) == (0.05, (0.05, 0.04, 0.06), True)
    assert check.of == LANNER
    report["subjects"][2]["dispatch_ms"]["p50"] = 0.11
    assert by_what(report)["one caller: ms of the dispatcher over the bare engine"].holds is False
    del report["subjects"][2]["dispatch_ms"]
    assert by_what(report)["one caller: ms of the dispatcher over the bare engine"].missing == (
        "the dispatcher of Lanner's fastest variant was not measured"
    )


def test_what_is_too_slow_does_not_hold() -> None:
    report = bench_report()
    report["subjects"][2] = subject(LANNER, "lanner", "onnxruntime", speed=3, spearman=86.6)
    report["whole_s"] = 26 * 60
    checks = by_what(report)
    assert checks["short texts/s, of torch fp32"].holds is False
    assert checks["short texts/s, of the best peer"].holds is False
    assert checks["mixed texts/s, of the best peer"].holds is True
    assert checks["p50 of one text, of torch fp32"].holds is False
    assert checks["minutes for the whole report"].holds is False


def test_a_fast_variant_that_loses_too_much_is_not_the_best() -> None:
    report = bench_report()
    worse = subject("lanner int4", "lanner", "onnxruntime", speed=30, spearman=86.4)
    report["subjects"].append(worse)
    assert by_what(report)["short texts/s, of torch fp32"].of == f"{LANNER} / {TORCH}"
    report["subjects"][2]["quality"]["spearman"] = 86.4
    check = by_what(report)["short texts/s, of torch fp32"]
    assert (check.holds, check.missing) == (
        None,
        "no batch-independent variant is within 0.2 Spearman",
    )


def test_a_variant_whose_vectors_move_with_their_batch_is_not_the_best() -> None:
    report = bench_report()
    moving = subject("lanner int8-dynamic", "lanner", "onnxruntime", speed=30, spearman=86.7)
    report["subjects"].append(moving)
    assert by_what(report)["short texts/s, of torch fp32"].measured == 30
    moving["quality"]["batch_independence_cosine"] = 0.9998
    assert by_what(report)["short texts/s, of torch fp32"].measured == 10


def test_a_file_of_someone_else_in_lanners_place_is_no_peer() -> None:
    report = bench_report()
    report["subjects"].append(subject("stock", "onnx-file", "onnxruntime", speed=9, spearman=86))
    assert by_what(report)["short texts/s, of the best peer"].of == f"{LANNER} / {PEER}"


def test_what_was_not_measured_says_so() -> None:
    report = bench_report()
    report["is_whole"] = False
    del report["subjects"][2]["concurrency"], report["subjects"][2]["latency_ms"]
    report["subjects"] = report["subjects"][::2]
    checks = by_what(report)
    assert checks["short texts/s, of torch fp32"].holds is True
    missing = {
        what: check.missing
        for what, check in checks.items()
        if check.holds is None and not what.startswith("int8: ")  # see test_variant_checks
    }
    assert missing == {
        "p50 of one text, of torch fp32": "Lanner: the figure was not measured",
        "p50 of one text, of the best peer": "Lanner: the figure was not measured",
        "16 callers: texts/s, of short texts/s in one call": "16 callers of Lanner's fastest "
        "variant were not measured",
        "16 callers: p99, of p50": "16 callers of Lanner's fastest variant were not measured",
        "one caller: ms of the dispatcher over the bare engine": "the dispatcher of Lanner's "
        "fastest variant was not measured",
        "minutes for the whole report": "only some suites or peers were asked for",
    }


def test_without_pairs_nothing_is_known_to_be_good_enough() -> None:
    report = bench_report()
    for row in report["subjects"]:
        del row["quality"]["spearman"]
    check = by_what(report)["short texts/s, of torch fp32"]
    assert check.missing == "choosing a variant that is good enough needs labelled pairs (--pairs)"


def test_a_quick_report_has_three_minutes() -> None:
    report = bench_report()
    report["is_quick"] = True
    check = by_what(report)["minutes for the whole report"]
    assert (check.bound, check.holds) == (3, False)


def test_headlines_are_the_ratios_to_others() -> None:
    first, *others = headlines(bench_report())
    assert first == ("10.00x", "short texts/s, of torch fp32", f"{LANNER} / {TORCH}")
    assert [one.text for one in others] == ["10.00x", "5.00x", "5.00x", "0.10x", "0.20x"]

from typing import Any

import pytest

pytest.importorskip("scipy", reason="needs lanner-bench")


from tests.support.perf_inputs import small_report

from lanner_perf.report.checks.check import Check
from lanner_perf.report.checks.variant_checks import variant_checks


def by_what(report: dict[str, Any]) -> dict[str, Check]:
    return {check.what: check for check in variant_checks(report)}


def test_what_holds_and_what_does_not() -> None:
    checks = by_what(small_report())
    lost = checks["int8: Spearman lost against the checkpoint"]
    assert lost.measured == pytest.approx(0.22)
    assert lost.holds is False
    independence = checks["int8: cosine of a sentence alone with itself in random batches"]
    assert (independence.measured, independence.holds) == (0.99995, True)
    assert checks["int8: size, of fp32"].measured == 0.25
    assert checks["int8: size, of fp32"].holds is True


def test_ratios_are_those_of_the_rounds() -> None:
    checks = by_what(small_report())
    # 450 of 500, 440 of 400, 500 of 500: the ratio of the medians would be 0.9
    speed = checks["int8: short texts/s, of int8-dynamic"]
    assert speed.rounds == pytest.approx((0.9, 1.1, 1.0))
    assert speed.measured == pytest.approx(1.0)
    assert speed.holds is True
    latency = checks["int8: p50 of one text, of int8-dynamic"]
    assert latency.rounds == pytest.approx((1.1, 1.0, 0.5))
    assert latency.holds is True


def test_what_was_not_measured_neither_holds_nor_fails() -> None:
    check = by_what(small_report())["int8-dynamic: short texts/s, of stock quantize_dynamic"]
    assert (check.measured, check.holds) == (None, None)
    assert check.missing == "stock quantize_dynamic was not measured"


def test_without_pairs_no_spearman_is_lost() -> None:
    report = small_report()
    for row in report["subjects"]:
        del row["quality"]["spearman"]
    check = by_what(report)["int8: Spearman lost against the checkpoint"]
    assert (check.holds, check.missing) == (None, "a suite that it needs was not measured")


def test_a_variant_that_was_not_measured_has_no_rules() -> None:
    report = small_report()
    report["subjects"] = [row for row in report["subjects"] if row["name"] != "lanner int8"]
    assert list(by_what(report)) == ["int8-dynamic: short texts/s, of stock quantize_dynamic"]


def test_a_bound_is_met_at_the_bound() -> None:
    assert Check("x", 0.95, is_least=True, measured=0.95).holds is True
    assert Check("x", 1.0, is_least=False, measured=1.0).holds is True
    assert Check("x", 1.0, is_least=False, measured=float("nan")).holds is False

import pytest

pytest.importorskip("scipy", reason="needs lanner-bench")


from tests.support.perf_inputs import small_report

from lanner_perf.report.checks import variant_checks
from lanner_perf.variants.page import page


@pytest.fixture
def text() -> str:
    report = small_report()
    report["checks"] = [check.to_json() for check in variant_checks(report)]
    return page(report, "plot.png")


def test_a_row_a_subject_with_its_spread(text: str) -> None:
    row = (
        "| lanner int8 | int8 | 450 (440 to 500) | 4.50x | 450 (440 to 500) | 4.50x "
        "| 1.00 (1.00 to 1.10) | 86.50 | 0.99000 (0.9700) | 0.999950 | 25.0 | 0.25 |"
    )
    assert row in text.splitlines()
    assert "| openvino | fp32, in bf16 | 200 (200 to 200) | 2.00x |" in text


def test_what_must_hold_with_what_was_measured(text: str) -> None:
    lines = text.splitlines()
    assert (
        "| int8: short texts/s, of int8-dynamic | at least 0.95 | 1.0000 (0.9000 to 1.1000) | yes |"
    ) in lines
    assert (
        "| int8: Spearman lost against the checkpoint | at most 0.2 | 0.2200 | **no** |"
    ) in lines
    assert (
        "| int8-dynamic: short texts/s, of stock quantize_dynamic | at least 1.15 "
        "| stock quantize_dynamic not measured | ? |"
    ) in lines


def test_hardware_versions_and_what_is_missing(text: str) -> None:
    assert "2026-11-22, A CPU (avx2, avx512_vnni), 2 threads, 25 GB, Linux 6, Python 3.11" in text
    assert "Lanner and torch: lanner 0.1.0, torch 2.13.0." in text
    assert "The environment peers: openvino 2026.4.1." in text
    assert "- a peer: it is not installed" in text
    assert "3,000 texts of pairs.csv (48,709 tokens)" in text
    assert "200 random batches of 16 texts" in text
    assert "![quality against speed](plot.png)" in text

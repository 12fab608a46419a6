from typing import Any

import pytest

pytest.importorskip("lanner_native", reason="lanner-native is not built (make native)")

from lanner_perf.tools.native_bounds import Bound, bounds

SLOW = {"short_texts_per_s": 1_000.0, "mixed_texts_per_s": 200.0, "one_text_ms": 1.0}


def figures(instruction_set: str = "avx512_vnni") -> dict[str, Any]:
    """Return figures that keep each bound."""
    native = {"short_texts_per_s": 2_000.0, "mixed_texts_per_s": 400.0}
    native |= {"one_text_ms": 0.6, "one_text_p99_ms": 1.2}
    points = {
        count: {"texts_per_s": rate, "p50_ms": 1.0, "p99_ms": 2.0}
        for count, rate in (("1", 1_500), ("2", 1_500), ("4", 1_700), ("16", 1_800))
    }
    scaled = {"cosine_mean": 0.9985, "neighbours": 0.96, "lost_spearman": 0.08}
    return {
        "digest": {"instruction_set": instruction_set},
        "speeds": {
            "2": {
                "native int8": native,
                **dict.fromkeys(("CTranslate2 int8", "onnxruntime int8", "onnxruntime fp32"), SLOW),
            }
        },
        # 32,000 tokens a second x 20 million operations are 640 GOP/s of two cores.
        "limit_gops": {"avx512_vnni": 400.0, "avx2": 500.0},
        "tokens_a_text": {"short": 16.0, "mixed": 70.0},
        "operations_a_token": 20e6,
        "callers": {"threads": 2, "points": points},
        "load_s": 0.15,
        "quality": {
            "native int8": {"cosine_min_to_onnxruntime": 0.999},
            "native int8, scales per token": scaled,
        },
    }


def missed(measured: dict[str, Any]) -> list[str]:
    return [str(bound) for bound in bounds(measured) if not bound.is_kept]


def test_a_bound_is_kept_up_to_its_value() -> None:
    assert missed(figures()) == []
    assert len(bounds(figures())) == 17
    assert Bound("x", 1.5, 1.5).is_kept
    assert not Bound("x", 1.49, 1.5).is_kept
    assert not Bound("x", 1.51, 1.5, is_most=True).is_kept
    assert str(Bound("x", 1.51234, 1.5)) == "pass  x: 1.512 (at least 1.5)"
    record = {"what": "x", "measured": 1.5123, "at_most": 1.5, "passed": False}
    assert Bound("x", 1.51234, 1.5, is_most=True).to_json() == record


def test_each_figure_beyond_its_bound_is_named() -> None:
    late = figures()
    late["speeds"]["2"]["native int8"] |= {"short_texts_per_s": 1_440, "mixed_texts_per_s": 360}
    late["speeds"]["2"]["native int8"] |= {"one_text_ms": 0.61, "one_text_p99_ms": 1.3}
    late["callers"]["points"]["2"]["texts_per_s"] = 1_485
    late["callers"]["points"]["16"] |= {"texts_per_s": 1_260, "p99_ms": 2.1}
    late["load_s"] = 0.16
    late["quality"]["native int8"]["cosine_min_to_onnxruntime"] = 0.99
    late["quality"]["native int8, scales per token"]["lost_spearman"] = 0.09
    of_two = "2 threads"
    assert missed(late) == [
        f"FAIL  short texts, {of_two}, in multiples of onnxruntime int8: 1.44 (at least 1.45)",
        f"FAIL  short texts, {of_two}, in multiples of CTranslate2 int8: 1.44 (at least 1.9)",
        f"FAIL  short texts, {of_two}, share of the limit of avx512_vnni: 0.576 (at least 0.75)",
        f"FAIL  mixed texts, {of_two}, in multiples of CTranslate2 int8: 1.8 (at least 1.9)",
        f"FAIL  mixed texts, {of_two}, share of the limit of avx512_vnni: 0.63 (at least 0.65)",
        f"FAIL  one text, {of_two}, p50 in multiples of onnxruntime int8: 0.61 (at most 0.6)",
        f"FAIL  one text, {of_two}, p99 in multiples of p50: 2.131 (at most 2)",
        f"FAIL  2 callers, {of_two}, texts/s in multiples of one caller's: 0.99 (at least 1)",
        f"FAIL  16 callers, {of_two}, texts/s in multiples of bulk: 0.875 (at least 0.9)",
        f"FAIL  16 callers, {of_two}, p99 in multiples of p50: 2.1 (at most 2)",
        "FAIL  seconds to load: 0.16 (at most 0.15)",
        "FAIL  scales per token, Spearman lost: 0.09 (at most 0.08)",
        "FAIL  the artifact's scales, lowest cosine to ONNX Runtime's int8: 0.99 (at least 0.999)",
    ]


def test_other_instruction_sets_have_other_bounds() -> None:
    found = {bound.what: bound.bound for bound in bounds(figures("avx2"))}
    assert found["short texts, 2 threads, in multiples of onnxruntime fp32"] == 2.0
    assert found["mixed texts, 2 threads, in multiples of CTranslate2 int8"] == 1.5
    assert found["short texts, 2 threads, share of the limit of avx2"] == 0.6
    assert found["one text, 2 threads, p50 in multiples of onnxruntime int8"] == 0.7
    assert "short texts, 2 threads, in multiples of onnxruntime int8" not in found
    with_amx = {bound.what: bound.bound for bound in bounds(figures("amx_int8"))}
    assert with_amx["mixed texts, 2 threads, in multiples of onnxruntime int8"] == 2.0
    assert not any("share of the limit" in what for what in with_amx)  # it was not measured


def test_what_was_not_measured_has_no_bound() -> None:
    few = figures()
    few["quality"] = {}
    del few["limit_gops"], few["speeds"]["2"]["CTranslate2 int8"]
    assert len(bounds(few)) == 9
    assert not any("CTranslate2" in bound.what for bound in bounds(few))

from pathlib import Path
from typing import Any

import pytest

from lanner.artifact.artifact import Artifact

pytest.importorskip("lanner_native", reason="lanner-native is not built (make native)")

from lanner_perf.tools import native

PAIRS = (
    "a man plays,a woman plays,3\nthe guitar,the food,1\na man is eating,a man eats,4\n" * 4
    + "the,a,0\n"
)


def figures(speed: float, lost: float) -> dict[str, Any]:
    scaled = {"cosine_mean": 0.999, "neighbours": 0.97, "lost_spearman": lost}
    fast, slow = {"one_text_ms": 0.6}, {"one_text_ms": 1.0}
    for texts in ("short", "mixed"):
        fast[f"{texts}_texts_per_s"], slow[f"{texts}_texts_per_s"] = 1_900, 1_000
    return {
        "speeds": {"1": {"native int8": fast, "CTranslate2 int8": slow, "onnxruntime int8": slow}},
        "digest": {"instruction_set": "amx_int8"},
        "us_a_token": {
            "32x16": {"onnxruntime": {"median": 60}, "amx_int8": {"median": 60 / speed}}
        },
        "quality": {"native int8, scales per token": scaled},
    }


def test_it_measures_and_says_which_bounds_are_missed(
    tiny_artifact: Artifact,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs, output = tmp_path / "pairs.csv", tmp_path / "native.json"
    pairs.write_text(PAIRS, encoding="utf-8")
    arguments = [str(tiny_artifact.directory), "--pairs", str(pairs), "--output", str(output)]
    monkeypatch.setattr(native, "SHAPES", ((1, 4), (32, 16)))
    monkeypatch.setattr(native, "speeds", lambda *_: figures(2, 0)["speeds"]["1"])
    native.main([*arguments, "--rounds", "1"])
    assert output.read_text(encoding="utf-8") == capsys.readouterr().out
    assert '"cosine_min"' in output.read_text(encoding="utf-8")
    assert '"vectors"' in output.read_text(encoding="utf-8")


def test_a_bound_is_missed_from_its_limit_on() -> None:
    assert native.missed(figures(2.0, 0.08)) == []
    (slow,) = native.missed(figures(1.99, 0))
    assert slow == "amx_int8 is 1.99 times as fast on short texts, not 2.0"
    late = figures(3, 0)
    late["speeds"]["1"]["native int8"] |= {"one_text_ms": 0.71, "mixed_texts_per_s": 1_490}
    assert native.missed(late) == [
        "mixed, threads=1: 1.49 times CTranslate2 int8, not 1.9",
        "one text, threads=1: 0.71 of the time of onnxruntime int8, not 0.6",
    ]
    late["digest"]["instruction_set"] = "avx2"
    late["speeds"]["1"]["onnxruntime fp32"] = {"short_texts_per_s": 950, "mixed_texts_per_s": 800}
    assert native.missed(late) == [
        "mixed, threads=1: 1.49 times CTranslate2 int8, not 1.5",
        "mixed, threads=1: 1.86 times onnxruntime fp32, not 2.0",
        "one text, threads=1: 0.71 of the time of onnxruntime int8, not 0.7",
    ]
    (lossy,) = native.missed(figures(3, 0.09))
    assert lossy.startswith("scales per token lose too much: {'cosine_mean': 0.999")

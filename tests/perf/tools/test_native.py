import json
from pathlib import Path

import pytest

from lanner.artifact.artifact import Artifact

pytest.importorskip("lanner_native", reason="lanner-native is not built (make native)")

from lanner_perf.tools import native

PAIRS = (
    "a man plays,a woman plays,3\nthe guitar,the food,1\na man is eating,a man eats,4\n" * 4
    + "the,a,0\n"
)


FIGURES = {
    "native int8": {
        "short_texts_per_s": 2_000,
        "mixed_texts_per_s": 500,
        "one_text_ms": 0.5,
        "one_text_p99_ms": 0.9,
    },
    **{
        name: {"short_texts_per_s": 1_000, "mixed_texts_per_s": 250, "one_text_ms": 1.0}
        for name in ("onnxruntime int8", "onnxruntime fp32", "CTranslate2 int8")
    },
}
CALLERS = {
    "threads": 2,
    "points": {
        count: {"texts_per_s": 1_900.0, "p50_ms": 8.0, "p99_ms": 15.0} for count in ("1", "8", "16")
    },
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
    monkeypatch.setattr(native, "speeds", lambda *_, **__: FIGURES)
    monkeypatch.setattr(native, "callers", lambda *_: CALLERS)
    ended = native.main([*arguments, "--rounds", "1"])
    said = capsys.readouterr()
    assert output.read_text(encoding="utf-8") == said.out
    found = json.loads(said.out)
    assert found["quality"]["native int8"]["cosine_min_to_onnxruntime"] > 0.9
    assert len(found["digest"]["vectors"]) == 64
    assert found["load_s"] > 0
    # Two layers, 32 wide with 64 between their products.
    assert found["operations_a_token"] == 2 * 2 * (4 * 32 * 32 + 2 * 32 * 64)
    assert "pass  short texts, 1 threads, in multiples of CTranslate2 int8: 2 (at least" in said.err
    assert ended == (1 if "FAIL" in said.err else 0)

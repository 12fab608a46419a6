"""Hand-made graphs, measured in Lanner's place."""

import json
import sys
from pathlib import Path

import pytest
from tests.support.checkpoints import bert_checkpoint
from tests.support.perf_inputs import write_pairs

from lanner.artifact.artifact import Artifact
from lanner.commands import main

pytest.importorskip("scipy", reason="needs lanner-bench")
pytest.importorskip("torch", reason="the exporter")

from lanner_perf.peers.by_hand import BY_HAND, make_by_hand


@pytest.mark.slow
def test_they_are_measured_beside_the_variants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lanner_export.export import export  # noqa: PLC0415

    # Stock quantization refuses a Dense module, because it reads the shape of a transposed weight
    # wrongly.
    checkpoint = bert_checkpoint(tmp_path / "checkpoint", dense=False)
    artifact = export(checkpoint, tmp_path / "tiny.lanner")
    monkeypatch.chdir(tmp_path)  # files for peers go into build/ here
    options: list[object] = [artifact.directory, "--checkpoint", checkpoint, "--quick", "--json"]
    options += ["--against", ",".join(BY_HAND), "--suites", "latency,throughput,quality"]
    options += ["--pairs", write_pairs(tmp_path / "pairs.csv"), "--threads", 1]
    assert main(["bench", *map(str, options)]) == 0
    report = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in report["subjects"]}
    assert list(rows) == [
        "sentence-transformers torch fp32",
        "stock quantize_dynamic",
        "dynamic int8, QAttention",
        "lanner fp32",
        "lanner int8",
    ]
    # The stock file gives the checkpoint's answers, but its scales depend on the batch.
    assert rows["stock quantize_dynamic"]["quality"]["cosine_mean"] > 0.9
    moves = {name: 1 - row["quality"]["batch_independence_cosine"] for name, row in rows.items()}
    assert moves["stock quantize_dynamic"] > 3e-5
    assert max(moves["lanner fp32"], moves["lanner int8"]) < 1e-5
    measured = {check["what"]: check["measured"] for check in report["checks"]}
    assert measured["int8: p50 of one text, of dynamic int8, QAttention"] > 0
    assert measured["int8: size, of fp32"] == pytest.approx(
        rows["lanner int8"]["model_bytes"] / rows["lanner fp32"]["model_bytes"]
    )


@pytest.mark.slow
def test_what_cannot_be_made_has_its_reason(
    tiny_artifact: Artifact,
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "lanner_perf.peers.fused", raising=False)
    monkeypatch.setitem(sys.modules, "onnx_ir", None)
    told: list[str] = []
    specs, left_out = make_by_hand(
        list(BY_HAND), tiny_artifact, str(tiny_checkpoint), tmp_path, told.append
    )
    assert specs == []
    stock, fused = left_out
    # With a Dense module: the quantizer transposes its weight, but not the shape that it noted.
    assert stock["reason"].endswith("differ in dimension 0: (32) vs (12)")
    assert fused == {
        "name": "dynamic int8, QAttention",
        "reason": "it needs the package 'onnx_ir': pip install 'lanner[export]'",
    }
    assert told == ["making stock quantize_dynamic", "making dynamic int8, QAttention"]

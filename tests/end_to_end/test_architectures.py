"""Every cell of the support table: a tiny random checkpoint through the whole export.

The export compares whole answers with the checkpoint in its own framework, so a cell that passes is
right. The counts show the fused operators.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.architectures import MATRIX, cell_cases, page
from tests.support.cells import Cell, MakeCell, export_cell, require_known

from lanner.artifact.artifact import Artifact
from lanner.engines import onnxruntime
from lanner.loading.load import load
from lanner.machine.machine import this_machine

pytest.importorskip("torch", reason="needs the export extra")

from tests.support.census import require_half_graph

from lanner_perf.floor.operations import count_operations

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "head"),
    cell_cases(),
)
def test_it_answers_as_its_checkpoint_does(
    name: str, head: str, make_cell: MakeCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = MATRIX[name]
    artifact, _, warnings = make_cell(name, head)
    assert artifact.manifest.head == head
    has_types = row.has_types and head in ("score", "classify")
    assert ("token_type_ids" in artifact.manifest.inputs) == has_types
    quality = artifact.quality()["variants"]
    assert quality["fp32"]["largest_difference"] <= 1e-4
    if head == "tokens":
        assert quality["fp32"]["cosine_min"] >= 0.99999
        assert quality["int8"]["cosine_mean"] >= 0.98
        assert quality["fp16"]["cosine_mean"] >= 0.99999
        assert quality["bf16"]["cosine_mean"] >= 0.9997
    elif head in ("embed", "sparse"):
        assert quality["fp32"]["cosine_min"] >= 0.99999
        assert quality["int8"]["cosine_min"] >= 0.98
        assert quality["fp16"]["cosine_min"] >= 0.99999
        # A weight of a token is a logarithm, and most of them are 0.
        assert quality["bf16"]["cosine_min"] >= (0.9995 if head == "sparse" else 0.9997)
    else:
        assert quality["int8"]["mean_score_difference"] <= 0.02
        assert quality["fp16"]["mean_score_difference"] <= 0.001
        assert quality["bf16"]["mean_score_difference"] <= 0.005
        assert quality["int8"]["batch_independence_difference"] <= 0.01
    counts = artifact.choose("fp32").fused_ops
    assert set(counts) >= row.fused
    for precision in ("fp16", "bf16"):
        # ONNX Runtime itself fuses the layer norms of DeBERTa v1, and in fp32 alone.
        unfused = {"LayerNormalization"} if name == "DeBERTa v1" else set()
        assert set(artifact.choose(precision).fused_ops) >= row.fused - unfused
        products = require_half_graph(artifact.file(f"model.{precision}.onnx"), precision)
        assert products >= 4 * artifact.manifest.architecture.layers
    work = [count_operations(artifact.file(f"model.{p}.onnx")) for p in ("fp32", "int8")]
    assert work[0].flop_per_token_squared > 0
    assert work[0] == work[1]
    # A warning names the operators that are not fused, and no others.
    warnings = [text for text in warnings if "--pooling" not in text]
    assert all(bool(counts.get("Attention")) != ("attentions" in text) for text in warnings)
    assert bool(warnings) or counts["Attention"] == 2
    require_same_without_vnni(artifact, monkeypatch)
    loaded = load(artifact.directory)
    if head == "embed":
        assert loaded.encode("a man plays").shape == (artifact.manifest.dimension,)
    elif head == "sparse":
        assert loaded.encode_sparse("a man plays").shape == (1, artifact.manifest.dimension)
    elif head == "tokens":
        assert loaded.encode_tokens("a man plays").shape[1] == artifact.manifest.dimension
    elif head == "score":
        assert loaded.score([("a man", "a guitar")]).shape == (1,)
    elif head == "classify":
        assert loaded.classify("a man plays").label in ("yes", "no", "maybe")
    else:
        assert all(entity.label in ("PER", "LOC") for entity in loaded.tag("a man plays"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, row in MATRIX.items() if row.is_rare])
def test_a_rarer_architecture_has_its_checkpoint_s_vectors(name: str, tmp_path: Path) -> None:
    require_known(name)
    export_cell(name, "embed", tmp_path, precisions=("fp32", "int8"))
    artifact = Cell.open(tmp_path).artifact
    quality = artifact.quality()["variants"]
    assert quality["fp32"]["cosine_min"] >= 0.99999
    assert quality["int8"]["cosine_min"] >= 0.98
    assert set(artifact.choose("fp32").fused_ops) >= MATRIX[name].fused
    assert artifact.choose("int8").fused_ops["MatMulIntegerToFloat"] >= 10
    # A text has the same vector beside one that is longer than all windows and buckets.
    model = load(artifact.directory, variant="fp32")
    texts = ["a man plays", "our train departs at seven in the morning " * 4]
    alone = np.stack([model.encode(text) for text in texts])
    np.testing.assert_allclose(model.encode(texts), alone, atol=1e-5)


def require_same_without_vnni(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    """Return int8 as another processor loads it (test_other_processor.py emulates one)."""
    path, generator = artifact.file("model.int8.onnx"), np.random.default_rng(0)
    feed = {name: generator.integers(5, 30, (3, 9)) for name in artifact.manifest.inputs}
    feed["attention_mask"] = np.ones((3, 9), np.int64)
    if "token_type_ids" in feed:
        feed["token_type_ids"] = np.zeros((3, 9), np.int64)
    answers = []
    for flags in (this_machine().cpu_flags, ("avx2",)):
        machine = replace(this_machine(), cpu_flags=flags)
        with monkeypatch.context() as context:
            context.setattr(onnxruntime, "this_machine", lambda machine=machine: machine)
            answers.append(onnxruntime.open_session(path).run(None, feed)[0])
    np.testing.assert_allclose(answers[1], answers[0], rtol=1e-4, atol=1e-4)


def test_the_support_table_is_this_matrix() -> None:
    text = (ROOT / "docs" / "support.md").read_text(encoding="utf-8")
    assert text == page(), "run python -m tests.support.architectures > docs/support.md"


def test_the_guide_names_these() -> None:
    text = (ROOT / "docs" / "guide" / "export.md").read_text(encoding="utf-8")
    named = " ".join(text.split()).partition("architectures are supported: ")[2].partition(". ")[0]
    assert set(named.split(", ")) == set(MATRIX)

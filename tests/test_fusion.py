"""Fused operators are counted, with whichever generation of transformers runs these tests.

`make test` runs them with both.
"""

from pathlib import Path

import pytest

from lanner.artifact import Artifact
from lanner.manifest import Architecture

pytest.importorskip("torch", reason="needs the export extra")

from lanner_export.fusion import count_fused_ops, unfused_layers


def test_every_layer_of_minilm_is_fused(minilm_artifact: Artifact) -> None:
    counts = {v.name: v.fused_ops for v in minilm_artifact.manifest.variants}
    # 6 layers: an attention, a GELU and two layer norms each, and the norm of the embeddings.
    assert counts["fp32"] == {"Attention": 6, "Gelu": 6, "LayerNormalization": 13}
    # Six products a layer: query, key, value, attention's output and the two of the feed-forward.
    assert counts["int8"] == {**counts["fp32"], "MatMulIntegerToFloat": 36}


def test_every_layer_of_the_tiny_model_is_fused(tiny_artifact: Artifact) -> None:
    counts = {v.name: v.fused_ops for v in tiny_artifact.manifest.variants}
    assert counts["fp32"] == {"Attention": 2, "Gelu": 2, "LayerNormalization": 5}
    assert counts["int8"]["MatMulIntegerToFloat"] == 12


def test_the_counts_are_of_the_file(tiny_artifact: Artifact) -> None:
    variant = tiny_artifact.choose("fp32")
    assert count_fused_ops(tiny_artifact.file(variant.file)) == variant.fused_ops


def test_a_graph_without_fusion_has_no_counts(word_artifact: Path) -> None:
    assert count_fused_ops(word_artifact / "model.fp32.onnx") == {}


@pytest.mark.parametrize(
    ("counts", "unfused"),
    [({"Attention": 6}, 0), ({"Attention": 4, "Gelu": 6}, 2), ({}, 6), ({"QAttention": 6}, 0)],
)
def test_unfused_layers(counts: dict[str, int], unfused: int) -> None:
    architecture = Architecture("bert", 6, 12, 384, 30522, 1)
    assert unfused_layers(counts, architecture) == unfused

"""Fused operators are counted, with the generation of transformers that runs these tests.

`make test` runs them with both.
"""

from pathlib import Path

import pytest
from tests.support.checkpoints import bert_model

from lanner.artifact.artifact import Artifact

pytest.importorskip("torch", reason="needs the export extra")

from lanner_export.graph.fusion import count_fused_ops, count_written_ops, lost_fusions


def test_every_layer_of_minilm_is_fused(minilm_artifact: Artifact) -> None:
    counts = {v.name: v.fused_ops for v in minilm_artifact.manifest.variants}
    # 6 layers with an attention, a GELU and two layer norms each, and the norm of the embeddings.
    assert counts["fp32"] == {"Attention": 6, "Gelu": 6, "LayerNormalization": 13}
    # Six products in each layer: query, key, value, attention's output and two of the feed-forward.
    assert counts["int8"] == {**counts["fp32"], "MatMulIntegerToFloat": 36}


def test_every_layer_of_the_tiny_model_is_fused(tiny_artifact: Artifact) -> None:
    counts = {v.name: v.fused_ops for v in tiny_artifact.manifest.variants}
    assert counts["fp32"] == {"Attention": 2, "Gelu": 2, "LayerNormalization": 5}
    assert counts["int8"]["MatMulIntegerToFloat"] == 12


def test_a_graph_without_fusion_has_no_counts(word_artifact: Path) -> None:
    assert count_fused_ops(word_artifact / "model.fp32.onnx") == {}


def test_a_file_is_counted_as_it_stands(tiny_artifact: Artifact) -> None:
    # The products of int8 stand between quantizations; only ONNX Runtime fuses them into one.
    expected = {"Attention": 2, "Gelu": 2, "LayerNormalization": 5}
    assert count_written_ops(tiny_artifact.file("model.int8.onnx")) == expected


@pytest.mark.parametrize(
    ("counts", "lost"),
    [
        ({"Attention": 2, "Gelu": 2, "LayerNormalization": 5}, []),
        (
            {"QAttention": 2, "BiasGelu": 2, "SkipLayerNormalization": 4, "LayerNormalization": 1},
            [],
        ),
        ({"Attention": 9, "Gelu": 2, "LayerNormalization": 5}, []),
        ({"Gelu": 2, "LayerNormalization": 5}, ["2 of 2 attentions"]),
        ({"Attention": 2, "Gelu": 1, "LayerNormalization": 5}, ["1 of 2 GELUs"]),
        ({}, ["2 of 2 attentions", "2 of 2 GELUs", "5 of 5 layer norms"]),
    ],
)
def test_lost_fusions_are_named(counts: dict[str, int], lost: list[str]) -> None:
    assert lost_fusions(counts, bert_model(), layers=2) == lost

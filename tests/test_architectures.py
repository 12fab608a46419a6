"""Every architecture that the README names, as a tiny random checkpoint, through the whole export.

The export compares whole answers with the checkpoint in its own framework, so that one which passes
here is right; the counts say how much of it is fused.
"""

from pathlib import Path
from typing import Any

import pytest

from lanner.loading import load
from tests.checkpoints import MAX_POSITIONS, VOCABULARY_SIZE, plain_checkpoint

torch = pytest.importorskip("torch", reason="needs the export extra")
transformers = pytest.importorskip("transformers", reason="needs the export extra")

from lanner_export.export import export  # noqa: E402

SIZES = {
    "vocab_size": VOCABULARY_SIZE,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": MAX_POSITIONS + 2,  # RoBERTa's kind leaves two of them unused
    "initializer_range": 0.2,
    "pad_token_id": 0,
}
DISTILBERT_SIZES = {
    "vocab_size": VOCABULARY_SIZE,
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 64,
    "max_position_embeddings": MAX_POSITIONS,
    "initializer_range": 0.2,
}
DEBERTA = {
    "relative_attention": True,
    "pos_att_type": ["c2p", "p2c"],
    "position_buckets": 16,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
}
# Fewer neighbours than the longest text has tokens, so that the sliding window matters.
MODERNBERT = {
    **SIZES,
    "local_attention": 8,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "cls_token_id": 2,
    "sep_token_id": 3,
}
MOBILEBERT = {"embedding_size": 16, "intra_bottleneck_size": 16, "true_hidden_size": 16}
#: Class name, configuration, and what is fused with both generations of transformers.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any], set[str]]] = {
    "BERT": ("Bert", SIZES, {"Attention", "Gelu", "LayerNormalization"}),
    "RoBERTa": ("Roberta", SIZES, {"Attention", "Gelu", "LayerNormalization"}),
    "XLM-RoBERTa": ("XLMRoberta", SIZES, {"Attention", "Gelu", "LayerNormalization"}),
    "CamemBERT": ("Camembert", SIZES, {"Attention", "Gelu", "LayerNormalization"}),
    "DistilBERT": (
        "DistilBert",
        DISTILBERT_SIZES,
        {"Attention", "Gelu", "LayerNormalization"},
    ),
    "ELECTRA": ("Electra", {**SIZES, "embedding_size": 16}, {"Gelu", "LayerNormalization"}),
    "ALBERT": ("Albert", {**SIZES, "embedding_size": 16}, {"Attention", "LayerNormalization"}),
    "MPNet": ("MPNet", SIZES, {"Gelu", "LayerNormalization"}),
    "MobileBERT": ("MobileBert", {**SIZES, **MOBILEBERT}, set()),
    "ModernBERT": ("ModernBert", MODERNBERT, {"Attention", "Gelu", "LayerNormalization"}),
    "NomicBERT": ("NomicBert", SIZES, {"Attention", "LayerNormalization"}),
    "DeBERTa": ("DebertaV2", {**SIZES, **DEBERTA}, {"Gelu", "LayerNormalization"}),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_it_answers_as_its_checkpoint_does(name: str, tmp_path: Path) -> None:
    class_name, sizes, fused = ARCHITECTURES[name]
    if not hasattr(transformers, f"{class_name}Config"):
        pytest.skip(f"transformers {transformers.__version__} does not carry {name}")
    torch.manual_seed(0)
    config = getattr(transformers, f"{class_name}Config")(**sizes)
    model = getattr(transformers, f"{class_name}Model")(config).eval()
    checkpoint = plain_checkpoint(tmp_path / "checkpoint", model)
    warnings: list[str] = []
    artifact = export(checkpoint, tmp_path / "out.lanner", warn=warnings.append)
    quality = artifact.quality()["variants"]
    assert quality["fp32"]["cosine_min"] >= 0.99999
    assert quality["fp32"]["largest_difference"] <= 1e-4
    assert quality["int8"]["cosine_min"] >= 0.98
    counts = artifact.choose("fp32").fused_ops
    assert set(counts) >= fused
    # What is not fused is said, and nothing is said of what is.
    assert all(bool(counts.get("Attention")) != ("attentions" in text) for text in warnings)
    assert bool(warnings) or counts["Attention"] == 2
    assert load(artifact.directory).encode("a man plays").shape == (artifact.manifest.dimension,)


def test_the_readme_names_these() -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    named = " ".join(text.split()).partition("of an encoder: ")[2].partition(". `")[0]
    assert set(named.split(", ")) == set(ARCHITECTURES)

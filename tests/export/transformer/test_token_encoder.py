"""Encoders of tokens, against sentence-transformers' `MultiVectorEncoder`."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.checkpoints import (
    SENTENCES,
    bert_checkpoint,
    colbert_checkpoint,
    edit_json,
    plain_checkpoint,
)
from tests.support.marks import slow

from lanner.artifact.artifact import Artifact
from lanner.errors import UnsupportedError
from lanner.loading.load import load

pytest.importorskip("torch", reason="needs the export extra")
sentence_transformers = pytest.importorskip("sentence_transformers", reason="the reference")
if not hasattr(sentence_transformers, "MultiVectorEncoder"):
    pytest.skip("needs sentence-transformers 6", allow_module_level=True)

from lanner_export.export import export  # noqa: E402

TEXTS = [*SENTENCES, "", "guitar " * 40, "x? y.", "How? do. I? reset"]


def exported(checkpoint: Path, output: Path, **options: Any) -> Any:
    return load(export(checkpoint, output, precisions=["fp32"], **options).directory)


def require_equal(model: Any, checkpoint: Path) -> None:
    framework = sentence_transformers.MultiVectorEncoder(str(checkpoint), device="cpu")
    queries = framework.encode_query(TEXTS, batch_size=4)
    documents = framework.encode_document(TEXTS, batch_size=4)
    ours = {task: model.encode_tokens(TEXTS, task=task) for task in ("query", "document")}
    for found, expected in ((ours["query"], queries), (ours["document"], documents)):
        assert [one.shape for one in found] == [tuple(one.shape) for one in expected]
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, np.asarray(other.cpu()), atol=1e-4)
    np.testing.assert_allclose(
        model.similarity(ours["query"], ours["document"]),
        framework.similarity(queries, documents).numpy(),
        atol=1e-4,
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        *slow(
            {"attends": True, "similarity": "meanmaxsim"},
            {"strategy": "min", "query_length": 14},
            {"strategy": None, "prompts": {}, "skips_in": ("query", "document")},
        ),
    ],
    ids=str,
)
def test_the_vectors_are_those_of_sentence_transformers(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    path = colbert_checkpoint(tmp_path / "model", **options)
    model = exported(path, tmp_path / "out")
    manifest = model.manifest
    assert (manifest.head, manifest.outputs) == ("tokens", ["token_embeddings"])
    assert (manifest.dimension, manifest.late_interaction.document_tokens) == (12, 16)
    require_equal(model, path)


def test_a_checkpoint_of_pylate(tmp_path: Path) -> None:
    path = as_pylate_saves_it(colbert_checkpoint(tmp_path / "model", prompts={}))
    model = exported(path, tmp_path / "out")
    late = model.manifest.late_interaction
    assert (late.query_tokens, late.expanded_tokens, late.document_tokens) == (10, 10, 14)
    assert model.manifest.prompts == {"query": "[Q] ", "document": "[D] "}
    # Behind the first token stands the mark, one token of its own.
    ids = model.tokenizer.encode(["[Q] a man", "a man"])
    assert ids[0] == [ids[1][0], model.tokenizer.encode(["[Q] "])[0][1], *ids[1][1:]]
    require_equal(model, path)


def as_pylate_saves_it(path: Path) -> Path:
    """Turn a checkpoint into one of PyLate 1: marks, no mask, a Dense module of its own."""
    from transformers import AutoModel, AutoTokenizer  # noqa: PLC0415

    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.add_tokens(["[Q] ", "[D] "])
    tokenizer.save_pretrained(path)
    model = AutoModel.from_pretrained(path)
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(path)
    entries = json.loads((path / "modules.json").read_text())[:2]
    entries[1]["type"] = "pylate.models.Dense.Dense"
    (path / "modules.json").write_text(json.dumps(entries))
    edit_json(
        path / "config_sentence_transformers.json",
        model_type="ColBERT",
        prompts={},
        query_prefix="[Q] ",
        document_prefix="[D] ",
        query_length=10,
        document_length=14,
        attend_to_expansion_tokens=False,
        skiplist_words=["?", "."],
        similarity_fn_name="MaxSim",
    )
    for name in ("sentence_bert_config.json",):
        content = json.loads((path / name).read_text())
        kept = {key: content[key] for key in ("max_seq_length", "do_lower_case") if key in content}
        (path / name).write_text(json.dumps(kept))
    return path


def test_tokens_of_any_encoder(tiny_checkpoint: Path, tmp_path: Path) -> None:
    framework = sentence_transformers.SentenceTransformer(str(tiny_checkpoint), device="cpu")
    model = exported(tiny_checkpoint, tmp_path / "out", head="tokens")
    assert (model.manifest.dimension, model.manifest.late_interaction) == (32, None)
    for text in TEXTS:
        expected = framework.encode(text, output_value="token_embeddings").numpy()
        np.testing.assert_allclose(model.encode_tokens(text), expected, atol=1e-4)
    # The mean of them is what the pooling of the checkpoint takes.
    plain = plain_checkpoint(tmp_path / "plain")
    assert exported(plain, tmp_path / "other", head="tokens").encode_tokens("a").shape == (3, 32)


def test_the_card_compares_tokens(colbert_artifact: Artifact) -> None:
    quality = colbert_artifact.quality()
    agreement = quality["agreement"]["variants"]
    assert list(agreement["int8"]) == ["cosine", "rank_correlation"]
    assert agreement["fp32"]["cosine"] >= 0.99999
    assert agreement["int8"]["cosine"] >= 0.97
    assert quality["variants"]["fp32"]["largest_difference"] <= 1e-4


def test_what_is_refused(tmp_path: Path) -> None:
    path = colbert_checkpoint(tmp_path / "model")
    other = tmp_path / "pooled"
    shutil.copytree(path, other)
    entries = json.loads((other / "modules.json").read_text())
    kind = (
        "sentence_transformers.multi_vector_encoder.modules.token_pooling.HierarchicalTokenPooling"
    )
    (other / "modules.json").write_text(json.dumps([*entries, {**entries[2], "type": kind}]))
    with pytest.raises(
        UnsupportedError,
        match=r"has the module sentence_transformers.*HierarchicalTokenPooling, which Lanner does "
        r"not export: it exports Transformer, Dense, LayerNorm, Normalize, Dropout, MultiVectorMa",
    ):
        export(other, tmp_path / "out", precisions=["fp32"])
    stanford = plain_checkpoint(tmp_path / "stanford")
    edit_json(stanford / "config.json", architectures=["HF_ColBERT"])
    with pytest.raises(
        UnsupportedError,
        match=r"holds no modules.json: load it with sentence-transformers' MultiVectorEncoder, save"
        r" it with save_pretrained, and export that$",
    ):
        export(stanford, tmp_path / "out", precisions=["fp32"])
    edit_json(path / "2_MultiVectorMask" / "config.json", keep_only_token_ids=[3])
    with pytest.raises(UnsupportedError, match=r"or one that keeps tokens of images alone"):
        export(path, tmp_path / "out", precisions=["fp32"])
    embedder = bert_checkpoint(tmp_path / "embedder", dense=False)
    with pytest.raises(UnsupportedError, match=r"--truncate-dim is for the head 'embed'"):
        export(embedder, tmp_path / "out", head="tokens", truncate_dim=4)

"""SPLADE checkpoints, against sentence-transformers' `SparseEncoder`."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.checkpoints import (
    SENTENCES,
    bert_checkpoint,
    bert_model,
    edit_json,
    inference_free_checkpoint,
    plain_checkpoint,
    sparse_checkpoint,
)

from lanner.artifact.artifact import Artifact
from lanner.commands import main
from lanner.errors import CheckpointError, UnsupportedError
from lanner.loading.load import load

pytest.importorskip("torch", reason="needs the export extra")
sentence_transformers = pytest.importorskip("sentence_transformers", reason="the reference")

from lanner_export.export import export  # noqa: E402

TEXTS = [*SENTENCES, "", "guitar " * 40, "x"]


def reference(checkpoint: Path) -> Any:
    return sentence_transformers.SparseEncoder(str(checkpoint), device="cpu")


def exported(checkpoint: Path, output: Path, **options: Any) -> Any:
    return load(export(checkpoint, output, precisions=["fp32"], **options).directory)


def require_equal(model: Any, framework: Any, **options: Any) -> None:
    expected = framework.encode(TEXTS, convert_to_sparse_tensor=False, **options).numpy()
    found = model.encode_sparse(TEXTS, **options)
    np.testing.assert_allclose(found.toarray(), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("pooling", "activation"),
    [("max", "relu"), pytest.param("sum", "log1p_relu"), pytest.param("max", "log1p_relu")],
)
def test_the_weights_are_those_of_sentence_transformers(
    tmp_path: Path, pooling: str, activation: str
) -> None:
    path = sparse_checkpoint(tmp_path / "model", pooling=pooling, activation=activation)
    model, framework = exported(path, tmp_path / "out"), reference(path)
    manifest = model.manifest
    assert (manifest.head, manifest.similarity) == ("sparse", "dot")
    assert (manifest.outputs, manifest.dimension) == (["sparse_embedding"], 200)
    assert manifest.source["pooling"] == pooling
    require_equal(model, framework)
    vectors = framework.encode(TEXTS)
    np.testing.assert_allclose(
        model.similarity(model.encode_sparse(TEXTS), model.encode_sparse(TEXTS)),
        framework.similarity(vectors, vectors).numpy(),
        rtol=1e-4,
        atol=1e-4,
    )
    expected = framework.decode(vectors, top_k=3)
    for ours, theirs in zip(
        model.decode_sparse(model.encode_sparse(TEXTS), top_k=3), expected, strict=True
    ):
        # Where the vocabulary ends before the table does, sentence-transformers has no name.
        named = [None if re.fullmatch(r"\[\d+\]", term) else term for term, _ in ours]
        assert named == [term for term, _ in theirs]
        assert [w for _, w in ours] == pytest.approx([w for _, w in theirs], abs=1e-4)


def test_its_settings_are_kept(tmp_path: Path) -> None:
    path = sparse_checkpoint(
        tmp_path / "model",
        prompts={"query": "the train: ", "document": "a man "},
        default_prompt_name="document",
        similarity_fn_name="cosine",
        max_active_dims=7,
    )
    model, framework = exported(path, tmp_path / "out"), reference(path)
    # sentence-transformers 5 does not save it.
    kept = 7 if framework.max_active_dims else None
    assert (model.similarity_fn_name, model.max_active_dims) == ("cosine", kept)
    if kept:
        assert model.encode_sparse(TEXTS).getnnz(axis=1).max() == 7
    for options in ({}, {"prompt_name": "query"}, {"prompt": ""}, {"max_active_dims": 3}):
        require_equal(model, framework, **options)
    expected = framework.encode_query(TEXTS, convert_to_sparse_tensor=False).numpy()
    np.testing.assert_allclose(
        model.encode_sparse(TEXTS, task="query").toarray(), expected, atol=1e-4
    )


def test_queries_are_looked_up_without_inference(tmp_path: Path) -> None:
    path = inference_free_checkpoint(
        tmp_path / "model", prompts={"query": "a man ", "document": ""}
    )
    model, framework = exported(path, tmp_path / "out"), reference(path)
    assert model.manifest.query_weights == "query_weights.npy"
    for task, encode in (
        ("query", framework.encode_query),
        ("document", framework.encode_document),
    ):
        expected = encode(TEXTS, convert_to_sparse_tensor=False).numpy()
        found = model.encode_sparse(TEXTS, task=task).toarray()
        # The tokenizer has fewer tokens than the language model.
        width = expected.shape[1]
        np.testing.assert_allclose(found[:, :width], expected, atol=1e-4)
        assert not found[:, width:].any()
    # A word that comes twice weighs as much as once, and special tokens nothing.
    found = model.encode_sparse(["guitar", "guitar guitar", ""], prompt="", task="query").toarray()
    assert (found[0] == found[1]).all()
    assert not found[2].any()


def test_other_routes_are_refused_by_name(tmp_path: Path) -> None:
    path = inference_free_checkpoint(tmp_path / "model")
    settings = json.loads((path / "router_config.json").read_text())
    edit_json(path / "router_config.json", structure={"query": [*settings["types"]][:1]})
    with pytest.raises(
        UnsupportedError,
        match=r"router_config.json has the routes query: SparseStaticEmbedding, and Lanner exports "
        r"one of queries by SparseStaticEmbedding and one of documents: export the directory of a",
    ):
        export(path, tmp_path / "out", precisions=["fp32"])
    edit_json(path / "router_config.json", structure=3)
    with pytest.raises(
        CheckpointError, match=r"does not list types and structure of routes: 'int'"
    ):
        export(path, tmp_path / "out", precisions=["fp32"])
    types = {"../x": "sentence_transformers.sparse_encoder.modules.SparseStaticEmbedding"}
    edit_json(path / "router_config.json", structure={"query": ["../x"]}, types=types)
    with pytest.raises(
        CheckpointError, match=r"which is not in the checkpoint: Lanner reads nothing"
    ):
        export(path, tmp_path / "out", precisions=["fp32"])


def test_a_plain_masked_language_model_is_named_so(tmp_path: Path) -> None:
    path = plain_checkpoint(tmp_path / "model", bert_model(kind="BertForMaskedLM"))
    model = exported(path, tmp_path / "out", head="sparse")
    assert model.manifest.source["library"] == "transformers"
    require_equal(model, reference(path))


def test_layers_may_go(splade_checkpoint: Path, tmp_path: Path) -> None:
    model = exported(splade_checkpoint, tmp_path / "out", keep_layers=1)
    assert model.manifest.trimming["layers"] == {"kept": [0], "of": 2}


def test_the_card_says_how_many_terms_stay(
    splade_artifact: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    agreement = splade_artifact.quality()["agreement"]["variants"]
    assert list(agreement["int8"]) == ["cosine", "terms@20", "rank_correlation"]
    assert agreement["fp32"]["terms@20"] >= 0.99
    assert agreement["int8"]["terms@20"] >= 0.8
    assert "| terms@20 |" in (splade_artifact.directory / "README.md").read_text()
    assert main(["inspect", str(splade_artifact.directory)]) == 0
    shown = capsys.readouterr().out
    assert "answers     weights of terms, 200 of them, compared by dot" in shown
    assert "pooling     max" in shown


def auto_encoder(path: Path) -> str:
    entries = json.loads((path / "modules.json").read_text())
    kind = "sentence_transformers.sparse_encoder.modules.sparse_auto_encoder.SparseAutoEncoder"
    (path / "modules.json").write_text(json.dumps([entries[0], {**entries[1], "type": kind}]))
    return r"modules\.json lists Transformer, SparseAutoEncoder, and of sparse encoders Lanner"


def foreign(path: Path) -> str:
    entries = json.loads((path / "modules.json").read_text())
    entries[1]["type"] = "theirs.SpladePooling"
    (path / "modules.json").write_text(json.dumps(entries))
    return r"modules\.json lists Transformer, SpladePooling, and of sparse encoders Lanner exports"


@pytest.mark.parametrize("change", [auto_encoder, foreign])
def test_other_modules_are_refused_by_name(
    splade_checkpoint: Path, tmp_path: Path, change: Any
) -> None:
    path = tmp_path / "model"
    shutil.copytree(splade_checkpoint, path)
    with pytest.raises(UnsupportedError, match=change(path)):
        export(path, tmp_path / "out", precisions=["fp32"])
    assert not (tmp_path / "out").exists()


def test_an_encoder_without_a_language_model_is_refused(
    splade_checkpoint: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model"
    shutil.copytree(splade_checkpoint, path)
    edit_json(path / "sentence_bert_config.json", transformer_task="feature-extraction")
    with pytest.raises(
        UnsupportedError, match=r"model is a BertModel, which has no head of masked"
    ):
        export(path, tmp_path / "out", precisions=["fp32"])
    plain = plain_checkpoint(tmp_path / "plain")
    with pytest.raises(
        CheckpointError, match=r"plain lacks \d+ weights of the head 'sparse' \(cls"
    ):
        export(plain, tmp_path / "out", precisions=["fp32"], head="sparse")
    embedder = bert_checkpoint(tmp_path / "embedder")
    with pytest.raises(
        UnsupportedError, match=r"lists Transformer, Pooling, Dense, Normalize, and"
    ):
        export(embedder, tmp_path / "out", precisions=["fp32"], head="sparse")


def test_its_vocabulary_is_not_trimmed(splade_checkpoint: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("a man\n")
    with pytest.raises(
        UnsupportedError,
        match=r"answers with a weight for each token of its vocabulary, of which --vocabulary-from "
        r"would take some out: leave it out$",
    ):
        export(splade_checkpoint, tmp_path / "out", vocabulary_from=corpus)

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
from lanner.errors import InputError, UnsupportedError
from lanner.loading.load import load

torch = pytest.importorskip("torch", reason="needs the export extra")
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


def late_reference(framework: Any, text: str, chunk_tokens: int) -> list[Any]:
    """Return the means of chunks of the token embeddings of a text that may be long.

    Windows repeat a quarter of their room. A token counts where it has the most tokens around it,
    and in the later of two windows with as many.
    """
    transformer, tokenizer = framework[0].auto_model, framework.tokenizer
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    room = framework.max_seq_length - 2
    starts = range(0, max(1, len(ids) - room // 4), room - room // 4)
    found: list[Any] = [(-1, None)] * len(ids)
    for start in starts:
        part = ids[start : start + room]
        window = [tokenizer.cls_token_id, *part, tokenizer.sep_token_id]
        with torch.no_grad():
            hidden = transformer(input_ids=torch.tensor([window])).last_hidden_state[0].numpy()
        for place in range(len(part)):
            before = place if start else len(ids)
            after = len(part) - 1 - place if start + room < len(ids) else len(ids)
            if min(before, after) >= found[start + place][0]:
                found[start + place] = (min(before, after), hidden[1 + place])
    rows = [row for _, row in found]
    chunks = [rows[i : i + chunk_tokens] for i in range(0, len(rows), chunk_tokens)]
    return [np.mean(chunk, axis=0) for chunk in chunks]


def require_late_chunks(model: Any, framework: Any) -> None:
    texts = ["a man plays a guitar.", "the guitar of a man is lost, " * 30, "", "guitar"]
    assert model.count_tokens(texts)[1] > 3 * model.max_seq_length
    found = model.encode_chunks(texts, 5, batch_size=3)
    for text, chunks in zip(texts, found, strict=True):
        expected = late_reference(framework, text, 5)
        assert chunks.vectors.shape == (len(expected), 32)
        np.testing.assert_allclose(chunks.vectors, np.reshape(expected, (-1, 32)), atol=1e-4)
        assert len(chunks.characters) == len(expected)
    # Of a text within the limit, they are the token embeddings of sentence-transformers.
    whole = framework.encode(texts[0], output_value="token_embeddings").numpy()[1:-1]
    (one,) = model.encode_chunks(texts[:1])
    np.testing.assert_allclose(one.vectors, [whole.mean(axis=0)], atol=1e-4)
    assert one.characters.tolist() == [[0, len(texts[0])]]
    first, second = found[0].characters.tolist()[:2]
    assert texts[0][: first[1]] + texts[0][first[1] : second[0]] == texts[0][: second[0]]
    with pytest.raises(InputError, match=r"chunk_tokens must be at least 1, not 0"):
        model.encode_chunks(texts, 0)


def test_late_chunks_are_for_encoders(colbert_artifact: Artifact) -> None:
    with pytest.raises(UnsupportedError, match=r"compares tokens, whose mean it was not trained f"):
        load(colbert_artifact.directory).encode_chunks(["a text"])


def test_tokens_of_any_encoder(tiny_checkpoint: Path, tmp_path: Path) -> None:
    framework = sentence_transformers.SentenceTransformer(str(tiny_checkpoint), device="cpu")
    model = exported(tiny_checkpoint, tmp_path / "out", head="tokens")
    assert (model.manifest.dimension, model.manifest.late_interaction) == (32, None)
    for text in TEXTS:
        expected = framework.encode(text, output_value="token_embeddings").numpy()
        np.testing.assert_allclose(model.encode_tokens(text), expected, atol=1e-4)
    require_late_chunks(model, framework)
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

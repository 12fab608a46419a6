"""Settings of a sentence-transformers checkpoint, against the framework."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.checkpoints import SENTENCES, bert_checkpoint, edit_json
from tests.support.marks import slow

from lanner.errors import UnsupportedError
from lanner.loading.load import load

pytest.importorskip("torch", reason="needs the export extra")
sentence_transformers = pytest.importorskip("sentence_transformers", reason="the reference")

from lanner_export.export import export  # noqa: E402

PROMPTS = {"query": "the train: ", "document": "a man "}
TEXTS = [*SENTENCES, "", "guitar " * 40, "x"]


def reference(checkpoint: Path) -> Any:
    return sentence_transformers.SentenceTransformer(str(checkpoint), device="cpu")


def exported(checkpoint: Path, output: Path, **options: Any) -> Any:
    return load(export(checkpoint, output, precisions=["fp32"], **options).directory)


@pytest.mark.parametrize("include_prompt", [True, False])
@pytest.mark.parametrize("pooling", ["mean", *slow("max", "cls", "lasttoken")])
def test_prompts_are_pooled_or_only_read(
    tmp_path: Path, pooling: str, include_prompt: bool
) -> None:
    path = bert_checkpoint(
        tmp_path / "model",
        pooling=pooling,
        include_prompt=include_prompt,
        prompts=PROMPTS,
        default_prompt_name="document",
    )
    framework, model = reference(path), exported(path, tmp_path / "out")
    for options in ({}, {"prompt_name": "query"}, {"prompt": "our "}, {"prompt": ""}):
        # One text at a time: sentence-transformers 5 pads before it counts the prompt.
        expected = np.stack([framework.encode(text, **options) for text in TEXTS])
        np.testing.assert_allclose(model.encode(TEXTS, **options), expected, atol=1e-5)
    assert model.manifest.pools_prompt == include_prompt
    np.testing.assert_allclose(
        model.encode_query(TEXTS), model.encode(TEXTS, prompt_name="query"), atol=1e-6
    )


def test_layer_norm(tmp_path: Path) -> None:
    path = bert_checkpoint(tmp_path / "model", layer_norm=True, normalize=False)
    expected = reference(path).encode(TEXTS, batch_size=1)
    np.testing.assert_allclose(exported(path, tmp_path / "out").encode(TEXTS), expected, atol=1e-5)


def test_dimensions_are_cut_inside_the_graph(tmp_path: Path) -> None:
    path = bert_checkpoint(tmp_path / "model")
    model = exported(path, tmp_path / "out", truncate_dim=5)
    assert model.get_embedding_dimension() == 5
    expected = reference(path).encode(TEXTS, batch_size=1)
    np.testing.assert_allclose(model.encode(TEXTS), expected[:, :5], atol=1e-5)
    whole = exported(path, tmp_path / "whole")
    np.testing.assert_allclose(whole.encode(TEXTS, truncate_dim=5), expected[:, :5], atol=1e-5)


def test_the_checkpoint_s_own_truncation(tmp_path: Path) -> None:
    path = bert_checkpoint(tmp_path / "model")
    edit_json(path / "config_sentence_transformers.json", truncate_dim=7)
    framework = reference(path)
    if framework.truncate_dim != 7:
        pytest.skip("this sentence-transformers does not keep it in the checkpoint")
    model = exported(path, tmp_path / "out")
    np.testing.assert_allclose(model.encode(TEXTS), framework.encode(TEXTS), atol=1e-5)
    assert model.get_embedding_dimension() == 7


@pytest.mark.parametrize("dimension", [0, 13])
def test_more_dimensions_than_there_are_cannot_be_kept(
    tiny_checkpoint: Path, tmp_path: Path, dimension: int
) -> None:
    with pytest.raises(UnsupportedError, match=rf"must be from 1 to 12 for .*, not {dimension}$"):
        export(tiny_checkpoint, tmp_path / "out", truncate_dim=dimension)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dot", "euclidean", "manhattan"])
def test_the_similarity_of_the_checkpoint(tmp_path: Path, name: str) -> None:
    path = bert_checkpoint(tmp_path / "model", normalize=False, similarity_fn_name=name)
    framework, model = reference(path), exported(path, tmp_path / "out")
    assert model.similarity_fn_name == name
    ours, theirs = model.encode(TEXTS), framework.encode(TEXTS)
    expected = framework.similarity(theirs, theirs).numpy()
    # Rounding leaves a little of zero, and its square root is visible.
    np.testing.assert_allclose(model.similarity(ours, ours), expected, atol=5e-3)


def test_a_checkpoint_that_pads_on_the_left(tmp_path: Path) -> None:
    path = bert_checkpoint(tmp_path / "model")
    edit_json(path / "tokenizer_config.json", padding_side="left")
    framework = reference(path)
    assert framework.tokenizer.padding_side == "left"
    # The framework's own answers depend on the batch, because positions count from the padding.
    alone = np.stack([framework.encode(text) for text in TEXTS])
    np.testing.assert_allclose(exported(path, tmp_path / "out").encode(TEXTS), alone, atol=1e-5)


def test_a_checkpoint_that_cuts_on_the_left(tmp_path: Path) -> None:
    path = bert_checkpoint(tmp_path / "model")
    edit_json(path / "tokenizer_config.json", truncation_side="left")
    texts = ["guitar " * 40 + "train", "train " + "guitar " * 40]
    expected = reference(path).encode(texts, batch_size=1)
    assert abs(expected[0] - expected[1]).max() > 1e-3
    np.testing.assert_allclose(exported(path, tmp_path / "out").encode(texts), expected, atol=1e-5)


def test_an_unknown_module_is_refused_by_name(tmp_path: Path) -> None:
    path = bert_checkpoint(tmp_path / "model")
    text = (path / "modules.json").read_text()
    (path / "modules.json").write_text(text.replace("dense.Dense", "lstm.LSTM"))
    with pytest.raises(
        UnsupportedError,
        match=r"has the module sentence_transformers\..*LSTM, which Lanner does not export: ",
    ):
        export(path, tmp_path / "out")

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.checkpoints import (
    bert_model,
    cross_encoder_checkpoint,
    edit_json,
    plain_checkpoint,
    word_piece_tokenizer,
)

from lanner.errors import CheckpointError, InputError, UnsupportedError

pytest.importorskip("torch", reason="needs the export extra")

from lanner_export.loading import load_checkpoint


@pytest.mark.parametrize(
    ("kind", "labels", "head"),
    [
        ("BertModel", 2, "embed"),
        ("BertForMaskedLM", 2, "embed"),
        ("BertForPreTraining", 2, "embed"),
        ("BertForNextSentencePrediction", 2, "embed"),
        ("BertForSequenceClassification", 1, "score"),
        ("BertForSequenceClassification", 2, "classify"),
        ("BertForTokenClassification", 2, "tag"),
    ],
)
def test_the_head_is_told_from_the_class(tmp_path: Path, kind: str, labels: int, head: str) -> None:
    model = bert_model(kind=kind, id2label={number: str(number) for number in range(labels)})
    assert load_checkpoint(str(plain_checkpoint(tmp_path / "model", model))).head == head


@pytest.mark.parametrize(
    ("kind", "weights"),
    [
        ("BertForQuestionAnswering", "qa_outputs.bias, qa_outputs.weight"),
        ("BertForMultipleChoice", "classifier.bias, classifier.weight"),
    ],
)
def test_a_head_is_dropped_only_when_asked(tmp_path: Path, kind: str, weights: str) -> None:
    path = str(plain_checkpoint(tmp_path / "model", bert_model(kind=kind)))
    with pytest.raises(
        UnsupportedError,
        match=rf"model is a {kind}, whose head Lanner does not export: pass --head embed to export",
    ):
        load_checkpoint(path)
    warnings = load_checkpoint(path, head="embed").warnings
    assert warnings[-1] == f"the head of {path} is left out: {weights}"


def test_settings_of_a_cross_encoder_are_its_own(tmp_path: Path) -> None:
    path = cross_encoder_checkpoint(tmp_path / "scorer")
    edit_json(path / "sentence_bert_config.json", max_seq_length=6, do_lower_case=True)
    tokenizer = json.loads((path / "tokenizer.json").read_text())
    edit_json(path / "tokenizer.json", normalizer={**tokenizer["normalizer"], "lowercase": False})
    loaded = load_checkpoint(str(path))
    assert loaded.max_tokens == 6
    from sentence_transformers import CrossEncoder  # noqa: PLC0415
    from torch.nn import Identity  # noqa: PLC0415

    pairs = [("THE TRAIN leaves at", "a man IS playing a guitar"), ("a", ""), ("", "A man")]
    expected = CrossEncoder(str(path), device="cpu").predict(pairs, activation_fn=Identity())
    np.testing.assert_allclose(np.ravel(loaded.reference(pairs)), expected, atol=1e-5)
    lower = [(a.lower(), b.lower()) for a, b in pairs]
    np.testing.assert_array_equal(loaded.reference(pairs), loaded.reference(lower))


def test_a_model_that_answers_with_tuples(tmp_path: Path) -> None:
    model = bert_model(kind="BertForSequenceClassification", id2label={0: "a", 1: "b"})
    path = plain_checkpoint(tmp_path / "model", model)
    (expected,) = load_checkpoint(str(path)).reference(["a man"])
    edit_json(path / "config.json", return_dict=False)
    (found,) = load_checkpoint(str(path)).reference(["a man"])
    np.testing.assert_array_equal(found, expected)


def test_a_default_prompt_of_a_cross_encoder_is_refused(tmp_path: Path) -> None:
    path = cross_encoder_checkpoint(tmp_path / "scorer", prompts={"q": "the train ", "none": ""})
    settings = path / "config_sentence_transformers.json"
    edit_json(settings, default_prompt_name="none")
    load_checkpoint(str(path))
    edit_json(settings, default_prompt_name="q")
    with pytest.raises(
        UnsupportedError, match=r"puts its prompt 'q' before the first text of every pair, which La"
    ):
        load_checkpoint(str(path))


def test_a_cross_encoder_with_several_labels_classifies(tmp_path: Path) -> None:
    path = cross_encoder_checkpoint(tmp_path / "nli", labels=3)
    loaded = load_checkpoint(str(path))
    assert (loaded.head, loaded.activation) == ("classify", "softmax")


@pytest.mark.parametrize("labels", [1, 2])
def test_the_encoder_of_a_classifier_is_there_for_who_asks(tmp_path: Path, labels: int) -> None:
    names = {number: str(number) for number in range(labels)}
    model = bert_model(kind="BertForSequenceClassification", id2label=names)
    path = plain_checkpoint(tmp_path / "model", model)
    assert load_checkpoint(str(path), head="embed").dimension == 32


def test_a_head_that_is_not_there_is_refused(tiny_checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match=r"lacks 2 weights of the head 'tag' \(classifier.bi"):
        load_checkpoint(str(tiny_checkpoint), head="tag")
    with pytest.raises(UnsupportedError, match=r"no head 'summarize': use auto, embed, score"):
        load_checkpoint(str(tiny_checkpoint), head="summarize")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"truncate_dim": 4}, r"--truncate-dim is for the head 'embed', and .* gets 'classify'"),
        ({"positive_label": "x"}, r"--positive-label is for the head 'score', and .* 'classify'"),
        ({"max_tokens": 65}, r"--max-tokens must be from 4 to 64 for"),
    ],
)
def test_an_option_of_another_head_is_refused(
    classifier_checkpoint: Path, option: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnsupportedError, match=message):
        load_checkpoint(str(classifier_checkpoint), **option)


@pytest.mark.parametrize(
    ("id2label", "error", "message"),
    [
        (
            {"1": "a", "2": "b"},
            CheckpointError,
            r"config.json numbers its 2 labels 1, 2: num",
        ),
        ({"0": "a", "1": "b\ud800"}, InputError, r"at index 1 is not valid Unicode \(a lone surr"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(
    tmp_path: Path, id2label: dict[str, str], error: type[Exception], message: str
) -> None:
    model = bert_model(kind="BertForTokenClassification", id2label={0: "a", 1: "b"})
    path = plain_checkpoint(tmp_path / "model", model)
    edit_json(path / "config.json", id2label=id2label, label2id={})
    with pytest.raises(error, match=message):
        load_checkpoint(str(path))


@pytest.mark.parametrize(("head", "least"), [("embed", 3), ("tag", 3), ("classify", 4)])
def test_a_limit_leaves_room_for_a_text(tmp_path: Path, head: str, least: int) -> None:
    kinds = {"tag": "BertForTokenClassification", "classify": "BertForSequenceClassification"}
    model = bert_model(kind=kinds.get(head, "BertModel"), id2label={0: "a", 1: "b"})
    path = str(plain_checkpoint(tmp_path / "model", model))
    assert load_checkpoint(path, max_tokens=least).max_tokens == least
    with pytest.raises(UnsupportedError, match=rf"--max-tokens must be from {least} to 64 for "):
        load_checkpoint(path, max_tokens=least - 1)


def test_two_labels_of_one_name_are_refused(tmp_path: Path) -> None:
    model = bert_model(kind="BertForTokenClassification", id2label={0: "O", 1: "X"})
    path = plain_checkpoint(tmp_path / "model", model)
    edit_json(path / "config.json", id2label={"0": "X", "1": "X"}, label2id={"X": 1})
    with pytest.raises(UnsupportedError, match=r"has two labels 'X': give each its own name"):
        load_checkpoint(str(path))


def test_another_module_of_a_cross_encoder_is_refused(tmp_path: Path) -> None:
    path = cross_encoder_checkpoint(tmp_path / "scorer")
    text = (path / "modules.json").read_text()
    (path / "modules.json").write_text(text.replace("transformer.Transformer", "dense.Dense"))
    with pytest.raises(UnsupportedError, match=r"modules.dense.Dense, which Lanner does n"):
        load_checkpoint(str(path))


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    model = bert_model(kind="BertForSequenceClassification", id2label={0: "a", 1: "b"})
    path = plain_checkpoint(tmp_path / "model", model)
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"only as a pickle \(pytorch_model.bin\), which can"):
        load_checkpoint(str(path))


@pytest.mark.parametrize(
    ("kind", "trained", "head"),
    [
        ("BertForSequenceClassification", "classify", "tag"),
        ("BertForTokenClassification", "tag", "classify"),
        ("BertForTokenClassification", "tag", "score"),
    ],
)
def test_labels_of_texts_and_of_tokens_are_told_apart(
    tmp_path: Path, kind: str, trained: str, head: str
) -> None:
    path = plain_checkpoint(tmp_path / "model", bert_model(kind=kind, id2label={0: "a", 1: "b"}))
    message = rf"is a {kind}, which has the head '{trained}' and not '{head}': pass the --head"
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(str(path), head=head)


def test_what_a_tokenizer_makes_too_much_is_left_out(tmp_path: Path) -> None:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification  # noqa: PLC0415

    config = DistilBertConfig(vocab_size=200, dim=32, n_layers=1, n_heads=4, hidden_dim=64)
    model = DistilBertForSequenceClassification(config).eval()
    tokenizer = word_piece_tokenizer()
    assert "token_type_ids" in tokenizer.model_input_names
    path = plain_checkpoint(tmp_path / "model", model, tokenizer)
    loaded = load_checkpoint(str(path))
    assert "token_type_ids" not in loaded.inputs
    assert loaded.reference([("a man", "a guitar")])[0].shape == (2,)

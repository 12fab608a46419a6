"""Weights of a checkpoint: all are used, finite, and enough for all tokens."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.checkpoints import (
    bert_checkpoint,
    bert_model,
    edit_json,
    plain_checkpoint,
    word_piece_tokenizer,
)

from lanner.errors import CheckpointError, UnsupportedError

pytest.importorskip("torch", reason="needs the export extra")

from lanner_export.loading import load_checkpoint


def add_weights(checkpoint: Path, **shapes: tuple[int, ...]) -> None:
    from safetensors.numpy import load_file, save_file  # noqa: PLC0415

    path = checkpoint / "model.safetensors"
    weights: dict[str, Any] = load_file(path)
    weights |= {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    save_file(weights, path, metadata={"format": "pt"})


DISTANCES = "encoder.layer.0.attention.self.distance_embedding.weight"


def test_weights_that_nothing_uses_are_named(tmp_path: Path) -> None:
    path = plain_checkpoint(tmp_path / "more")
    add_weights(path, **{DISTANCES: (127, 8), "encoder.layer.0.lora_A.weight": (4, 32)})
    with pytest.raises(
        CheckpointError,
        match=rf"more has weights that transformers' BertModel does not use \({DISTANCES}, "
        r"encoder.layer.0.lora_A.weight\), so its answers would differ: it is of another "
        r"architecture than its config.json says$",
    ):
        load_checkpoint(str(path))


def test_a_head_that_nothing_reads_is_refused_until_the_encoder_is_asked_for(
    tmp_path: Path,
) -> None:
    path = bert_checkpoint(tmp_path / "st")
    add_weights(path, **{"crf.transitions": (3, 3)})
    with pytest.raises(
        CheckpointError,
        match=r"\(crf.transitions\), so .*: pass --head embed to export its encoder",
    ):
        load_checkpoint(str(path))
    warnings = load_checkpoint(str(path), head="embed").warnings
    assert warnings == [f"the head of {path} is left out: crf.transitions"]


@pytest.mark.parametrize("name", ["head.weight", "cls.weight", "decoder.layers.0.weight"])
def test_a_head_is_not_taken_for_one_of_pretraining_by_half_its_name(
    tmp_path: Path, name: str
) -> None:
    path = plain_checkpoint(tmp_path / "more")
    add_weights(path, **{name: (3, 32)})
    with pytest.raises(CheckpointError, match=rf"BertModel does not use \({name}\), so its"):
        load_checkpoint(str(path))


def test_weights_of_other_sizes_than_the_config_says_are_named(tmp_path: Path) -> None:
    model = bert_model(kind="BertForSequenceClassification", id2label=dict(enumerate("abc")))
    path = plain_checkpoint(tmp_path / "three", model)
    edit_json(path / "config.json", id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1})
    with pytest.raises(
        CheckpointError,
        match=r"three has weights of other sizes than its config.json says \(classifier.bias, class"
        r"ifier.weight\): give config.json the sizes that it was trained with, and id2label a name",
    ):
        load_checkpoint(str(path))
    path = bert_checkpoint(tmp_path / "wide")
    edit_json(path / "config.json", intermediate_size=48)
    with pytest.raises(
        CheckpointError, match=r"says \(encoder.layer.0.intermediate.dense.bias, encoder.layer.0.in"
    ):
        load_checkpoint(str(path))


def test_a_second_head_of_a_classifier_is_refused(tmp_path: Path) -> None:
    model = bert_model(kind="BertForTokenClassification", id2label={0: "O", 1: "B-X"})
    path = plain_checkpoint(tmp_path / "tagger", model)
    add_weights(path, **{"crf.transitions": (3, 3)})
    with pytest.raises(
        CheckpointError, match=r"BertForTokenClassification does not use \(crf.tran"
    ):
        load_checkpoint(str(path))


def test_what_encoders_are_pretrained_with_is_harmless(tmp_path: Path) -> None:
    path = plain_checkpoint(tmp_path / "more")
    add_weights(
        path,
        **{
            "cls.predictions.bias": (200,),
            "lm_head.bias": (200,),
            "embeddings.position_ids": (64,),
            "encoder.layer.0.rotary_emb.inv_freq": (4,),
        },
    )
    load_checkpoint(str(path))


@pytest.mark.parametrize(
    ("value", "name", "row"),
    [
        (float("nan"), "embeddings.word_embeddings.weight", ", 1 of them, the first in row 7:"),
        (float("inf"), "encoder.layer.1.output.dense.bias", ", 1 of them, the first:"),
    ],
)
def test_a_weight_that_is_no_number_is_named(
    tmp_path: Path, value: float, name: str, row: str
) -> None:
    import torch  # noqa: PLC0415

    model = bert_model()
    with torch.no_grad():
        weight = model.get_parameter(name)
        weight[(7, 3) if weight.dim() > 1 else 3] = value
    path = plain_checkpoint(tmp_path / "nan", model)
    with pytest.raises(
        CheckpointError,
        match=rf"nan has values that are not finite numbers in its weight {name}{row}",
    ):
        load_checkpoint(str(path))


def test_a_classifier_s_weight_that_is_no_number_is_named(tmp_path: Path) -> None:
    import torch  # noqa: PLC0415

    model = bert_model(kind="BertForSequenceClassification", id2label={0: "a", 1: "b"})
    with torch.no_grad():
        model.classifier.bias[1] = float("-inf")
    path = plain_checkpoint(tmp_path / "inf", model)
    with pytest.raises(CheckpointError, match=r"not finite numbers in its weight classifier.bias"):
        load_checkpoint(str(path))


@pytest.mark.parametrize("kind", ["BertModel", "BertForTokenClassification"])
def test_a_token_beyond_the_table_is_named(tmp_path: Path, kind: str) -> None:
    tokenizer = word_piece_tokenizer()
    tokenizer.add_tokens(["<extra>"])
    model = bert_model(kind=kind, vocab_size=len(tokenizer) - 1)
    path = plain_checkpoint(tmp_path / "short", model, tokenizer)
    last = len(tokenizer) - 1
    with pytest.raises(
        CheckpointError,
        match=rf"has the token '<extra>' with the id {last}, and its embedding table has {last} ro",
    ):
        load_checkpoint(str(path))


def test_an_id_that_only_the_post_processor_has_is_found(tmp_path: Path) -> None:
    path = plain_checkpoint(tmp_path / "template")
    text = (path / "tokenizer.json").read_text()
    from tokenizers import Tokenizer, processors  # noqa: PLC0415

    tokenizer = Tokenizer.from_str(text)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", pair="[CLS] $A $B", special_tokens=[("[CLS]", 4321)]
    )
    tokenizer.save(str(path / "tokenizer.json"))
    with pytest.raises(CheckpointError, match=r"the token '\[CLS\]' with the id 4321, and its"):
        load_checkpoint(str(path))


def test_a_text_without_any_token_is_refused(tmp_path: Path) -> None:
    path = plain_checkpoint(tmp_path / "bare")
    edit_json(path / "tokenizer.json", post_processor=None)
    with pytest.raises(
        UnsupportedError, match=r"puts no special token around a text, so that an em"
    ):
        load_checkpoint(str(path))

"""Token ids are those of the checkpoint's tokenizer.json, whatever transformers builds from it."""

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
    byte_level_tokenizer,
    edit_json,
    plain_checkpoint,
    unigram_tokenizer,
    word_piece_tokenizer,
)
from tokenizers import Tokenizer, normalizers
from tokenizers.models import WordLevel

from lanner.artifact.manifest import TokenizerRecord
from lanner.errors import CheckpointError
from lanner.text.tokenization import Tokenizer as RuntimeTokenizer

pytest.importorskip("torch", reason="needs the export extra")

from lanner_export.checkpoint.own_tokenizer import read_tokenizer, restore_own_tokenizer
from lanner_export.loading import load_checkpoint

TEXTS = (*SENTENCES, "", "Ä GUITAR é", "天气 train", "a<mask>b [MASK]", "x" * 30)


def ids(path: Path) -> list[list[int]]:
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    return [tokenizer.encode(text).ids for text in TEXTS]


def rename(checkpoint: Path, **settings: Any) -> None:
    edit_json(checkpoint / "tokenizer_config.json", **settings)


@pytest.mark.parametrize(
    ("tokenizer", "settings"),
    [
        (unigram_tokenizer, {"tokenizer_class": "RobertaTokenizer"}),
        (unigram_tokenizer, {"tokenizer_class": "RobertaTokenizerFast"}),
        (unigram_tokenizer, {"tokenizer_class": "XLMRobertaTokenizer"}),
        (unigram_tokenizer, {"tokenizer_class": "T5Tokenizer"}),
        (word_piece_tokenizer, {"tokenizer_class": "BertTokenizer", "do_lower_case": False}),
        (word_piece_tokenizer, {"tokenizer_class": "DistilBertTokenizer", "strip_accents": False}),
        (word_piece_tokenizer, {"tokenizer_class": "MPNetTokenizer"}),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_a_tokenizer_that_is_rebuilt_is_put_right(
    tmp_path: Path, tokenizer: Any, settings: dict[str, Any]
) -> None:
    path = plain_checkpoint(tmp_path / "named", None, tokenizer())
    rename(path, **settings)
    loaded = load_checkpoint(str(path))
    loaded.write_tokenizer(tmp_path / "tokenizer.json")
    assert ids(tmp_path / "tokenizer.json") == ids(path / "tokenizer.json")
    # The reference reads the same file; otherwise a comparison would prove nothing.
    found = loaded.model.tokenizer(list(TEXTS))["input_ids"]
    assert found == ids(path / "tokenizer.json")


def test_another_normaliser_is_put_right_and_said(tmp_path: Path) -> None:
    path = plain_checkpoint(tmp_path / "cased")
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.save(str(path / "tokenizer.json"))
    rename(path, tokenizer_class="BertTokenizer", do_lower_case=True)
    loaded = load_checkpoint(str(path))
    (_, warning) = loaded.warnings
    assert warning.startswith("transformers ")
    assert warning.endswith(
        "' than the checkpoint's own tokenizer.json: the artifact has those of tokenizer.json"
    )
    loaded.write_tokenizer(tmp_path / "tokenizer.json")
    assert ids(tmp_path / "tokenizer.json") == ids(path / "tokenizer.json")


def test_a_tokenizer_that_fails_on_unknown_characters_is_refused(tmp_path: Path) -> None:
    path = plain_checkpoint(tmp_path / "no-unknown", None, unigram_tokenizer())
    content = json.loads((path / "tokenizer.json").read_text())
    edit_json(path / "tokenizer.json", model={**content["model"], "unk_id": None})
    with pytest.raises(
        CheckpointError,
        match=r"tokenizer.json cannot read '.*' \(.*\): give its model an unkno",
    ):
        load_checkpoint(str(path))


def test_tokens_are_not_made_by_chance(tmp_path: Path) -> None:
    path = plain_checkpoint(
        tmp_path / "dropout", bert_model(vocab_size=400), byte_level_tokenizer()
    )
    expected = ids(path / "tokenizer.json")
    content = json.loads((path / "tokenizer.json").read_text())
    edit_json(path / "tokenizer.json", model={**content["model"], "dropout": 0.5})
    assert ids(path / "tokenizer.json") != ids(path / "tokenizer.json")
    loaded = load_checkpoint(str(path))
    (warning,) = [warning for warning in loaded.warnings if "BPE dropout" in warning]
    assert warning == (
        f"{path / 'tokenizer.json'} drops merges at random (BPE dropout), which is meant for "
        "training: the artifact drops none, so a text always gets the same tokens"
    )
    loaded.write_tokenizer(tmp_path / "tokenizer.json")
    assert ids(tmp_path / "tokenizer.json") == expected
    # The reference reads the same file; otherwise parity would fail at random.
    assert loaded.model.tokenizer(list(TEXTS))["input_ids"] == expected
    # The runtime does the same, whoever wrote the artifact.
    own = RuntimeTokenizer(path / "tokenizer.json", TokenizerRecord("tokenizer.json", None, 0))
    assert own.encode(TEXTS) == expected


def test_nothing_is_said_where_both_read_alike(tiny_checkpoint: Path) -> None:
    assert load_checkpoint(str(tiny_checkpoint)).warnings == []


def test_a_limit_and_padding_in_the_file_are_no_difference(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    path = tmp_path / "limited"
    shutil.copytree(tiny_checkpoint, path)
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(path / "tokenizer.json"))
    loaded = load_checkpoint(str(path))
    assert loaded.warnings == []
    before = loaded.reference(SENTENCES)
    record = loaded.write_tokenizer(tmp_path / "tokenizer.json")
    assert ids(tmp_path / "tokenizer.json") == ids(tiny_checkpoint / "tokenizer.json")
    written = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert written.padding is None
    assert written.truncation is not None
    assert written.truncation["max_length"] == record.max_tokens
    # Writing it leaves the reference as it was, and both read whole texts.
    expected = load_checkpoint(str(tiny_checkpoint)).reference(SENTENCES)
    np.testing.assert_array_equal(before, expected)
    np.testing.assert_array_equal(loaded.reference(SENTENCES), expected)


def test_a_classifier_s_too(tmp_path: Path) -> None:
    model = bert_model(kind="BertForSequenceClassification", id2label={0: "a", 1: "b"})
    path = plain_checkpoint(tmp_path / "named", model, unigram_tokenizer())
    rename(path, tokenizer_class="RobertaTokenizer")
    loaded = load_checkpoint(str(path))
    loaded.write_tokenizer(tmp_path / "tokenizer.json")
    assert ids(tmp_path / "tokenizer.json") == ids(path / "tokenizer.json")


def test_lower_casing_of_sentence_transformers_stays(tmp_path: Path) -> None:
    path = bert_checkpoint(tmp_path / "lower")
    tokenizer = json.loads((path / "tokenizer.json").read_text())
    edit_json(path / "tokenizer.json", normalizer={**tokenizer["normalizer"], "lowercase": False})
    edit_json(path / "sentence_bert_config.json", do_lower_case=True)
    loaded = load_checkpoint(str(path))
    upper, lower = loaded.reference(["A TRAIN LEAVES", "a train leaves"])
    np.testing.assert_array_equal(upper, lower)
    loaded.write_tokenizer(tmp_path / "tokenizer.json")
    own = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert own.encode("A TRAIN").ids == own.encode("a train").ids


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text('{"version": "1.0", "model": {"type": "WordPiece"')
    said = f"{re.escape(str(path))} is not a tokenizer that this version of 'tokenizers' reads: "
    with pytest.raises(CheckpointError, match=said):
        read_tokenizer(path)
    with pytest.raises(CheckpointError, match="save the checkpoint again, with its tokenizer"):
        read_tokenizer(tmp_path / "other.json")


def test_a_tokenizer_without_an_unknown_token_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    Tokenizer(WordLevel({"a": 0})).save(str(path))
    with pytest.raises(CheckpointError, match=r"cannot read '.+' \(.+\): give its model an"):
        restore_own_tokenizer(None, tmp_path, lowercases=False)


def test_without_a_file_nothing_is_done(tmp_path: Path) -> None:
    assert restore_own_tokenizer(None, tmp_path, lowercases=True) == []

"""The head `tag` against transformers' own pipeline, on tiny random checkpoints."""

import json
import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.checkpoints import (
    SENTENCES,
    bert_model,
    byte_level_tokenizer,
    edit_json,
    plain_checkpoint,
    unigram_tokenizer,
)

from lanner.artifact.artifact import Artifact
from lanner.commands import main
from lanner.errors import HeadError, InputError, InputTypeError
from lanner.loading.load import load
from lanner.models import tagging
from lanner.models.tagging import TaggingModel
from lanner.text.entities import AGGREGATION_STRATEGIES

transformers = pytest.importorskip("transformers", reason="the reference")
pytestmark = pytest.mark.transformers
pytest.importorskip("torch", reason="the reference")

TEXTS = [
    *SENTENCES,
    "Our train departs, at seven!",
    "someone, plays: a guitar-string (instrument).",
    "un caf\u00e9 \u00e0 Zo\u00eb",
    "a man \U0001f985 plays \U0001f468\u200d\U0001f469\u200d\U0001f467 a guitar",
    "\u4e00\u4e2a man \u5728\u8df3\u821e a train",
    "zzzz qqqq",
]


@pytest.fixture(scope="module")
def model(tagger_artifact: Artifact) -> TaggingModel:
    loaded: TaggingModel = load(tagger_artifact.directory, variant="fp32")
    return loaded


def pipeline(checkpoint: Path, **options: Any) -> Any:
    return transformers.pipeline(
        "token-classification", model=str(checkpoint), device="cpu", **options
    )


def require_same(found: Any, expected: Any, texts: list[str]) -> None:
    for text, ours, theirs in zip(texts, found, expected, strict=True):
        # The pipeline's entities may have white space around them, or be nothing but that.
        trimmed = [(entity, *trim(text, entity["start"], entity["end"])) for entity in theirs]
        trimmed = [(entity, start, end) for entity, start, end in trimmed if start < end]
        assert [(entity.label, entity.start, entity.end) for entity in ours] == [
            (entity["entity_group"], start, end) for entity, start, end in trimmed
        ], text
        scores = [entity["score"] for entity, _, _ in trimmed]
        np.testing.assert_allclose([entity.score for entity in ours], scores, atol=1e-5)
        assert all(entity.text == text[entity.start : entity.end] for entity in ours)


def trim(text: str, start: int, end: int) -> tuple[int, int]:
    inner = text[start:end]
    return start + len(inner) - len(inner.lstrip()), end - len(inner) + len(inner.rstrip())


@pytest.mark.parametrize("strategy", AGGREGATION_STRATEGIES)
def test_entities_are_those_of_the_pipeline(
    model: TaggingModel, tagger_checkpoint: Path, strategy: str
) -> None:
    found = model.tag(TEXTS, aggregation_strategy=strategy)
    expected = pipeline(tagger_checkpoint, aggregation_strategy=strategy)(TEXTS)
    assert sum(map(len, found)) > 10
    require_same(found, expected, TEXTS)


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
@pytest.mark.parametrize("make_tokenizer", [byte_level_tokenizer, unigram_tokenizer])
def test_tokenizers_without_marked_pieces(tmp_path: Path, make_tokenizer: Any) -> None:
    from lanner_export.export import export  # noqa: PLC0415

    labels = dict(enumerate(("O", "B-PER", "I-PER", "B-LOC", "I-LOC")))
    bert = bert_model(kind="BertForTokenClassification", id2label=labels, vocab_size=400)
    checkpoint = plain_checkpoint(tmp_path / "tagger", bert, make_tokenizer())
    artifact = export(checkpoint, tmp_path / "tagger.lanner", precisions=["fp32"])
    loaded = load(artifact.directory)
    # What transformers' offsets make of combining marks is not what people see; see entities. Its
    # words have the punctuation and the Chinese characters beside them; see word_boundaries.
    plain = [text for text in TEXTS if re.fullmatch(r"[a-z\u00e0-\u00ff ]+", text, re.IGNORECASE)]
    assert len(plain) > 4
    for strategy in AGGREGATION_STRATEGIES:
        texts = TEXTS if strategy == "simple" else plain
        expected = pipeline(checkpoint, aggregation_strategy=strategy)(texts)
        require_same(loaded.tag(texts, aggregation_strategy=strategy), expected, texts)


def test_a_long_text_is_read_whole(model: TaggingModel) -> None:
    words = np.random.default_rng(0).choice(["train", "guitar", "man", "seven", "a"], 5_000)
    text = " ".join(words)
    (tokens,) = model.token_scores([text])
    assert len(tokens.offsets) == 5_000
    starts = np.cumsum([0, *map(len, words[:-1])]) + np.arange(5_000)
    np.testing.assert_array_equal(tokens.offsets[:, 0], starts)
    np.testing.assert_array_equal(tokens.offsets[:, 1], starts + [len(word) for word in words])
    np.testing.assert_allclose(tokens.scores.sum(axis=1), 1, rtol=1e-5)
    entities = model.tag(text)
    assert entities[-1].end > len(text) - 100
    assert all(a.end <= b.start for a, b in pairwise(entities))


def test_each_token_is_judged_where_most_stands_around_it(model: TaggingModel) -> None:
    # 64 tokens a window, 62 of them the text's, 16 shared: the second window begins at word 46, and
    # the halves of what is shared meet at word 54.
    text = " ".join(["train", "guitar", "man", "seven"] * 25)
    windows, logits = model.window_logits([text])
    (tokens,) = model.token_scores([text])
    first, second = logits[0][:2]
    assert [len(window) for window in logits[0]] == [64, 2 + 100 - 46]
    assert windows[0][1].offsets[1] == windows[0][0].offsets[1 + 46]
    np.testing.assert_allclose(tokens.scores[53], softmax(first[1 + 53]), rtol=1e-5)
    np.testing.assert_allclose(tokens.scores[54], softmax(second[1 + 54 - 46]), rtol=1e-5)


def test_a_tokenizer_that_cuts_the_beginning_is_read_in_order(
    tagger_checkpoint: Path, tmp_path: Path
) -> None:
    from lanner_export.export import export  # noqa: PLC0415

    checkpoint = Path(shutil.copytree(tagger_checkpoint, tmp_path / "left"))
    edit_json(checkpoint / "tokenizer_config.json", truncation_side="left")
    model = load(export(checkpoint, tmp_path / "out", precisions=["fp32"]).directory)
    words = ["train", "guitar", "man", "seven"] * 40
    (tokens,) = model.token_scores([" ".join(words)])
    starts = np.cumsum([0, *(len(word) + 1 for word in words[:-1])])
    assert tokens.offsets[:, 0].tolist() == starts.tolist()


def test_texts_are_read_in_groups_of_bounded_size(
    model: TaggingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = model.tag(TEXTS)
    monkeypatch.setattr("lanner.models.tagging.CHARACTERS_AT_ONCE", 30)
    groups = list(tagging._groups(TEXTS))
    assert [text for group in groups for text in group] == TEXTS
    assert all(len(group) == 1 or sum(map(len, group)) <= 30 for group in groups)
    assert 1 < len(groups) < len(TEXTS)
    assert model.tag(TEXTS) == expected


def test_one_ignored_label_may_be_a_str(model: TaggingModel) -> None:
    found = model.tag(TEXTS, ignore_labels="LOC")
    assert found == model.tag(TEXTS, ignore_labels=("LOC",))
    labels = {entity.label for entities in found for entity in entities}
    assert labels
    assert "LOC" not in labels


def softmax(row: Any) -> Any:
    powers = np.exp(row - row.max())
    return powers / powers.sum()


def test_texts_without_a_word_have_no_entities(model: TaggingModel) -> None:
    assert model.tag(["", " \t\n ", "\u3000"]) == [[], [], []]
    assert model.tag("") == []
    assert model.tag([]) == []


def test_one_text_gives_its_own_list(model: TaggingModel) -> None:
    assert model.tag(SENTENCES[0]) == model.tag([SENTENCES[0]])[0]


def test_combining_marks_stay_with_their_letter(model: TaggingModel) -> None:
    text = "train se\u0301ve\u0301 guitar"
    for entity in model.tag(text, ignore_labels=()):
        assert text[entity.end : entity.end + 1] not in ("\u0301",)


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        (["a", None], InputTypeError, r"every text must be a str, but the item at index 1 is None"),
        (7, InputTypeError, r"tag takes a str or a sequence of str, not int"),
        (["a\ud800"], InputError, r"index 0 is not valid Unicode"),
    ],
)
def test_what_is_no_text_is_named(
    model: TaggingModel, texts: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        model.tag(texts)


def test_an_unknown_strategy_is_refused(model: TaggingModel) -> None:
    with pytest.raises(
        InputError, match=r"no aggregation_strategy 'none': use simple, first, average, max"
    ):
        model.tag("a", aggregation_strategy="none")
    with pytest.raises(InputTypeError, match=r"^aggregation_strategy must be a str, not NoneType$"):
        model.tag("a", aggregation_strategy=None)  # type: ignore[call-overload]
    with pytest.raises(InputTypeError, match=r"^ignore_labels must be labels, not int$"):
        model.tag("a", ignore_labels=5)  # type: ignore[call-overload]


def test_another_head_is_named(model: TaggingModel) -> None:
    with pytest.raises(
        HeadError, match=r"^tagger has the head 'tag', which does not classify: call its tag$"
    ):
        model.classify("a")  # type: ignore[attr-defined]
    assert not hasattr(model, "encode")


def test_the_command(tagger_artifact: Artifact, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["tag", str(tagger_artifact.directory), *TEXTS[:2], "--variant", "fp32"]
    expected = load(tagger_artifact.directory, variant="fp32").tag(TEXTS[:2])
    assert main([*arguments, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["variant"] == "fp32"
    assert [one["text"] for one in answer["answers"]] == TEXTS[:2]
    assert [one["entities"] for one in answer["answers"]] == [
        [entity.to_json() for entity in entities] for entities in expected
    ]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["text", "start", "end", "label", "score", "entity"]
    assert len(lines) == 2 + sum(map(len, expected))

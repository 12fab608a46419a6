"""The head `classify` against transformers' own pipeline, on tiny random checkpoints."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.checkpoints import SENTENCES, bert_model, plain_checkpoint
from tests.support.marks import slow

from lanner.artifact.artifact import Artifact
from lanner.commands import main
from lanner.errors import HeadError, InputError, InputTypeError
from lanner.loading.load import load
from lanner.models.classification import ClassificationModel

transformers = pytest.importorskip("transformers", reason="the reference")
pytestmark = pytest.mark.transformers
pytest.importorskip("torch", reason="the reference")

TEXTS = [*SENTENCES, "", "\U0001f985", "\u4e00\u4e2a", "zzz " * 500]
PAIRS = [("a man", "a guitar"), ("the train leaves", ""), ("", "x"), ("a " * 90, "b " * 20)]


@pytest.fixture(scope="module")
def model(classifier_artifact: Artifact) -> ClassificationModel:
    loaded: ClassificationModel = load(classifier_artifact.directory, variant="fp32")
    return loaded


def expected_scores(checkpoint: Path, texts: list[str]) -> list[dict[str, float]]:
    pipeline = transformers.pipeline("text-classification", model=str(checkpoint), device="cpu")
    answers = pipeline(texts, top_k=None, truncation=True)
    return [{row["label"]: row["score"] for row in answer} for answer in answers]


def require_same(found: Any, expected: list[dict[str, float]]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert list(ours.scores) == list(theirs)  # highest first
        np.testing.assert_allclose(list(ours.scores.values()), list(theirs.values()), atol=1e-5)
        assert (ours.label, ours.score) == next(iter(ours.scores.items()))


def test_scores_are_those_of_the_pipeline(
    model: ClassificationModel, classifier_checkpoint: Path
) -> None:
    found = model.classify(TEXTS)
    require_same(found, expected_scores(classifier_checkpoint, TEXTS))
    assert all(one.labels == [one.label] for one in found)


def test_pairs_are_those_of_the_pipeline(
    model: ClassificationModel, classifier_checkpoint: Path
) -> None:
    # The pipeline reads a pair with an empty second text as a single text.
    pairs = PAIRS[:1] + PAIRS[2:]
    pipeline = transformers.pipeline(
        "text-classification", model=str(classifier_checkpoint), device="cpu"
    )
    expected = [
        {
            row["label"]: row["score"]
            for row in pipeline({"text": a, "text_pair": b}, top_k=None, truncation=True)
        }
        for a, b in pairs
    ]
    require_same(model.classify(pairs), expected)
    as_lists: Any = [list(pair) for pair in pairs]
    require_same(model.classify(as_lists), expected)
    require_same(model.classify(np.array(pairs)), expected)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("kind", "labels"),
    [("multi_label_classification", 3), *slow(("regression", 2), (None, 1), ("regression", 1))],
)
def test_each_problem_has_the_activation_of_the_pipeline(
    tmp_path: Path, kind: str | None, labels: int
) -> None:
    from lanner_export.export import export  # noqa: PLC0415

    names = dict(enumerate(["red", "green", "blue"][:labels]))
    bert = bert_model(kind="BertForSequenceClassification", id2label=names, problem_type=kind)
    checkpoint = plain_checkpoint(tmp_path / "model", bert)
    artifact = export(checkpoint, tmp_path / "out", head="classify", precisions=["fp32"])
    loaded = load(artifact.directory)
    texts = list(SENTENCES)
    found = loaded.classify(texts)
    require_same(found, expected_scores(checkpoint, texts))
    assert loaded.is_multi_label == (kind == "multi_label_classification" or kind is None)
    for one in loaded.classify(texts, threshold=0.4) if loaded.is_multi_label else []:
        assert one.labels == [label for label, score in one.scores.items() if score >= 0.4]


def test_top_k(model: ClassificationModel) -> None:
    whole, best = model.classify("a man"), model.classify("a man", top_k=2)
    assert list(best.scores.items()) == list(whole.scores.items())[:2]
    with pytest.raises(InputError, match=r"top_k must be at least 1, not 0"):
        model.classify("a", top_k=0)
    with pytest.raises(InputTypeError, match=r"^threshold must be a number, not str$"):
        model.classify("a", threshold="0.5")  # type: ignore[call-overload]


def test_one_text_gives_one_answer(model: ClassificationModel) -> None:
    assert model.classify("a man") == model.classify(["a man"])[0]
    assert model.classify([]) == []


def test_order_is_kept_however_it_is_batched(classifier_artifact: Artifact) -> None:
    few = load(classifier_artifact.directory, variant="fp32", token_budget=16, threads=2)
    many = load(classifier_artifact.directory, variant="fp32", token_budget=4_096, threads=1)
    np.testing.assert_allclose(
        few.logits([*TEXTS, *PAIRS]), many.logits([*TEXTS, *PAIRS]), atol=1e-5
    )


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (
            ["a", 3],
            r"every input must be a str or a pair of str, but the item at index 1 is of t",
        ),
        ([("a", "b", "c")], r"index 0 is of type tuple with 3 items: str, str, str"),
        ([("a", None)], r"index 0 is of type tuple with 2 items: str, NoneType"),
        (["a"] * 8_200 + [None], r"the item at index 8200 is None"),
        (np.array("x"), r"classify takes a str or a sequence of str, not ndarray"),
        (b"a", r"classify takes a str or a sequence of str, not bytes"),
    ],
)
def test_what_is_no_text_is_named(model: ClassificationModel, texts: Any, message: str) -> None:
    with pytest.raises(InputTypeError, match=message):
        model.classify(texts)


def test_another_head_is_named(model: ClassificationModel, word_model: Any) -> None:
    with pytest.raises(HeadError, match=r"head 'classify', which does not encode: call its class"):
        model.encode("a")  # type: ignore[attr-defined]
    with pytest.raises(HeadError, match=r"which does not similarity_pairwise: call its classify"):
        model.similarity_pairwise([[1]], [[1]])  # type: ignore[attr-defined]
    with pytest.raises(
        HeadError, match=r"^words has the head 'embed', which does not classify: call its encode$"
    ):
        word_model.classify("a")


def test_the_command(
    classifier_artifact: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["classify", str(classifier_artifact.directory), "--variant", "fp32"]
    model = load(classifier_artifact.directory, variant="fp32")
    assert main([*start, "a man", "--json", "--top-k", "1"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    assert answer == {"text": "a man", **model.classify("a man", top_k=1).to_json()}
    (tmp_path / "pairs.csv").write_text("q,a\nwho,me\nwhat,that\n")
    output = tmp_path / "out.jsonl"
    pairs = ["--pairs", "--input", str(tmp_path / "pairs.csv"), "--column", "q"]
    assert main([*start, *pairs, "--pair-column", "a", "--output", str(output)]) == 0
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    pairs_found = [(line["text"], line["text_pair"]) for line in lines]
    assert pairs_found == [("who", "me"), ("what", "that")]
    assert lines[0]["label"] == model.classify([("who", "me")])[0].label
    capsys.readouterr()
    assert main([*start, "one", "--pairs"]) == 2
    assert capsys.readouterr().err == ("lanner: error: texts must come in pairs, but there are 1\n")

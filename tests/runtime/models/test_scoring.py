"""The head `score` against sentence-transformers' own CrossEncoder, on tiny random checkpoints."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.checkpoints import (
    SENTENCES,
    bert_model,
    cross_encoder_checkpoint,
    edit_json,
    plain_checkpoint,
)

from lanner.artifact.artifact import Artifact
from lanner.commands import main
from lanner.errors import InputError, InputTypeError, UnsupportedError
from lanner.loading.load import load
from lanner.models.scoring import ScoringModel

pytest.importorskip("torch", reason="the reference")
sentence_transformers = pytest.importorskip("sentence_transformers", reason="the reference")
pytestmark = pytest.mark.transformers

PAIRS = [(a, b) for a in SENTENCES for b in (*SENTENCES, "", "\U0001f985 \u4e00\u4e2a", "a " * 99)]


@pytest.fixture(scope="module")
def model(scorer_artifact: Artifact) -> ScoringModel:
    loaded: ScoringModel = load(scorer_artifact.directory, variant="fp32")
    return loaded


def cross_encoder(checkpoint: Path) -> Any:
    return sentence_transformers.CrossEncoder(str(checkpoint), device="cpu")


def exported(checkpoint: Path, output: Path, **options: Any) -> Any:
    from lanner_export.export import export  # noqa: PLC0415

    return load(export(checkpoint, output, precisions=["fp32"], **options).directory)


def test_scores_are_those_of_the_cross_encoder(
    model: ScoringModel, scorer_checkpoint: Path
) -> None:
    scores = model.score(PAIRS)
    assert scores.dtype == np.float32
    assert scores.shape == (len(PAIRS),)
    np.testing.assert_allclose(scores, cross_encoder(scorer_checkpoint).predict(PAIRS), atol=1e-5)


@pytest.mark.parametrize("activation", ["Identity", "Sigmoid"])
def test_the_activation_is_the_checkpoint_s(tmp_path: Path, activation: str) -> None:
    torch = pytest.importorskip("torch")
    function = getattr(torch.nn, activation)()
    path = cross_encoder_checkpoint(tmp_path / "model", activation_fn=function)
    loaded = exported(path, tmp_path / "out")
    assert loaded.manifest.activation == activation.lower()
    np.testing.assert_allclose(
        loaded.score(PAIRS[:9]), cross_encoder(path).predict(PAIRS[:9]), atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "place",
    [
        {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}},
        {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"},
    ],
    ids=["version 4", "before version 4"],
)
def test_the_activation_of_older_checkpoints(tmp_path: Path, place: dict[str, Any]) -> None:
    bert = bert_model(kind="BertForSequenceClassification", id2label={0: "LABEL_0"})
    path = plain_checkpoint(tmp_path / "model", bert)
    edit_json(path / "config.json", **place)
    expected = cross_encoder(path).predict(PAIRS[:9])
    loaded = exported(path, tmp_path / "out")
    assert loaded.manifest.activation == "identity"
    np.testing.assert_allclose(loaded.score(PAIRS[:9]), expected, atol=1e-5)


def test_an_unknown_activation_is_refused(tmp_path: Path) -> None:
    from lanner_export.loading import load_checkpoint  # noqa: PLC0415

    bert = bert_model(kind="BertForSequenceClassification", id2label={0: "LABEL_0"})
    path = plain_checkpoint(tmp_path / "model", bert)
    edit_json(path / "config.json", sentence_transformers={"activation_fn": "my.code.Squash"})
    with pytest.raises(UnsupportedError, match=r"has the activation 'my.code.Squash': Lanner has "):
        load_checkpoint(str(path))


def test_a_pair_classifier_scores_its_positive_label(tmp_path: Path) -> None:
    names = {0: "different", 1: "duplicate"}
    bert = bert_model(kind="BertForSequenceClassification", id2label=names)
    path = plain_checkpoint(tmp_path / "model", bert)
    second = exported(path, tmp_path / "second", head="score")
    expected = cross_encoder(path).predict(PAIRS[:9], apply_softmax=True)
    np.testing.assert_allclose(second.score(PAIRS[:9]), expected[:, 1], atol=1e-5)
    first = exported(path, tmp_path / "first", head="score", positive_label="different")
    np.testing.assert_allclose(first.score(PAIRS[:9]), expected[:, 0], atol=1e-5)
    assert exported(path, tmp_path / "auto").manifest.head == "classify"


def test_a_label_is_not_guessed(classifier_checkpoint: Path) -> None:
    from lanner_export.loading import load_checkpoint  # noqa: PLC0415

    path = str(classifier_checkpoint)
    with pytest.raises(UnsupportedError, match=r"has 3 labels \(x, y, z\): pass --positiv"):
        load_checkpoint(path, head="score")
    assert load_checkpoint(path, head="score", positive_label="y").scored_label == "y"
    with pytest.raises(UnsupportedError, match=r"has no label 'w': it has x, y, z"):
        load_checkpoint(path, head="score", positive_label="w")
    with pytest.raises(UnsupportedError, match=r"--positive-label is for the head 'score', and"):
        load_checkpoint(path, positive_label="x")


def test_rank_is_that_of_the_cross_encoder(model: ScoringModel, scorer_checkpoint: Path) -> None:
    documents = list(SENTENCES)
    ranked = model.rank("the train", documents, top_k=3)
    expected = cross_encoder(scorer_checkpoint).rank("the train", documents, top_k=3)
    assert [row["corpus_id"] for row in ranked] == [row["corpus_id"] for row in expected]
    assert [row["text"] for row in ranked] == [documents[row["corpus_id"]] for row in ranked]
    np.testing.assert_allclose(
        [row["score"] for row in ranked], [row["score"] for row in expected], atol=1e-5
    )


def test_an_evaluator_of_sentence_transformers_takes_it(
    model: ScoringModel, scorer_checkpoint: Path, tmp_path: Path
) -> None:
    evaluation = pytest.importorskip("sentence_transformers.cross_encoder.evaluation")
    gold = [float(row % 6) for row in range(len(PAIRS))]
    evaluator = evaluation.CrossEncoderCorrelationEvaluator(PAIRS, gold, name="tiny")
    ours = evaluator(model, output_path=str(tmp_path))
    theirs = evaluator(cross_encoder(scorer_checkpoint))
    assert ours == pytest.approx(theirs, abs=1e-4)


def test_one_pair_gives_one_number(model: ScoringModel) -> None:
    assert model.score(("a man", "a guitar")) == model.score([("a man", "a guitar")])[0]
    assert model.score(["a man", "a guitar"]) == model.score(("a man", "a guitar"))
    nothing: list[tuple[str, str]] = []
    assert model.score(nothing).shape == (0,)
    array: Any = np.array(PAIRS[:2])
    np.testing.assert_array_equal(model.score(array), model.score(PAIRS[:2]))


@pytest.mark.parametrize(
    ("pairs", "error", "message"),
    [
        (
            [("a", "b"), "c"],
            InputError,
            r"score takes pairs of texts, but the item at index 1 is ",
        ),
        (["a", "b", "c"], InputTypeError, r"index 0 is of type tuple with 3 items: str, str, str"),
        ([("a", 1)], InputTypeError, r"index 0 is of type tuple with 2 items: str, int"),
        ([("a", "b\ud800")], InputError, r"text at index 0 is not valid Unicode"),
    ],
)
def test_what_is_no_pair_is_named(
    model: ScoringModel, pairs: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        model.score(pairs)


def test_documents_may_be_any_sequence_but_one_text(model: ScoringModel) -> None:
    expected = model.rank("the train", list(SENTENCES))
    assert model.rank("the train", np.array(SENTENCES)) == expected  # type: ignore[arg-type]
    assert all(type(row["text"]) is str for row in expected)
    with pytest.raises(InputTypeError, match=r"rank takes a sequence of texts, not str"):
        model.rank("the train", "abc")


def test_predict_gives_tensors_on_request(model: ScoringModel) -> None:
    torch = pytest.importorskip("torch")
    scores = model.score(PAIRS[:2])
    as_list = model.predict(PAIRS[:2], convert_to_numpy=False)
    assert [type(score) for score in as_list] == [torch.Tensor] * 2
    assert [float(score) for score in as_list] == scores.tolist()
    assert float(model.predict(PAIRS[0], convert_to_numpy=False)) == scores[0]


def test_large_logits_are_no_fault(tmp_path: Path) -> None:
    # float32 rounds a price of some thousands by more than 1e-4.
    torch = pytest.importorskip("torch")
    names = {0: "price"}
    bert = bert_model(
        kind="BertForSequenceClassification", id2label=names, problem_type="regression"
    )
    with torch.no_grad():
        bert.classifier.weight *= 3_000
    path = plain_checkpoint(tmp_path / "model", bert)
    loaded = exported(path, tmp_path / "out")
    expected = cross_encoder(path).predict(PAIRS[:9], activation_fn=torch.nn.Identity())
    assert np.abs(expected).max() > 1_000
    np.testing.assert_allclose(loaded.score(PAIRS[:9]), expected, rtol=1e-4)


def test_the_command(
    scorer_artifact: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["score", str(scorer_artifact.directory), "--variant", "fp32"]
    expected = load(scorer_artifact.directory, variant="fp32").score(PAIRS[:2]).tolist()
    texts = [text for pair in PAIRS[:2] for text in pair]
    assert main([*start, *texts, "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)["answers"]
    assert [answer["score"] for answer in answers] == expected
    assert main([*start, *texts]) == 0
    assert capsys.readouterr().out == "".join(f"{score:.6f}\n" for score in expected)
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"text": "a", "text_pair": 7}))
    assert main([*start, "--input", str(tmp_path / "pairs.jsonl")]) == 1
    assert "pairs.jsonl, line 1: expected an object with 'text_pair' as text" in (
        capsys.readouterr().err
    )

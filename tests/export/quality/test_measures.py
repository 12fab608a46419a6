"""The measures of all heads against the answers of their frameworks."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.checkpoints import SENTENCES

from lanner.artifact.artifact import Artifact
from lanner.engines import open_engine
from lanner.loading.load import load, open_model
from lanner.models.base import Model

pytest.importorskip("torch", reason="needs the export extra")
from scipy.stats import spearmanr

from lanner_export.loading import load_checkpoint
from lanner_export.quality.first_windows import FirstWindows
from lanner_export.quality.measures import (
    Measure,
    RememberedReference,
    agreement_inputs,
    agreement_measures,
    measure_named,
    task_measure,
)
from lanner_export.texts.quality_data import QualityData, Span

Answers = list[np.ndarray]
WORDS = " ".join(SENTENCES).replace("?", "").lower().split()


def sentences(count: int, words: int = 6) -> list[str]:
    generator = np.random.default_rng(1)
    return [" ".join(generator.choice(WORDS, words)) for _ in range(count)]


def remembered(checkpoint: Path, head: str, scratch: Path) -> RememberedReference:
    return RememberedReference(
        load_checkpoint(str(checkpoint), head=head, scratch=scratch).reference
    )


def variants(artifact: Artifact) -> tuple[Any, Any]:
    fp32, int8 = (load(artifact.directory, variant=name) for name in ("fp32", "int8"))
    return fp32, int8


def by_name(model: Model, reference: RememberedReference, inputs: Sequence[Any]) -> dict[str, Any]:
    return {measure.name: measure for measure in agreement_measures(model, reference, inputs)}


def require_perfect(measures: dict[str, Measure], fp32: Model) -> None:
    """Check that fp32 only rounds differently, and that a checkpoint agrees with itself."""
    for measure in measures.values():
        assert measure.of_checkpoint().value == pytest.approx(1)
        assert measure.of_model(fp32).value == pytest.approx(1, abs=1e-3)


def test_a_reference_is_asked_once() -> None:
    asked: list[Any] = []

    def reference(inputs: Sequence[Any]) -> Answers:
        asked.extend(inputs)
        return [np.array([len(item)], np.float32) for item in inputs]

    remembering = RememberedReference(reference)
    assert [int(row[0]) for row in remembering(["a", "bb", "a"])] == [1, 2, 1]
    assert [int(row[0]) for row in remembering([("x", "y"), "bb"])] == [2, 2]
    assert remembering(["a"])[0] == [1]
    assert asked == ["a", "bb", ("x", "y")]


def test_vectors(tiny_checkpoint: Path, tiny_artifact: Artifact, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415
    from sentence_transformers.sentence_transformer.evaluation import (  # noqa: PLC0415
        EmbeddingSimilarityEvaluator,
    )

    texts = sentences(40)
    gold = np.random.default_rng(0).random(30).round(1).tolist()
    left, right = texts[:30], texts[10:40]
    rows = [f"{a},{b},{score}" for a, b, score in zip(left, right, gold, strict=True)]
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    fp32, int8 = variants(tiny_artifact)
    reference = remembered(tiny_checkpoint, "embed", tmp_path)
    data = QualityData.read(tmp_path / "pairs.csv")

    task = task_measure(fp32, reference, data)
    assert task.name == "spearman"
    assert len(task.inputs) == 40  # each text once
    evaluator = EmbeddingSimilarityEvaluator(left, right, gold)
    framework = SentenceTransformer(str(tiny_checkpoint), device="cpu")
    for ours, theirs in ((task.of_checkpoint(), framework), (task.of_model(int8), int8)):
        expected = 100 * evaluator(theirs)["spearman_cosine"]
        assert ours.value == pytest.approx(expected, abs=0.2)  # ties between nearly equal cosines
        assert ours.items.shape == (30, 2)
        assert task.statistic(ours.items) == ours.value

    measures = by_name(fp32, reference, texts)
    assert list(measures) == ["cosine", "neighbours@10", "rank_correlation"]
    require_perfect(measures, fp32)
    vectors, theirs = int8.encode(texts), framework.encode(texts)
    cosines = (vectors * theirs).sum(axis=1)  # both have the length 1
    assert measures["cosine"].of_model(int8).value == pytest.approx(cosines.mean(), abs=1e-6)
    rows_of = [
        spearmanr(np.delete(vectors @ vectors[n], n), np.delete(theirs @ theirs[n], n)).statistic
        for n in range(40)
    ]
    found = measures["rank_correlation"].of_model(int8)
    np.testing.assert_allclose(found.items, rows_of, atol=0.01)
    assert found.value == pytest.approx(found.items.mean())


def test_the_measure_of_a_budget(
    tiny_checkpoint: Path, tiny_artifact: Artifact, tmp_path: Path
) -> None:
    (tmp_path / "pairs.csv").write_text("a man,a train,1\nour train,the train,5\n")
    data = QualityData.read(tmp_path / "pairs.csv")
    fp32, _ = variants(tiny_artifact)
    reference = remembered(tiny_checkpoint, "embed", tmp_path)
    for name in ("spearman", "cosine", "neighbours@10", "rank_correlation"):
        found = measure_named(name, fp32, reference, data)
        assert (found.name, len(found.inputs)) == (name, 4)
    assert len(measure_named("cosine", fp32, reference, None).inputs) > 150


def test_agreement_is_measured_on_a_spread_of_the_data(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("".join(f"a{n},b,{n}\n" for n in range(1100)))
    data = QualityData.read(tmp_path / "pairs.csv")
    assert data.inputs("embed") == [*(f"a{n}" for n in range(1100)), "b"]
    assert agreement_inputs("embed", data) == [*(f"a{n}" for n in range(0, 1100, 3))]
    assert agreement_inputs("score", data) == [(f"a{n}", "b") for n in range(0, 1100, 3)]
    texts, pairs = (agreement_inputs(head, None) for head in ("tag", "score"))
    assert all(isinstance(text, str) for text in texts)
    assert all(len(pair) == 2 for pair in pairs)


def test_scores(scorer_checkpoint: Path, scorer_artifact: Artifact, tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder  # noqa: PLC0415

    texts = sentences(60)
    pairs = list(zip(texts[:30], texts[30:], strict=True))
    gold = np.random.default_rng(0).random(30)
    (tmp_path / "pairs.jsonl").write_text(
        "".join(
            json.dumps({"sentence1": a, "sentence2": b, "score": score}) + "\n"
            for (a, b), score in zip(pairs, gold, strict=True)
        )
    )
    fp32, int8 = variants(scorer_artifact)
    reference = remembered(scorer_checkpoint, "score", tmp_path)
    task = task_measure(fp32, reference, QualityData.read(tmp_path / "pairs.jsonl"))
    framework = CrossEncoder(str(scorer_checkpoint), device="cpu").predict(pairs)
    expected = 100 * spearmanr(framework, gold).statistic
    assert task.of_checkpoint().value == pytest.approx(expected, abs=0.2)
    expected = 100 * spearmanr(int8.score(pairs), gold).statistic
    assert task.of_model(int8).value == pytest.approx(expected, abs=0.2)

    measures = by_name(fp32, reference, pairs)
    require_perfect(measures, fp32)
    expected = spearmanr(int8.score(pairs), framework).statistic
    assert measures["agreement"].of_model(int8).value == pytest.approx(expected, abs=2e-3)


def test_classes(
    classifier_checkpoint: Path, classifier_artifact: Artifact, tmp_path: Path
) -> None:
    texts = sentences(40)
    gold = np.random.default_rng(0).choice(list("xyz"), 40).tolist()
    rows = [f"{text},{label}" for text, label in zip(texts, gold, strict=True)]
    (tmp_path / "texts.csv").write_text("text,label\n" + "\n".join(rows))
    fp32, int8 = variants(classifier_artifact)
    reference = remembered(classifier_checkpoint, "classify", tmp_path)
    task = task_measure(fp32, reference, QualityData.read(tmp_path / "texts.csv"))
    assert task.name == "accuracy"
    framework = pipeline("text-classification", classifier_checkpoint)(texts)
    labels = [answer["label"] for answer in framework]
    assert task.of_checkpoint().value == pytest.approx(100 * share_same(gold, labels))
    ours = [answer.label for answer in int8.classify(texts)]
    assert task.of_model(int8).value == pytest.approx(100 * share_same(gold, ours))

    measures = by_name(fp32, reference, texts)
    require_perfect(measures, fp32)
    expected = share_same(labels, ours)
    assert measures["agreement"].of_model(int8).value == pytest.approx(expected)


def read_as(artifact: Artifact, **changes: Any) -> Model:
    """Return the same graph with another meaning of its logits."""
    (variant,) = [variant for variant in artifact.manifest.variants if variant.name == "fp32"]
    return open_model(
        replace(artifact.manifest, **changes),
        variant,
        tokenizer=artifact.file("tokenizer.json"),
        engine=open_engine("onnxruntime", artifact.file(variant.file)),
        workers=1,
    )


def test_several_labels_at_once(
    classifier_checkpoint: Path, classifier_artifact: Artifact, tmp_path: Path
) -> None:
    model = read_as(classifier_artifact, activation="sigmoid")
    texts = sentences(60)
    generator = np.random.default_rng(0)
    gold = [{name for name in "xyz" if generator.random() < 0.5} for _ in texts]
    rows = [f"{text},{'|'.join(labels)}" for text, labels in zip(texts, gold, strict=True)]
    (tmp_path / "texts.csv").write_text("text,label\n" + "\n".join(rows))
    reference = remembered(classifier_checkpoint, "classify", tmp_path)
    task = task_measure(model, reference, QualityData.read(tmp_path / "texts.csv"))
    options = {"top_k": None, "function_to_apply": "sigmoid"}
    framework = pipeline("text-classification", classifier_checkpoint, **options)(texts)
    answered = [{one["label"] for one in of_text if one["score"] >= 0.5} for of_text in framework]
    expected = 100 * share_same(gold, answered)
    assert 0 < expected < 100
    assert task.of_checkpoint().value == pytest.approx(expected)
    assert task.of_model(model).value == pytest.approx(expected)
    require_perfect(by_name(model, reference, texts), model)


def test_a_regression(scorer_checkpoint: Path, scorer_artifact: Artifact, tmp_path: Path) -> None:
    model = read_as(scorer_artifact, head="classify", activation="identity", labels=["price"])
    texts = sentences(30)
    gold = np.random.default_rng(0).random(30)
    rows = [f"{text},{number}" for text, number in zip(texts, gold, strict=True)]
    (tmp_path / "texts.csv").write_text("text,label\n" + "\n".join(rows))
    reference = remembered(scorer_checkpoint, "classify", tmp_path)
    task = task_measure(model, reference, QualityData.read(tmp_path / "texts.csv"))
    assert task.name == "spearman"
    framework = pipeline("text-classification", scorer_checkpoint, function_to_apply="none")(texts)
    expected = 100 * spearmanr([answer["score"] for answer in framework], gold).statistic
    assert task.of_checkpoint().value == pytest.approx(expected, abs=0.1)
    assert task.of_model(model).value == pytest.approx(expected, abs=0.1)
    require_perfect(by_name(model, reference, texts), model)


def spans_of(texts: list[str], find: Callable[[list[str]], Any]) -> list[set[Span]]:
    return [{Span(e["entity_group"], e["start"], e["end"]) for e in some} for some in find(texts)]


def test_entities(tagger_checkpoint: Path, tagger_artifact: Artifact, tmp_path: Path) -> None:
    texts = sentences(40)
    fp32, int8 = variants(tagger_artifact)
    framework = spans_of(
        texts, pipeline("token-classification", tagger_checkpoint, aggregation_strategy="simple")
    )
    # Of the entities of the framework, every other one is right, and one of each text was missed.
    gold = [[*sorted(spans)[::2], Span("LOC", 0, 2)] for spans in framework]
    (tmp_path / "texts.jsonl").write_text(
        "".join(
            json.dumps({"text": text, "entities": [span._asdict() for span in spans]}) + "\n"
            for text, spans in zip(texts, gold, strict=True)
        )
    )
    reference = remembered(tagger_checkpoint, "tag", tmp_path)
    task = task_measure(fp32, reference, QualityData.read(tmp_path / "texts.jsonl"))
    assert task.name == "f1"
    assert task.of_checkpoint().value == pytest.approx(f1(framework, gold))
    ours = [{Span(e.label, e.start, e.end) for e in found} for found in int8.tag(texts)]
    assert task.of_model(int8).value == pytest.approx(f1(ours, gold))

    measures = by_name(fp32, reference, texts)
    require_perfect(measures, fp32)
    labels = [
        [best for scores in model.token_scores(texts) for best in scores.scores.argmax(axis=1)]
        for model in (fp32, int8)
    ]
    expected = share_same(*labels)
    assert measures["agreement"].of_model(int8).value == pytest.approx(expected)


def share_same(ours: list[Any], theirs: list[Any]) -> float:
    return float(np.mean([a == b for a, b in zip(ours, theirs, strict=True)]))


def f1(found: list[set[Span]], gold: list[list[Span]]) -> float:
    """Return twice the right entities over all that were found and all that exist."""
    right = sum(len(a & set(b)) for a, b in zip(found, gold, strict=True))
    return 200 * right / (sum(map(len, found)) + sum(len(set(b)) for b in gold))


def test_beyond_the_limit_nothing_is_counted(tagger_artifact: Artifact) -> None:
    model = load(tagger_artifact.directory, variant="fp32")
    text = " ".join(["train"] * 100)  # one token each, and 62 fit between the special ones
    windows = FirstWindows(model, [text, "a train"])
    inside, across, beyond = (
        Span("PER", 0, 5),
        Span("PER", 6 * 61, 6 * 63),
        Span("LOC", 6 * 80, 6 * 81),
    )
    assert windows.seen([frozenset({inside, across, beyond}), frozenset({beyond})]) == [
        {inside},
        {beyond},
    ]
    rows = [np.zeros((64, 5), np.float32), np.zeros((4, 5), np.float32)]
    for row in rows:
        row[:, 1] = 9  # "B-PER" throughout: every token is an entity
    long, short = windows.entities(rows)
    assert max(span.end for span in long) == 6 * 62 - 1
    assert len(long) == 62
    assert short == {Span("PER", 0, 1), Span("PER", 2, 7)}
    other = [row.copy() for row in rows]
    other[0][[0, 1, 63], 2] = 10  # two of them special tokens
    assert windows.same_tokens(rows, other).tolist() == [[61, 62], [2, 2]]


def pipeline(task: str, checkpoint: Path, **options: Any) -> Any:
    import transformers  # noqa: PLC0415

    return transformers.pipeline(task, model=str(checkpoint), device="cpu", **options)

import numpy as np
import pytest

from lanner.artifact.artifact import Artifact
from lanner.loading.load import load
from lanner.models.answers import agreement, ask, row_cosines, rows, score_differences
from lanner.models.embedding import EmbeddingModel


def scores(*values: list[float]) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_row_cosines_by_hand() -> None:
    a = np.array([[3, 4], [1, 0], [0, 0], [0, 0], [2, 0]], np.float32)
    b = np.array([[4, 3], [0, 1], [0, 0], [1, 0], [-1, 0]], np.float32)
    np.testing.assert_allclose(row_cosines(a, b), [0.96, 0, 1, 0, -1], atol=1e-9)


def test_score_differences_by_hand() -> None:
    a, b = scores([1.0, 5.0]), scores([2.0, 5.5])
    assert score_differences(a, b, activation="softmax").tolist() == [[1.0, 0.5]]
    # The numbers of a regression go from 1 to 5.
    assert score_differences(a, b, activation="identity").tolist() == [[0.25, 0.125]]


def test_agreement_of_labels_by_hand() -> None:
    a = scores([0.9, 0.1], [0.4, 0.6], [0.7, 0.3], [0.1, 0.9])
    b = scores([0.6, 0.4], [0.6, 0.4], [0.7, 0.3], [0.6, 0.7])
    assert agreement(a, b, head="classify", activation="softmax") == 0.75
    # If any number of labels may hold, the last text has one more.
    assert agreement(a, b, head="classify", activation="sigmoid") == 0.5


def test_agreement_of_scores_is_spearman_s_correlation() -> None:
    a, b = scores([1.0], [2.0], [3.0]), scores([9.0], [-1.0], [2.0])
    # Ranks 1 2 3 against 3 1 2: 1 - 6 * (4 + 1 + 1) / (3 * 8)
    assert agreement(a, b, head="score", activation="sigmoid") == pytest.approx(-0.5)
    stats = pytest.importorskip("scipy.stats", reason="needs the export extra")
    a, b = np.random.default_rng(0).normal(size=(2, 50, 3)).round(1).astype(np.float32)  # ties
    expected = np.mean([stats.spearmanr(a[:, i], b[:, i]).statistic for i in range(3)])
    assert agreement(a, b, head="classify", activation="identity") == pytest.approx(expected)


def test_vectors(word_model: EmbeddingModel) -> None:
    assert rows(word_model, ["a b", "c"]).tolist() == [[0.5, 0.5, 0, 0], [0, 0, 1, 0]]
    assert ask(word_model, "c").tolist() == [0, 0, 1, 0]


def test_every_head_is_asked_as_users_do(
    scorer_artifact: Artifact, classifier_artifact: Artifact, tagger_artifact: Artifact
) -> None:
    scorer, classifier, tagger = (
        load(artifact.directory, variant="fp32", threads=1)
        for artifact in (scorer_artifact, classifier_artifact, tagger_artifact)
    )
    pairs = [("a man", "a guitar"), ("the train leaves at seven", "at seven")]
    np.testing.assert_allclose(rows(scorer, pairs)[:, 0], ask(scorer, pairs), atol=1e-6)
    texts = ["the train leaves at seven", "a man"]
    given = rows(classifier, texts)
    assert [one.score for one in ask(classifier, texts)] == pytest.approx(given.max(axis=1))
    tokens = rows(tagger, texts)
    assert tokens.shape[1] == 5
    np.testing.assert_allclose(tokens.sum(axis=1), 1, atol=1e-5)
    assert len(ask(tagger, texts)) == 2

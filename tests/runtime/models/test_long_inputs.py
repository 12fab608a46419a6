"""`on_long` of the methods of all heads, and `count_tokens`."""

import numpy as np
import pytest

from lanner.artifact.artifact import Artifact
from lanner.errors import InputError
from lanner.loading.load import load
from lanner.models.classification import ClassificationModel
from lanner.models.embedding import EmbeddingModel
from lanner.models.scoring import ScoringModel
from lanner.text.cutting import TooLongError

# Four words are read.
LONG = "a b c d e f"


def test_tokens_are_counted(word_model: EmbeddingModel) -> None:
    assert word_model.count_tokens("a b") == 2
    counts = word_model.count_tokens(["", "a", LONG])
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, [0, 1, 6])
    assert word_model.max_seq_length == 4


def test_a_long_text_is_cut_unless_another_is_asked(word_model: EmbeddingModel) -> None:
    expected = word_model.encode(["a", "a b c d"])
    np.testing.assert_array_equal(word_model.encode(["a", LONG]), expected)
    assert word_model.cut_indices(["a", LONG]) == [1]
    assert word_model.cut_indices(["a b c d"], prompt_name="query") == [0]
    with pytest.raises(
        TooLongError, match=r"^the text at index 1 has 6 tokens, and the model read"
    ):
        word_model.encode(["a", LONG], on_long="error")
    with pytest.raises(
        TooLongError, match=r"^the text at index 0 has 5 tokens, and the model read"
    ):
        word_model.encode("a b c d", prompt_name="query", on_long="error")
    np.testing.assert_array_equal(word_model.encode(["a b"], on_long="error")[0], [0.5, 0.5, 0, 0])


def test_a_cut_is_told(word_model: EmbeddingModel, caplog: pytest.LogCaptureFixture) -> None:
    word_model.encode(["a", LONG, LONG], on_long="warn")
    assert caplog.messages == [
        "words reads at most 4 tokens, and cuts 2 of 3 texts, the first at index 1"
    ]


def test_the_mean_of_chunks(word_model: EmbeddingModel) -> None:
    found = word_model.encode(["a", LONG, ""], on_long="chunk", chunk_overlap=0)
    # "a b c d" is a quarter of each; "e f" is as "a b".
    half = np.array([0.25, 0.25, 0.25, 0.25]) / 2 + np.array([0.5, 0.5, 0, 0]) / 2
    expected = np.array([[1, 0, 0, 0], half, [0, 0, 0, 0]])
    np.testing.assert_allclose(found, expected, atol=1e-7)
    # "a b c d" and "d e f".
    overlapping = word_model.encode(LONG, on_long="chunk", chunk_overlap=1)
    expected = np.array([0.25] * 4) / 2 + np.array([1, 1, 0, 1]) / 6
    np.testing.assert_allclose(overlapping, expected, atol=1e-7)
    # Each chunk begins with the prompt "a ": "a a b c" and "a d e f".
    prompted = word_model.encode(LONG, on_long="chunk", chunk_overlap=0, prompt_name="query")
    np.testing.assert_allclose(
        prompted, (np.array([2, 1, 1, 0]) / 4 + np.array([2, 1, 0, 1]) / 4) / 2, atol=1e-7
    )


def test_many_chunks_are_as_one_by_one(word_model: EmbeddingModel) -> None:
    texts = [LONG * (n % 4) for n in range(300)]
    together = word_model.encode(texts, on_long="chunk")
    alone = [word_model.encode(text, on_long="chunk") for text in texts[:8]]
    np.testing.assert_allclose(together[:8], alone, atol=1e-6)


def test_what_may_be_asked_of_encode(word_model: EmbeddingModel) -> None:
    with pytest.raises(
        InputError, match=r"^on_long must be one of truncate, error, warn, chunk, no"
    ):
        word_model.encode("a", on_long="cut")  # type: ignore[call-overload]


def test_chunks_of_a_transformer(tiny_artifact: Artifact) -> None:
    """The windows are those of the tokenizer, each with its special tokens."""
    model = load(tiny_artifact.directory, head=EmbeddingModel, variant="fp32", threads=1)
    short = "a man is playing a guitar the train leaves"
    assert model.max_seq_length == 16
    # Fourteen tokens fit: one chunk.
    assert model.count_tokens(short) <= 16
    np.testing.assert_allclose(model.encode(short, on_long="chunk"), model.encode(short), atol=1e-6)
    long = " ".join(["a"] * 20)
    found = model.encode(long, on_long="chunk", chunk_overlap=0)
    parts = model.encode([" ".join(["a"] * 14), " ".join(["a"] * 6)])
    mean = parts.mean(axis=0)
    np.testing.assert_allclose(found, mean / np.linalg.norm(mean), atol=1e-6)


def test_pairs_and_labels(
    scorer_artifact: Artifact, classifier_artifact: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    long = "a " * 100
    scorer = load(scorer_artifact.directory, head=ScoringModel, variant="fp32", threads=1)
    assert scorer.count_tokens([("a", long)]).tolist() == [104]
    with pytest.raises(
        TooLongError, match=r"^the text at index 1 has 104 tokens, and the model re"
    ):
        scorer.score([("a", "a"), ("a", long)], on_long="error")
    found = scorer.score([("a", "a"), ("a", long)], on_long="warn")
    np.testing.assert_array_equal(found, scorer.score([("a", "a"), ("a", long)]))
    assert len(caplog.messages) == 1
    ranked = scorer.rank("a", ["a", "b"], on_long="error")
    assert len(ranked) == 2
    with pytest.raises(TooLongError):
        scorer.rank("a", ["a", long], on_long="error")
    with pytest.raises(
        InputError, match=r"^on_long must be one of truncate, error, warn, not 'chu"
    ):
        scorer.score([("a", "a")], on_long="chunk")  # type: ignore[call-overload]
    classifier = load(
        classifier_artifact.directory, head=ClassificationModel, variant="fp32", threads=1
    )
    with pytest.raises(TooLongError, match=r"^the text at index 0 has 102 tokens"):
        classifier.classify([long], on_long="error")
    assert classifier.classify(["a"], on_long="error")[0].label in "xyz"

import pytest

from lanner.errors import InputError
from lanner.files.texts import shipped_sentences
from lanner.tune.workload import Workload, mixed_texts, spread


def test_spread_is_even() -> None:
    assert spread(list(range(10)), 4) == [0, 2, 5, 7]
    assert spread([1, 2], 4) == [1, 2]


def test_mixed_texts_are_joined_sentences_and_always_the_same() -> None:
    texts = mixed_texts(["One.", "Two."], 200)
    counts = [text.count(".") for text in texts]
    assert set(" ".join(texts).split()) == {"One.", "Two."}
    assert (min(counts), max(counts)) == (1, 18)
    assert mixed_texts(["One.", "Two."], 200) == texts


def test_shipped_texts_fit_the_goal_and_the_head() -> None:
    sentences = shipped_sentences()
    assert Workload.shipped("embed", "latency").inputs == sentences
    throughput = Workload.shipped("tag", "throughput")
    assert len(throughput.inputs) > 1_000
    assert len(throughput.probes) == 64
    pairs = Workload.shipped("score", "latency").inputs
    assert pairs[0] == (sentences[0], sentences[1])
    assert pairs[-1] == (sentences[-1], sentences[0])


def test_own_texts_are_sampled_or_repeated() -> None:
    workload = Workload.own(["a", "b", "c"], "mine.txt")
    assert workload.sample(2) == ["a", "b"]
    assert workload.sample(7) == ["a", "b", "c", "a", "b", "c", "a"]
    assert workload.probes == ["a", "b", "c"]


def test_no_texts_are_refused() -> None:
    with pytest.raises(InputError, match=r"empty.txt holds no text to measure with: add texts lik"):
        Workload.own([], "empty.txt")

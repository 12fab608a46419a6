import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lanner.embedding import EmbeddingModel
from lanner.errors import InputError, InputTypeError, UnsupportedError
from lanner.loading import load
from lanner.model import TEXTS_AT_ONCE
from tests.word_artifact import DIMENSION


def test_vectors_by_hand(word_model: EmbeddingModel) -> None:
    vectors = word_model.encode(["a b", "c", "a a b c", "e", "zzz"])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(
        vectors,
        np.array([[2, 2, 0, 0], [0, 0, 4, 0], [2, 1, 1, 0], [4, 0, 0, 0], [0, 0, 0, 2]]) / 4,
        atol=1e-7,
    )


def test_one_str_gives_one_vector(word_model: EmbeddingModel) -> None:
    assert word_model.encode("a b").tolist() == [0.5, 0.5, 0, 0]
    assert word_model.encode(["a b"]).shape == (1, DIMENSION)


def test_no_texts_give_no_vectors(word_model: EmbeddingModel) -> None:
    vectors = word_model.encode([])
    assert vectors.shape == (0, DIMENSION)
    assert vectors.dtype == np.float32


def test_a_text_without_a_token_gives_the_zero_vector(word_model: EmbeddingModel) -> None:
    assert word_model.encode("").tolist() == [0, 0, 0, 0]
    assert word_model.encode(["", "a", " \n"]).tolist() == [[0] * 4, [1, 0, 0, 0], [0] * 4]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_order_is_kept_however_it_is_batched(
    word_artifact: Path, threads: int, batch_size: int
) -> None:
    generator = np.random.default_rng(0)
    words = ["abcd"[i] for i in generator.integers(0, 4, 500)]
    counts = generator.integers(1, 5, 500)
    texts = [" ".join(word * int(count)) for word, count in zip(words, counts, strict=True)]
    before = list(texts)
    model = load(word_artifact, variant="fp32", threads=threads, token_budget=16)
    vectors = model.encode(texts, batch_size=batch_size)
    assert vectors.argmax(axis=1).tolist() == ["abcd".index(word) for word in words]
    assert texts == before


def test_more_texts_than_a_window(word_model: EmbeddingModel) -> None:
    texts = ["a", "b b", "c c c"] * (TEXTS_AT_ONCE // 3 + 10)
    expected = np.tile(np.arange(3), len(texts) // 3)
    assert (word_model.encode(texts).argmax(axis=1) == expected).all()


@pytest.mark.parametrize(
    "texts",
    [("a", "b"), np.array(["a", "b"]), np.array(["a", "b"], dtype=object)],
    ids=["tuple", "array of str", "array of objects"],
)
def test_any_sequence_of_texts_will_do(word_model: EmbeddingModel, texts: object) -> None:
    assert word_model.encode(texts).tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [None, 3, b"a", {"a": 1}, {"a"}, iter(["a"])], ids=repr)
def test_what_is_no_sequence_is_named(word_model: EmbeddingModel, wrong: object) -> None:
    kind = type(wrong).__name__
    with pytest.raises(TypeError, match=rf"encode takes a str or a sequence of str, not {kind}"):
        word_model.encode(wrong)  # type: ignore[arg-type]


def test_a_wrong_item_is_named_with_a_prompt_too(word_model: EmbeddingModel) -> None:
    with pytest.raises(InputTypeError, match=r"at index 1 is None"):
        word_model.encode(["a", None], prompt="b ")  # type: ignore[list-item]


def test_prompts_stand_before_the_text(word_model: EmbeddingModel) -> None:
    assert word_model.encode("b", prompt_name="query").tolist() == [0.5, 0.5, 0, 0]
    assert word_model.encode("b", prompt="c ").tolist() == [0, 0.5, 0.5, 0]
    assert word_model.encode("b", prompt_name="none").tolist() == [0, 1, 0, 0]
    word_model.default_prompt_name = "query"
    assert word_model.encode("b").tolist() == [0.5, 0.5, 0, 0]
    assert word_model.encode("b", prompt="").tolist() == [0, 1, 0, 0]


def test_an_unknown_prompt_names_those_there_are(word_model: EmbeddingModel) -> None:
    with pytest.raises(InputError, match=r"words has no prompt 'title': it has 'query', 'none'"):
        word_model.encode("a", prompt_name="title")


def test_normalizing_and_truncating(word_model: EmbeddingModel) -> None:
    assert word_model.encode("a a b c", truncate_dim=2).tolist() == [0.5, 0.25]
    np.testing.assert_allclose(
        word_model.encode("a b", normalize_embeddings=True), [0.5**0.5, 0.5**0.5, 0, 0], atol=1e-7
    )
    np.testing.assert_allclose(
        word_model.encode(["a b c"], truncate_dim=1, normalize_embeddings=True), [[1]], atol=1e-7
    )


@pytest.mark.parametrize("dimension", [0, 5, -1])
def test_a_dimension_out_of_range_is_refused(word_model: EmbeddingModel, dimension: int) -> None:
    with pytest.raises(InputError, match=rf"truncate_dim must be from 1 to 4, not {dimension}"):
        word_model.encode("a", truncate_dim=dimension)


def test_precisions_that_are_not_there_are_refused(word_model: EmbeddingModel) -> None:
    assert word_model.encode("a", precision=None).dtype == np.float32
    with pytest.raises(UnsupportedError, match=r"no precision 'binary' yet: use 'float32'"):
        word_model.encode("a", precision="binary")


def test_a_batch_needs_a_text(word_model: EmbeddingModel) -> None:
    with pytest.raises(InputError, match=r"batch_size must be at least 1, not 0"):
        word_model.encode("a", batch_size=0)


def test_tensors_are_given_where_torch_is(word_model: EmbeddingModel) -> None:
    torch = pytest.importorskip("torch", reason="needs the export extra")
    vectors = word_model.encode(["a", "b"], convert_to_tensor=True)
    assert torch.equal(vectors, torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]]))
    rows = word_model.encode(["a", "b"], convert_to_numpy=False)
    assert [row.tolist() for row in rows] == vectors.tolist()
    assert torch.equal(word_model.similarity(vectors, vectors), torch.eye(2))
    assert torch.equal(word_model.similarity_pairwise(vectors, vectors), torch.ones(2))


def test_similarities_are_the_checkpoint_s(word_model: EmbeddingModel) -> None:
    assert word_model.similarity_fn_name == "cosine"
    a, b = word_model.encode(["a", "b"]), word_model.encode(["a b"])
    np.testing.assert_allclose(word_model.similarity(a, b), [[0.5**0.5], [0.5**0.5]], atol=1e-6)
    np.testing.assert_allclose(word_model.similarity_pairwise(a, a), [1, 1], atol=1e-6)


def test_search_takes_texts_and_vectors(word_model: EmbeddingModel) -> None:
    corpus = ["b", "a b", "a", "c"]
    expected = [[2, 1]]
    assert word_model.search("a", corpus, k=2).indices.tolist() == expected
    assert word_model.search(["a"], word_model.encode(corpus), k=2).indices.tolist() == expected
    vectors = word_model.encode(["a"]), np.array(corpus)
    assert word_model.search(*vectors, k=2).indices.tolist() == expected
    with pytest.raises(InputTypeError, match=r"at index 1 is None"):
        word_model.search(["a", None], corpus)  # type: ignore[arg-type]


def test_many_threads_may_call_at_once(word_model: EmbeddingModel) -> None:
    texts = ["a", "b b", "c c c", "d"] * 50
    expected = word_model.encode(texts)

    def is_right(_: int) -> bool:
        return np.array_equal(word_model.encode(texts), expected)

    with ThreadPoolExecutor(6) as callers:
        assert list(callers.map(is_right, range(30))) == [True] * 30


FORK = """
import os, sys, lanner
model = lanner.load(sys.argv[1], variant="fp32", threads=2)
texts = ["a", "b b", "c c c", "d"] * 50
expected = model.encode(texts, batch_size=4)  # starts the workers, which a child does not have
child = os.fork()
if child == 0:
    os._exit(0 if (model.encode(texts, batch_size=4) == expected).all() else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_may_call(word_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Set, it would make the tokenizers library use its threads in the child too, and hang.
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    command = [sys.executable, "-c", FORK, str(word_artifact)]
    done = subprocess.run(command, timeout=60, check=False, capture_output=True)
    assert done.returncode == 0


def test_queries_and_documents_have_their_prompts(word_model: EmbeddingModel) -> None:
    word_model.prompts = {"query": "a ", "passage": "c "}
    assert word_model.encode_query("b").tolist() == [0.5, 0.5, 0, 0]
    assert word_model.encode_document(["b"]).tolist() == [[0, 0.5, 0.5, 0]]
    assert word_model.encode_document("b", prompt="").tolist() == [0, 1, 0, 0]
    word_model.prompts = {}
    assert word_model.encode_query("b").tolist() == [0, 1, 0, 0]


def test_what_it_says_of_itself(word_model: EmbeddingModel) -> None:
    assert repr(word_model) == (
        "EmbeddingModel('words', variant='fp32', engine='onnxruntime', threads=2)"
    )
    assert word_model.max_seq_length == 4
    assert word_model.get_embedding_dimension() == 4
    assert word_model.get_sentence_embedding_dimension() == 4


def test_progress_goes_to_stderr(
    word_model: EmbeddingModel, capsys: pytest.CaptureFixture[str]
) -> None:
    word_model.encode(["a", "b"], show_progress_bar=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "2/2" in err

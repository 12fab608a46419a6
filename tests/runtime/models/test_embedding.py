import math
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.word_artifact import DIMENSION, write_manifest
from tokenizers import Tokenizer

import lanner
from lanner.artifact.manifest import RangesRecord
from lanner.errors import DeadlineError, EngineError, InputError, InputTypeError, UnsupportedError
from lanner.loading.load import load
from lanner.models.base import FIRST_TEXTS, TEXTS_AT_ONCE
from lanner.models.embedding import EmbeddingModel
from lanner.text.long_texts import current_deadline_s
from lanner.vectors.ranges import EmbeddingRanges


def test_vectors_by_hand(word_model: EmbeddingModel) -> None:
    vectors = word_model.encode(["a b", "c", "a a b c", "e", "zzz"])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(
        vectors,
        np.array([[2, 2, 0, 0], [0, 0, 4, 0], [2, 1, 1, 0], [4, 0, 0, 0], [0, 0, 0, 2]]) / 4,
        atol=1e-7,
    )


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_engine_gets_no_token_beyond_the_table(word_artifact: Path, engine: str) -> None:
    pytest.importorskip(engine, reason="needs the engine")
    path = word_artifact / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_tokens(["more"])
    tokenizer.save(str(path))
    write_manifest(word_artifact)
    model = load(word_artifact, engine=engine, variant="fp32", threads=2)
    message = (
        r"^the tokenizer of words makes the token 8 of the text at index {}, and its model has no "
        r"such token: export the checkpoint again$"
    )
    with pytest.raises(EngineError, match=message.format(1)):
        model.encode(["a", "b more", "c"])
    with pytest.raises(EngineError, match=message.format(700)):
        model.encode(["a"] * 700 + ["more"] + ["b"] * 20)
    assert model.encode("a").tolist() == [1, 0, 0, 0]


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
def test_any_sequence_of_texts_will_do(word_model: EmbeddingModel, texts: Any) -> None:
    assert word_model.encode(texts).tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]


@pytest.mark.parametrize("wrong", [None, 3, b"a", {"a": 1}, {"a"}], ids=type)
def test_what_is_no_sequence_is_named(word_model: EmbeddingModel, wrong: object) -> None:
    kind = type(wrong).__name__
    with pytest.raises(TypeError, match=rf"encode takes a str or a sequence of str, not {kind}"):
        word_model.encode(wrong)  # type: ignore[call-overload]


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


@pytest.fixture
def ranged_model(word_artifact: Path) -> EmbeddingModel:
    """Write the words with ranges from -1 on in steps of 1/128, and a mean length of 1/2."""
    extremes = np.array([[-1] * DIMENSION, [127 / 128] * DIMENSION], dtype=np.float32)
    lengths = np.full(DIMENSION, 0.5, dtype=np.float32)
    EmbeddingRanges(extremes, lengths).write(word_artifact / "ranges.npy")
    record = RangesRecord("ranges.npy", "by hand", 1)
    write_manifest(word_artifact, embedding_ranges=record, prompts={})
    model: EmbeddingModel = load(word_artifact, variant="fp32", threads=2)
    return model


@pytest.mark.parametrize(
    ("precision", "dtype", "expected"),
    [
        ("float32", np.float32, [[0.5, 0.5, 0, 0], [1, 0, 0, 0]]),
        ("uint8", np.uint8, [[192, 192, 128, 128], [255, 128, 128, 128]]),
        ("int8", np.int8, [[64, 64, 0, 0], [127, 0, 0, 0]]),
        ("ubinary", np.uint8, [[0b11000000], [0b10000000]]),
        ("binary", np.int8, [[0b11000000 - 128], [0b10000000 - 128]]),
    ],
)
def test_precisions_by_hand(
    ranged_model: EmbeddingModel, precision: str, dtype: type, expected: list[list[float]]
) -> None:
    vectors = ranged_model.encode(["a b", "a"], precision=precision)
    assert vectors.dtype == dtype
    assert vectors.tolist() == expected
    assert ranged_model.encode("a b", precision=precision).tolist() == expected[0]
    none = ranged_model.encode([], precision=precision)
    assert none.shape == (0, len(expected[0]))
    assert none.dtype == dtype
    torch = pytest.importorskip("torch", reason="needs the export extra")
    tensor = ranged_model.encode(["a b", "a"], precision=precision, convert_to_tensor=True)
    assert torch.equal(tensor, torch.tensor(expected, dtype=tensor.dtype))
    assert np.asarray(tensor).dtype == dtype


def test_ranges_follow_truncation_and_normalization(ranged_model: EmbeddingModel) -> None:
    ranges = ranged_model.embedding_ranges(2, normalize_embeddings=True)
    assert ranges.tolist() == [[-2, -2], [127 / 64, 127 / 64]]
    vectors = ranged_model.encode(
        ["a b c", "d"], truncate_dim=2, normalize_embeddings=True, precision="uint8"
    )
    # (0.7071 + 2) * 64 is 173.25; "d" has nothing in the first two dimensions.
    assert vectors.tolist() == [[173, 173], [128, 128]]
    with pytest.raises(InputError, match=r"truncate_dim must be from 1 to 4, not 5"):
        ranged_model.embedding_ranges(5)


def test_an_artifact_without_ranges_says_what_to_do(word_model: EmbeddingModel) -> None:
    message = (
        r"words stores no ranges for int8 and uint8 vectors: export its checkpoint again, with "
        r"--calibration texts like yours, or pass ranges of your own to lanner.quantize_embeddings"
    )
    with pytest.raises(UnsupportedError, match=message):
        word_model.encode("a", precision="int8")
    with pytest.raises(UnsupportedError, match=message):
        word_model.similarity(np.zeros((1, 4), np.int8), np.zeros((1, 4)))
    assert word_model.encode("a", precision="ubinary").tolist() == [128]


def test_an_unknown_precision_names_those_there_are(word_model: EmbeddingModel) -> None:
    assert word_model.encode("a", precision=None).dtype == np.float32
    with pytest.raises(InputError, match=r"no precision 'int4': use float32, int8, uint8, binary"):
        word_model.encode("a", precision="int4")


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_bytes_are_as_near_as_floats(ranged_model: EmbeddingModel, precision: str) -> None:
    texts = ["a b", "a", "c", "b c d"]
    floats = ranged_model.encode(texts)
    vectors = ranged_model.encode(texts, precision=precision)
    expected = ranged_model.similarity(floats, floats)
    for b in (vectors, floats, list(vectors)):
        np.testing.assert_allclose(ranged_model.similarity(vectors, b), expected, atol=0.02)
        np.testing.assert_allclose(ranged_model.similarity_pairwise(b, vectors), 1, atol=0.02)
    found = ranged_model.search("b c d", vectors, k=1)
    assert found.indices.tolist() == [[3]]


def test_bits_are_as_near_as_they_agree(ranged_model: EmbeddingModel) -> None:
    vectors = ranged_model.encode(["a", "b", "a b"], precision="binary")
    # Of the four dimensions, not of the eight bits of the byte.
    expected = [[1, 0, 0.5], [0, 1, 0.5], [0.5, 0.5, 1]]
    np.testing.assert_allclose(ranged_model.similarity(vectors, vectors), expected, atol=1e-6)
    np.testing.assert_allclose(ranged_model.similarity_pairwise(vectors, vectors), 1, atol=1e-6)
    for options in ({}, {"rescore_multiplier": 3}):
        found = ranged_model.search(["b", "b a"], vectors, k=2, **options)
        assert found.indices.tolist() == [[1, 2], [2, 0]]
    torch = pytest.importorskip("torch", reason="needs the export extra")
    tensor = torch.from_numpy(vectors)
    assert torch.allclose(ranged_model.similarity(tensor, vectors), torch.tensor(expected))


def test_truncated_vectors_are_told_by_their_dimension(ranged_model: EmbeddingModel) -> None:
    corpus = ["c a", "b c", "a"]
    for precision in ("int8", "binary"):
        vectors = ranged_model.encode(corpus, precision=precision, truncate_dim=3)
        found = ranged_model.search("c b", vectors, k=1, truncate_dim=3)
        assert found.indices.tolist() == [[1]]
    with pytest.raises(
        InputError,
        match=r"corpus is int8 of width 3, but 4 dimensions take 4 as bytes and 1 as bits: pass "
        r"the truncate_dim that it was encoded with",
    ):
        ranged_model.search("c b", ranged_model.encode(corpus, precision="int8", truncate_dim=3))


def test_ranges_of_one_s_own(word_model: EmbeddingModel) -> None:
    vectors = word_model.encode(["a", "a b", "d"])
    ranges = [[0] * 4, [1] * 4]
    quantized = lanner.quantize_embeddings(vectors, "uint8", ranges)
    measured = word_model.similarity(quantized, quantized, ranges=ranges)
    np.testing.assert_allclose(measured, word_model.similarity(vectors, vectors), atol=0.02)
    found = word_model.search("a", quantized, k=2, ranges=ranges)
    assert found.indices.tolist() == [[0, 1]]


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


def test_search_takes_the_prompts_of_queries_and_documents(word_model: EmbeddingModel) -> None:
    word_model.prompts = {"query": "c ", "document": "d "}
    found = word_model.search("a", ["a", "b", "c c c"], k=3)
    # "c a" is [1, 0, 1, 0] / 2; "d a" [1, 0, 0, 1] / 2, "d b" [0, 1, 0, 1] / 2 and "d c c c"
    # [0, 0, 3, 1] / 4.
    assert found.indices.tolist() == [[2, 0, 1]]
    np.testing.assert_allclose(found.scores, [[3 / 20**0.5, 0.5, 0]], atol=1e-6)


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


def test_a_call_has_so_much_time(word_model: EmbeddingModel) -> None:
    assert word_model.encode("a", timeout_ms=60_000).tolist() == [1, 0, 0, 0]
    for count in (1, 3 * FIRST_TEXTS):
        with pytest.raises(
            DeadlineError, match=r"^the deadline passed before the answer was there"
        ):
            word_model.encode(["a b"] * count, timeout_ms=1e-6)
    assert word_model.encode(["b"]).tolist() == [[0, 1, 0, 0]]


@pytest.mark.parametrize("timeout_ms", [0, -1, math.inf, math.nan])
def test_no_time_is_refused(word_model: EmbeddingModel, timeout_ms: float) -> None:
    with pytest.raises(
        InputError,
        match=rf"^timeout_ms must be a number of milliseconds above 0, not {timeout_ms}$",
    ):
        word_model.encode("a", timeout_ms=timeout_ms)


def test_a_bad_text_far_behind_is_counted_from_the_first(word_model: EmbeddingModel) -> None:
    texts: list[object] = ["a"] * (FIRST_TEXTS + 5)
    texts[FIRST_TEXTS + 2] = 7
    with pytest.raises(
        InputTypeError, match=rf"the item at index {FIRST_TEXTS + 2} is of type int"
    ):
        word_model.encode(texts)  # type: ignore[arg-type]
    assert word_model.encode("a").tolist() == [1, 0, 0, 0]


def test_a_forked_child_may_call(word_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # If it is set, the tokenizers library uses its threads in the child too, and hangs.
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
        "EmbeddingModel('words', variant='fp32', engine='onnxruntime', workers=2)"
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


def test_the_deadline_of_a_call_counts_while_its_texts_are_split(
    word_model: EmbeddingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float | None] = []
    encode = word_model.tokenizer.encode

    def look(texts: Sequence[str]) -> Any:
        seen.append(current_deadline_s.get())
        return encode(texts)

    monkeypatch.setattr(word_model.tokenizer, "encode", look)
    before = time.monotonic()
    word_model.encode("a", timeout_ms=60_000)
    word_model.encode("a")
    assert seen[0] is not None
    assert before + 60 <= seen[0] <= time.monotonic() + 60
    assert seen[1] is None
    assert current_deadline_s.get() is None

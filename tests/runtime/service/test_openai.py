"""The dialect of OpenAI, over TCP, with vectors that can be worked out by hand."""

import base64
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.support.service import Service, serving
from tests.support.word_artifact import write_word_artifact

from lanner.errors import InputError, UsageError
from lanner.service.core.vocabulary import Vocabulary

HALF = 1 / math.sqrt(2)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    pytest.importorskip("onnx", reason="needs the export extra to write a graph")
    words: Path = write_word_artifact(tmp_path_factory.mktemp("words") / "words.lanner")
    with serving({"words": words}, aliases={"text-embedding-3-small": "words"}) as running:
        yield running


def vectors(service: Service, **fields: object) -> list[list[float]]:
    answer = service.post("/v1/embeddings", {"model": "words", **fields})
    assert answer.status == 200, answer.body
    assert [one["index"] for one in answer.json["data"]] == list(range(len(answer.json["data"])))
    return [one["embedding"] for one in answer.json["data"]]


def test_texts_become_vectors_in_their_order(service: Service) -> None:
    answer = service.post("/v1/embeddings", {"model": "words", "input": ["a", "b b", "a b"]})
    assert answer.status == 200
    content = answer.json
    assert [one["embedding"][:2] for one in content["data"]] == [
        [1, 0],
        [0, 1],
        pytest.approx([HALF, HALF]),
    ]
    assert content["usage"] == {"prompt_tokens": 5, "total_tokens": 5}
    assert (content["object"], content["model"]) == ("list", "words")
    assert "x-lanner-truncated" not in answer.headers
    assert "truncated" not in content


def test_a_single_text_and_no_name_of_the_only_model(service: Service) -> None:
    answer = service.post("/v1/embeddings", {"input": "a"})
    assert answer.json["data"] == [
        {"object": "embedding", "index": 0, "embedding": [1.0, 0.0, 0.0, 0.0]}
    ]


def test_base64_is_little_endian_float32(service: Service) -> None:
    answer = service.post("/v1/embeddings", {"input": "a b", "encoding_format": "base64"})
    text: str = answer.json["data"][0]["embedding"]
    found = np.frombuffer(base64.b64decode(text), "<f4")
    np.testing.assert_allclose(found, [HALF, HALF, 0, 0], rtol=1e-6)


def test_raw_float32_says_its_shape(service: Service) -> None:
    answer = service.post(
        "/v1/embeddings", {"input": ["a", "b"]}, accept="application/octet-stream"
    )
    assert answer.headers["x-lanner-shape"] == "2,4"
    assert answer.headers["content-type"] == "application/octet-stream"
    found = np.frombuffer(answer.body, "<f4").reshape(2, 4)
    assert found.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]


def test_dimensions_are_leading_ones_of_length_1(service: Service) -> None:
    # "a a b d" is [1/2, 1/4, 0, 1/4]; "d" is at place 3.
    (vector,) = vectors(service, input="a a b d", dimensions=2)
    assert vector == pytest.approx([2 / math.sqrt(5), 1 / math.sqrt(5)])


@pytest.mark.parametrize("dimensions", [0, -1, 5])
def test_dimensions_that_the_model_has_not_are_refused(service: Service, dimensions: int) -> None:
    answer = service.post("/v1/embeddings", {"input": "a", "dimensions": dimensions})
    assert answer.status == 400
    assert answer.json["error"] == {
        "message": "dimensions must be from 1 to 4 for the model words",
        "type": "invalid_request_error",
        "param": "dimensions",
        "code": "invalid",
    }


def test_an_alias_and_a_prompt_in_the_name(service: Service) -> None:
    # The prompt "query" is "a ", so that "b" reads "a b".
    assert vectors(service, input="b", model="text-embedding-3-small") == [[0, 1, 0, 0]]
    (vector,) = vectors(service, input="b", model="words:query")
    assert vector == pytest.approx([HALF, HALF, 0, 0])


def test_the_answer_says_which_texts_were_cut(service: Service) -> None:
    # The model reads 4 words.
    answer = service.post("/v1/embeddings", {"input": ["a", "b b b b a", "a a", "a b b b b b"]})
    assert answer.headers["x-lanner-truncated"] == "1,3"
    assert answer.json["truncated"] == [1, 3]
    assert answer.json["data"][1]["embedding"] == [0, 1, 0, 0]


def test_texts_are_cut_at_the_end_that_is_asked_for(service: Service) -> None:
    text = "a b b b b"
    assert vectors(service, input=text, truncation_direction="left") == [[0, 1, 0, 0]]
    (right,) = vectors(service, input=text, truncation_direction="right")
    assert right == pytest.approx([1 / math.sqrt(10), 3 / math.sqrt(10), 0, 0])


def test_a_text_that_must_not_be_cut_is_refused_by_its_index_and_tokens(service: Service) -> None:
    answer = service.post("/v1/embeddings", {"input": ["a", "a b b b b"], "truncate": False})
    assert answer.status == 400
    assert answer.json["error"]["code"] == "context_length_exceeded"
    assert answer.json["error"]["message"] == (
        "the text at index 1 has 5 tokens, and the model reads at most 4: shorten it, or allow "
        "that it is cut"
    )


@pytest.mark.parametrize("ids", [[1, 2], [[1, 2], [3]], ["a", 1]], ids=str)
def test_ids_of_another_vocabulary_are_refused_with_the_remedy(
    service: Service, ids: list[object]
) -> None:
    answer = service.post("/v1/embeddings", {"input": ids})
    assert answer.status == 400
    assert "OpenAIEmbeddings(check_embedding_ctx_length=False)" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        ({"input": []}, 400, "the request holds no text"),
        ({"input": "a", "model": "secret words"}, 404, "there is no such model"),
        (
            {"input": "a", "model": "words:nothing"},
            400,
            'has no such prompt. Available prompts: ["query"',
        ),
        ({"input": None}, 400, "Expected `str | array`, got `null`"),
        ({}, 400, "missing required field `input`"),
        ({"input": "a", "encoding_format": "secret words"}, 400, "Invalid enum value - at"),
        (b"secret words", 400, "the body is not JSON in UTF-8"),
        (b'{"input": "\xff"}', 400, "the body is not JSON in UTF-8"),
        (b"[" * 100_000, 400, "the body is not"),
        (b'{"input": "\\ud800"}', 400, "the body is not JSON in UTF-8"),
    ],
    ids=str,
)
def test_a_refusal_has_the_shape_of_the_dialect_and_repeats_nothing(
    service: Service, content: object, status: int, said: str
) -> None:
    answer = service.post("/v1/embeddings", content)
    assert answer.status == status
    assert said in answer.json["error"]["message"]
    assert set(answer.json["error"]) == {"message", "type", "param", "code"}
    assert b"secret" not in answer.body


def test_the_models_are_listed_and_found(service: Service) -> None:
    listed = service.get("/v1/models").json["data"]
    assert [one["id"] for one in listed] == ["words", "text-embedding-3-small"]
    found = service.get("/v1/models/words").json
    assert (found["id"], found["object"]) == ("words", "model")
    assert service.get("/v1/models/sentence-transformers/x").status == 404


def test_more_texts_than_a_batch_are_split(service: Service) -> None:
    texts = ["a b", "b", "c c"] * 700
    found = np.array(vectors(service, input=texts))
    expected = np.array([[HALF, HALF, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]] * 700)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as OpenAI's are: each byte is a token, and so are " b" (256) and "a b" (257)."""
    tokens = [*(bytes([byte]) for byte in range(256)), b" b", b"a b"]
    path = tmp_path_factory.mktemp("ranks") / "small.tiktoken"
    path.write_bytes(
        b"".join(base64.b64encode(token) + b" %d\n" % i for i, token in enumerate(tokens))
    )
    return path


@pytest.fixture(scope="module")
def decoding(service: Service, ranks: Path) -> Iterator[Service]:
    pytest.importorskip("tiktoken", reason="needs the extra 'tiktoken'")
    words = service.door.settings.models
    with serving(words, openai_vocabulary=str(ranks)) as running:
        yield running


def test_ids_of_a_vocabulary_that_the_operator_named_are_decoded(decoding: Service) -> None:
    import tiktoken  # noqa: PLC0415 (an extra)
    from tiktoken.load import load_tiktoken_bpe  # noqa: PLC0415

    ranks = load_tiktoken_bpe(decoding.door.settings.openai_vocabulary or "")
    encoding = tiktoken.Encoding("x", pat_str=".+", mergeable_ranks=ranks, special_tokens={})
    ids = encoding.encode("a b")
    assert ids == [257]
    expected = vectors(decoding, input=["a b", "b b a"])
    assert vectors(decoding, input=[ids, encoding.encode("b b a")]) == expected
    assert vectors(decoding, input=encoding.encode("b b a")) == expected[1:]
    # A client that splits long texts may do so within a character.
    halves = encoding.encode("a \u00e9")
    assert len(vectors(decoding, input=[halves[:-1], halves[-1:]])) == 2
    many = [encoding.encode("a b") * 5_000]
    assert len(vectors(decoding, input=many)) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([258], "input holds token ids that the vocabulary small of the service has not: send"),
        ([[97], [-1]], "input holds token ids that the vocabulary small of the service has not"),
        ([[2**40]], "input holds token ids that the vocabulary small of the service has not"),
        ([97, [97]], "input must be a text, a list of token ids, or a list of texts or of such"),
        (["a", 97], "input must be a text, a list of token ids, or a list of texts or of such"),
    ],
)
def test_ids_that_the_vocabulary_has_not_are_400(
    decoding: Service, given: object, said: str
) -> None:
    answer = decoding.post("/v1/embeddings", {"input": given})
    assert (answer.status, answer.json["error"]["param"]) == (400, "input")
    assert answer.json["error"]["message"].startswith(said)


def test_a_vocabulary_that_is_none_is_named(tmp_path: Path) -> None:
    pytest.importorskip("tiktoken", reason="needs the extra 'tiktoken'")
    with pytest.raises(UsageError, match=r"openai_vocabulary cannot be 'x': use .*cl100k_base"):
        Vocabulary.open("x")
    path = tmp_path / "x.tiktoken"
    with pytest.raises(InputError, match=r"x\.tiktoken cannot be read \(No such file"):
        Vocabulary.open(str(path))
    for content in (b"", b"YQ== 0 1\n", b"YQ==\n", b"!! 0\n", b"YQ== x\n", b"YQ== 0\nYg== 0\n"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"x\.tiktoken is no file of ranks: it needs "):
            Vocabulary.open(str(path))

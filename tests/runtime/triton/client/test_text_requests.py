"""The requests of a client of a text model, and its answers."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.manifests import FP32, manifest

from lanner.artifact.manifest import LateInteraction, Manifest
from lanner.errors import (
    EngineError,
    InputError,
    InputTypeError,
    ModelChangedError,
    UnsupportedError,
)
from lanner.models.base import Model
from lanner.models.classification import ClassificationModel
from lanner.models.scoring import ScoringModel
from lanner.running.runner import Runner, Sequences
from lanner.text.entities import TokenScores
from lanner.triton.client.text_requests import (
    ServerEmbeddingModel,
    ServerTaggingModel,
    ServerTokenizer,
    ServerTokensModel,
    TextEngine,
    feed_texts,
)
from lanner.triton.client.transport import ServerAnswer
from lanner.triton.contract.served_model import ServedModel

PROMPTS = {"query": "q: ", "other": "o: "}
TYPED = ["input_ids", "attention_mask", "token_type_ids"]


class Server:
    """A transport that notes the texts of each request, and answers as it is told."""

    def __init__(self, answer: Callable[[dict[str, Any]], dict[str, NDArray[Any]]]) -> None:
        self.answer = answer
        self.version = "1"
        self.requests: list[dict[str, list[Any]]] = []

    def infer(
        self,
        model: str,
        version: str,
        inputs: Mapping[str, NDArray[Any]],
        outputs: tuple[str, ...],
        *,
        timeout_s: float | None,
        priority: int,
    ) -> ServerAnswer:
        texts = {name: tensor[:, 0].tolist() for name, tensor in inputs.items()}
        self.requests.append(texts)
        found = self.answer(texts)
        return ServerAnswer({name: found[name] for name in outputs}, self.version)

    def config(self, model: str, version: str) -> dict[str, Any]:
        raise NotImplementedError

    def versions(self, model: str) -> list[str]:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def lengths(texts: dict[str, list[bytes]]) -> dict[str, NDArray[np.float32]]:
    """Of each text its bytes, and of a second one ten times as many."""
    left = np.array([len(text) for text in texts["text"]])
    right = np.array([len(text) for text in texts.get("text_pair", [b""] * len(left))])
    output = (left + 10 * right)[:, None].astype(np.float32)
    return {"sentence_embedding": output, "logits": output}


def connected(
    kind: type[Model],
    server: Server,
    made: Manifest,
    *,
    max_batch_size: int = 64,
    takes_prompts: bool = False,
) -> Any:
    served = ServedModel("m_text", "1", {"lanner_input": "text"}, max_batch_size)
    engine = TextEngine(server, served, output=made.outputs[0])
    return kind(
        manifest=made,
        variant=FP32,
        tokenizer=ServerTokenizer(made, takes_prompts=takes_prompts),
        runner=Runner(engine, feed=feed_texts, workers=1, token_budget=2_048),
    )


def test_texts_are_sent_as_they_are() -> None:
    server = Server(lengths)
    model = connected(ServerEmbeddingModel, server, manifest(dimension=1))
    texts = ["abc", "", "\u00e9\U0001f985", "a\0b\0", "abc"]
    assert model.encode(texts).tolist() == [[3], [0], [6], [4], [3]]
    (request,) = server.requests
    # The longest first.
    assert request == {"text": ["\u00e9\U0001f985".encode(), b"a\0b\0", b"abc", b"abc", b""]}


def test_a_text_counts_as_its_bytes() -> None:
    server = Server(lengths)
    model = connected(ServerEmbeddingModel, server, manifest(dimension=1))
    # With its end each is 1,024 tokens long, and two are a request.
    model.encode(["a" * 1_023] * 5)
    assert [len(request["text"]) for request in server.requests] == [2, 2, 1]


@pytest.mark.parametrize("text", [7, None, ("a", "b"), b"a"])
def test_what_is_no_text_is_named(text: object) -> None:
    tokenizer = ServerTokenizer(manifest())
    with pytest.raises(
        InputTypeError, match=r"^every text must be a str, but the item at index 1 "
    ):
        tokenizer.encode(["a", text])  # type: ignore[list-item]


def test_half_of_a_surrogate_pair_is_named() -> None:
    tokenizer = ServerTokenizer(manifest())
    with pytest.raises(InputError, match=r"^the text at index 1 is not valid Unicode"):
        tokenizer.encode(["a", "\ud800"])
    with pytest.raises(InputError, match=r"^the text at index 0 is not valid Unicode"):
        tokenizer.encode_pairs([("a", "\ud800")])
    with pytest.raises(InputTypeError, match=r"^every input must be a str or a pair of str"):
        tokenizer.encode_pairs([("a", "b", "c")])  # type: ignore[list-item]


@pytest.mark.parametrize("inputs", [TYPED, TYPED[:2]], ids=["with types", "without types"])
def test_pairs_are_sent_as_two_texts(inputs: list[str]) -> None:
    server = Server(lengths)
    made = manifest("score", dimension=1, labels=["x"], inputs=inputs)
    model = connected(ScoringModel, server, made)
    assert model.score([("a", "bc"), ("", ""), ("abcd", "")]).tolist() == [21, 0, 4]
    assert server.requests == [{"text": [b"abcd", b"a", b""], "text_pair": [b"", b"bc", b""]}]


@pytest.mark.parametrize("inputs", [TYPED, TYPED[:2]], ids=["with types", "without types"])
def test_pairs_among_single_texts(inputs: list[str]) -> None:
    server = Server(lengths)
    made = manifest("classify", dimension=1, labels=["x"], inputs=inputs)
    model = connected(ClassificationModel, server, made)
    logits = model.logits(["abc", ("a", "b"), "", ("", "")])
    assert logits.tolist() == [[3], [11], [0], [0]]
    assert server.requests == [
        {"text": [b"a", b""], "text_pair": [b"b", b""]},
        {"text": [b"abc", b""]},
    ]


def test_single_texts_are_sent_without_a_second_one() -> None:
    server = Server(lengths)
    model = connected(ClassificationModel, server, manifest("classify", dimension=1, labels=["x"]))
    model.classify(["abc", "d"])
    assert server.requests == [{"text": [b"abc", b"d"]}]


def test_the_feed_of_several_callers() -> None:
    tokenizer = ServerTokenizer(manifest("classify"))
    first = Sequences.of(tokenizer.encode_pairs(["a", "b"]), with_types=True)
    second = Sequences.of(tokenizer.encode_pairs([("c", "d")]), with_types=True)
    tensors = feed_texts([(first, [1]), (second, [0])])
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {
        "text": [[b"b"], [b"c"]],
        "text_pair": [[None], [b"d"]],
    }
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype(object)}


def test_the_server_puts_the_default_prompt_there() -> None:
    server = Server(lengths)
    made = manifest(dimension=1, prompts=PROMPTS, default_prompt_name="query")
    model = connected(ServerEmbeddingModel, server, made)
    model.encode(["abc", "q: d"])
    model.encode("abc", prompt_name="query")
    model.encode("q: abc", prompt="")
    assert server.requests == [{"text": [b"q: d", b"abc"]}, {"text": [b"abc"]}, {"text": [b"abc"]}]


@pytest.mark.parametrize("options", [{"prompt": ""}, {"prompt": "x: "}, {"prompt_name": "other"}])
def test_another_prompt_than_that_of_the_server(options: dict[str, str]) -> None:
    server = Server(lengths)
    made = manifest(dimension=1, prompts=PROMPTS, default_prompt_name="query")
    model = connected(ServerEmbeddingModel, server, made)
    message = (
        "the text model of words puts the prompt 'q: ' before every text: connect to the token "
        "model for another one, or for none"
    )
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        model.encode("abc", **options)
    assert server.requests == []


def test_prompts_where_the_server_has_none_of_its_own() -> None:
    server = Server(lengths)
    model = connected(ServerEmbeddingModel, server, manifest(dimension=1, prompts=PROMPTS))
    model.encode("abc", prompt_name="query")
    model.encode_query("abc")
    model.encode("abc")
    assert [request["text"] for request in server.requests] == [[b"q: abc"], [b"q: abc"], [b"abc"]]


def test_a_server_that_takes_names_of_prompts_is_told_them() -> None:
    server = Server(lengths)
    made = manifest(dimension=1, prompts=PROMPTS, default_prompt_name="query")
    model = connected(ServerEmbeddingModel, server, made, takes_prompts=True)
    model.encode("abc")
    model.encode("abc", prompt_name="other")
    model.encode("abc", prompt="o: ")
    model.encode("q: abc", prompt="")
    model.encode("abc", prompt="x: ")
    assert server.requests == [
        {"text": [b"abc"], "prompt_name": [b"query"]},
        {"text": [b"abc"], "prompt_name": [b"other"]},
        {"text": [b"abc"], "prompt_name": [b"other"]},
        {"text": [b"q: abc"], "prompt_name": [b""]},
        {"text": [b"x: abc"], "prompt_name": [b""]},
    ]
    server.requests.clear()
    model.search("abc", ["d"])  # there is no prompt of documents
    assert server.requests == [
        {"text": [b"abc"], "prompt_name": [b"query"]},
        {"text": [b"d"], "prompt_name": [b"query"]},
    ]


def test_callers_with_several_prompts_share_a_request() -> None:
    made = manifest(dimension=1, prompts=PROMPTS)
    tokenizer = ServerTokenizer(made, takes_prompts=True)
    first = Sequences(tokenizer.encode_with_prompt(["a", "b"], "q: "))
    second = Sequences(tokenizer.encode_with_prompt(["\u00e9"], ""))
    tensors = feed_texts([(first, [1]), (second, [0])])
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {
        "text": [[b"b"], ["\u00e9".encode()]],
        "prompt_name": [[b"query"], [b""]],
    }


def test_prompts_that_are_not_pooled() -> None:
    server = Server(lengths)
    made = manifest(dimension=1, prompts=PROMPTS, default_prompt_name="query", pools_prompt=False)
    model = connected(ServerEmbeddingModel, server, made)
    assert model.encode("abc").tolist() == [3]
    assert server.requests == [{"text": [b"abc"]}]
    message = (
        "words reads its prompts without pooling them, which the text model does with its own "
        "prompts alone: connect to the token model for 'o: '"
    )
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        model.encode("abc", prompt_name="other")


def tags(texts: dict[str, list[bytes]]) -> dict[str, NDArray[Any]]:
    """Of each letter a token; "x" has the first label, all others the second; "#" continues."""
    longest = max(map(len, texts["text"]))
    logits = np.zeros((len(texts["text"]), longest, 3), np.float32)
    offsets = np.full((len(texts["text"]), longest, 2), -1)
    continues = np.zeros((len(texts["text"]), longest), np.int64)
    for row, text in enumerate(texts["text"]):
        for place, letter in enumerate(text.decode()):
            logits[row, place, int(letter != "x")] = 5
            offsets[row, place] = place, place + 1
            continues[row, place] = letter == "#"
    return {"logits": logits, "offsets": offsets, "continues": continues}


def test_tokens_of_a_server_by_hand() -> None:
    server = Server(tags)
    model = connected(ServerTaggingModel, server, manifest("tag"))
    found: list[TokenScores] = model.token_scores(["x#", "", "abc"])
    assert [tokens.offsets.tolist() for tokens in found] == [
        [[0, 1], [1, 2]],
        [],
        [[0, 1], [1, 2], [2, 3]],
    ]
    assert [tokens.continues.tolist() for tokens in found] == [[False, True], [], [False] * 3]
    low = 1 / (math.exp(5) + 2)
    high = 1 - 2 * low
    np.testing.assert_allclose(found[0].scores, [[high, low, low], [low, high, low]], rtol=1e-5)
    assert found[1].scores.shape == (0, 3)
    assert server.requests == [{"text": [b"x#", b"", b"abc"]}]


def test_entities_of_a_server() -> None:
    made = manifest("tag", labels=["B-A", "O", "I-A"])
    model = connected(ServerTaggingModel, Server(tags), made)
    (entities,) = model.tag(["ab x"])
    assert [(entity.text, entity.label, entity.start, entity.end) for entity in entities] == [
        ("x", "A", 3, 4)
    ]
    assert model.tag("") == []


@pytest.mark.parametrize(
    ("batch_size", "max_batch_size", "sizes"),
    [(2, 64, [2, 2, 1]), (32, 2, [2, 2, 1]), (32, 0, [5]), (1, 3, [1, 1, 1, 1, 1])],
)
def test_texts_to_tag_are_sent_a_batch_at_a_time(
    batch_size: int, max_batch_size: int, sizes: list[int]
) -> None:
    server = Server(tags)
    model = connected(ServerTaggingModel, server, manifest("tag"), max_batch_size=max_batch_size)
    found = model.token_scores(["a", "bc", "def", "g", "h"], batch_size)
    assert [len(tokens.offsets) for tokens in found] == [1, 2, 3, 1, 1]
    assert [len(request["text"]) for request in server.requests] == sizes


def test_no_texts_to_tag_are_not_sent() -> None:
    server = Server(tags)
    assert connected(ServerTaggingModel, server, manifest("tag")).tag([]) == []
    assert server.requests == []


def test_tags_of_a_version_that_was_exchanged() -> None:
    server = Server(tags)
    model = connected(ServerTaggingModel, server, manifest("tag"))
    server.version = "2"
    with pytest.raises(ModelChangedError, match=r"^the model m_text answered with version 2, and"):
        model.tag("ab")


def letters(texts: dict[str, list[bytes]]) -> dict[str, NDArray[Any]]:
    """Of each letter a vector, its code, with the first letter of the task; and its mask."""
    rows = zip(texts["text"], texts["prompt_name"], strict=True)
    longest = max(map(len, texts["text"]))
    vectors = np.zeros((len(texts["text"]), longest, 2), np.float32)
    mask = np.zeros((len(texts["text"]), longest), np.int64)
    for row, (text, task) in enumerate(rows):
        for place, letter in enumerate(text):
            vectors[row, place], mask[row, place] = (letter, task[0]), 1
    return {"token_embeddings": vectors, "token_mask": mask}


def of_tokens(**changes: Any) -> Manifest:
    own: dict[str, Any] = {"dimension": 2, "labels": [], "similarity": "maxsim"}
    late = LateInteraction(4, 4, 4, 2)
    return manifest(
        "tokens", **{**own, "outputs": ["token_embeddings"], "late_interaction": late, **changes}
    )


def test_vectors_of_tokens_of_a_server_by_hand() -> None:
    server = Server(letters)
    model = connected(ServerTokensModel, server, of_tokens(), max_batch_size=2)
    found = model.encode_tokens(["ab", "", "c"], task="query")
    assert [one.tolist() for one in found] == [[[97, 113], [98, 113]], [], [[99, 113]]]
    assert server.requests == [
        {"text": [b"ab", b""], "prompt_name": [b"query"] * 2},
        {"text": [b"c"], "prompt_name": [b"query"]},
    ]
    assert model.encode_tokens("a").tolist() == [[97, 100]]


def test_a_server_of_tokens_that_answers_something_else() -> None:
    def answer(texts: dict[str, list[bytes]]) -> dict[str, NDArray[Any]]:
        return {name: array[:1] for name, array in letters(texts).items()}

    model = connected(ServerTokensModel, Server(answer), of_tokens())
    with pytest.raises(
        EngineError,
        match=r"^words answered tensors of the shapes \(1, 1, 2\) and \(1, 1\) to 2 texts: its",
    ):
        model.encode_tokens(["a", "b"])

    def infinite(texts: dict[str, list[bytes]]) -> dict[str, NDArray[Any]]:
        found = letters(texts)
        return {**found, "token_embeddings": found["token_embeddings"] * np.float32(np.inf)}

    model = connected(ServerTokensModel, Server(infinite), of_tokens())
    with pytest.raises(EngineError, match=r"^words answers NaN or an infinity to the text at inde"):
        model.encode_tokens(["a", "b"])
    with pytest.raises(UnsupportedError, match=r"^the text model of words puts the prompt of the"):
        model.encode_tokens("a", prompt="b")

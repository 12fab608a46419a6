import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.checkpoints import SENTENCES
from tests.support.manifests import manifest
from tests.support.word_artifact import write_token_artifact

from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import Manifest
from lanner.errors import InputError
from lanner.loading.load import load
from lanner.models.base import Model
from lanner.models.embedding import EmbeddingModel
from lanner.text.entities import TokenScores, join_entities, parse_tags
from lanner.triton.backend.text_answers import TextRequest, answer_texts

TEXTS = [*SENTENCES, "", "Ein Caf\u00e9 \U0001f985", "a man " * 100]
PAIRS = list(zip(TEXTS, reversed(TEXTS), strict=True))


def column(*texts: str | bytes) -> Any:
    tensor = np.empty((len(texts), 1), np.object_)
    tensor[:, 0] = [text.encode() if isinstance(text, str) else text for text in texts]
    return tensor


def single(texts: list[str], made: Manifest) -> TextRequest:
    return TextRequest.of(column(*texts), None, made)


def paired(pairs: list[tuple[str, str]], made: Manifest) -> TextRequest:
    lefts, rights = zip(*pairs, strict=True)
    return TextRequest.of(column(*lefts), column(*rights), made)


def loaded(artifact: Artifact) -> Any:
    return load(artifact.directory, variant="fp32", threads=1)


def test_texts_are_read_as_utf_8() -> None:
    texts = ["a", "", "\u00e9 \U0001f985", "a\0b"]
    assert single(texts, manifest()).texts == texts
    assert single([], manifest()).texts == []
    made = manifest("classify")
    assert paired([("a", "b"), ("", "\u00e9")], made).texts == [("a", "b"), ("", "\u00e9")]


def test_vectors_are_those_of_encode(tiny_artifact: Artifact) -> None:
    model = loaded(tiny_artifact)
    requests = [single(TEXTS[:2], model.manifest), single(TEXTS[2:], model.manifest)]
    first, second = answer_texts(requests, model)
    assert list(first) == list(second) == ["sentence_embedding"]
    assert len(first["sentence_embedding"]) == 2
    found = np.concatenate([first["sentence_embedding"], second["sentence_embedding"]])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, model.encode(TEXTS), atol=1e-6)


def test_vectors_by_hand_with_the_default_prompt(word_model: EmbeddingModel) -> None:
    word_model.default_prompt_name = "query"
    (answer,) = answer_texts([single(["b", ""], word_model.manifest)], word_model)
    assert answer["sentence_embedding"].tolist() == [[0.5, 0.5, 0, 0], [1, 0, 0, 0]]


def test_each_text_has_its_own_prompt(word_model: EmbeddingModel) -> None:
    word_model.default_prompt_name = "query"  # "a "; "none" is empty
    made = word_model.manifest
    named = TextRequest.of(column("b", "c", "b"), None, made, column("query", "", "none"))
    requests = [single(["b"], made), named]
    answers = [one["sentence_embedding"].tolist() for one in answer_texts(requests, word_model)]
    assert answers == [[[0.5, 0.5, 0, 0]], [[0.5, 0.5, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]]]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["title", ""], r"^words has no prompt 'title': it has 'query', 'none'$"),
        (["query"], r"^text has 2 texts and prompt_name 1: give as many$"),
    ],
)
def test_prompts_that_are_not_there(
    word_model: EmbeddingModel, names: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        TextRequest.of(column("a", "b"), None, word_model.manifest, column(*names))


def test_a_request_without_a_text_among_others(word_model: EmbeddingModel) -> None:
    requests = [single(some, word_model.manifest) for some in ([], ["a"], [], ["b", "c"], [])]
    answers = [answer["sentence_embedding"] for answer in answer_texts(requests, word_model)]
    assert [answer.shape for answer in answers] == [(0, 4), (1, 4), (0, 4), (2, 4), (0, 4)]
    assert answers[1].tolist() == [[1, 0, 0, 0]]
    assert answers[3].tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]


def test_logits_of_pairs_are_those_of_a_scorer(scorer_artifact: Artifact) -> None:
    model = loaded(scorer_artifact)
    requests = [paired(PAIRS[:3], model.manifest), paired(PAIRS[3:], model.manifest)]
    logits = [answer["logits"] for answer in answer_texts(requests, model)]
    assert [len(of_request) for of_request in logits] == [3, len(PAIRS) - 3]
    scores = model.scores_of(np.concatenate(logits))
    np.testing.assert_allclose(scores, model.score(PAIRS), atol=1e-6)


def test_logits_of_texts_and_pairs_are_those_of_a_classifier(classifier_artifact: Artifact) -> None:
    model = loaded(classifier_artifact)
    requests = [single(TEXTS, model.manifest), paired(PAIRS, model.manifest)]
    texts, pairs = (answer["logits"] for answer in answer_texts(requests, model))
    assert texts.shape == (len(TEXTS), 3)
    for logits, inputs in ((texts, TEXTS), (pairs, PAIRS)):
        for row, found in zip(model.activate(logits), model.classify(inputs), strict=True):
            scores = [found.scores[label] for label in model.manifest.labels]
            np.testing.assert_allclose(row, scores, atol=1e-6)


def test_tokens_are_those_of_a_tagger(tagger_artifact: Artifact) -> None:
    model = loaded(tagger_artifact)
    made, tags = model.manifest, parse_tags(model.manifest.labels)
    requests = [single(TEXTS[:1], made), single(["", ""], made), single(TEXTS[1:], made)]
    answers = answer_texts(requests, model)
    assert [list(answer) for answer in answers] == [["logits", "offsets", "continues"]] * 3
    assert answers[1]["logits"].shape == (2, 0, 5)
    assert answers[1]["offsets"].shape == (2, 0, 2)
    longest = max(len(tokens.offsets) for tokens in model.token_scores(TEXTS[1:]))
    assert answers[2]["logits"].shape == (len(TEXTS) - 1, longest, 5)
    assert {name: tensor.dtype.name for name, tensor in answers[2].items()} == {
        "logits": "float32",
        "offsets": "int64",
        "continues": "int64",
    }
    rows = [
        (answer["logits"][row], answer["offsets"][row], answer["continues"][row])
        for answer in (answers[0], answers[2])
        for row in range(len(answer["logits"]))
    ]
    for text, (logits, offsets, continues), tokens in zip(
        TEXTS, rows, model.token_scores(TEXTS), strict=True
    ):
        count = len(tokens.offsets)
        assert (offsets[count:] == -1).all()
        assert not logits[count:].any()
        assert not continues[count:].any()
        scores = np.exp(logits[:count])
        np.testing.assert_allclose(scores, tokens.scores, atol=1e-6)
        found = TokenScores(offsets[:count], scores, continues[:count] != 0)
        entities = join_entities(text, found, tags, strategy="simple", ignored=("O",))
        expected = model.tag(text)
        assert [(entity.label, entity.start, entity.end) for entity in entities] == [
            (entity.label, entity.start, entity.end) for entity in expected
        ]


def test_a_label_that_cannot_be_has_no_logit_but_a_limit() -> None:
    class Certain:
        manifest = manifest("tag")

        def token_scores(self, texts: list[str], batch_size: int) -> list[TokenScores]:
            offsets, continues = np.array([[0, 1]]), np.array([False])
            return [TokenScores(offsets, np.array([[1, 0, 0]], np.float32), continues)] * len(texts)

    model: Any = Certain()
    with np.errstate(all="raise"):
        (answer,) = answer_texts([TextRequest(["x"])], model)
    assert answer["logits"].tolist() == [[[0, -np.inf, -np.inf]]]


def test_an_answer_does_not_depend_on_who_asks_too(tiny_artifact: Artifact) -> None:
    model: Model = loaded(tiny_artifact)
    alone = [answer_texts([single([text], model.manifest)], model)[0] for text in TEXTS]
    together = answer_texts([single([text], model.manifest) for text in TEXTS], model)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(
            one["sentence_embedding"], other["sentence_embedding"], atol=1e-5
        )


@pytest.mark.parametrize(
    ("left", "right", "head", "message"),
    [
        (None, None, "embed", "words takes text, and the request lacks it"),
        (None, column("a"), "score", "words takes text, and the request lacks it"),
        (column("a"), None, "score", "words scores pairs: give text_pair beside text"),
        (
            column("a"),
            column("b"),
            "embed",
            "words has the head 'embed', which takes no text_pair",
        ),
        (column("a"), column("b"), "tag", "words has the head 'tag', which takes no text_pair"),
        (
            column("a", "b"),
            column("c"),
            "classify",
            "text has 2 texts and text_pair 1: give as many",
        ),
        (
            column("a", b"b\xff"),
            None,
            "embed",
            "text holds what is no UTF-8 (invalid start byte at byte 1): encode it so",
        ),
        (
            column("a"),
            column("\u00e9".encode("latin-1")),
            "score",
            "text_pair holds what is no UTF-8 (unexpected end of data at byte 0): encode it so",
        ),
        (column("a")[:, 0], None, "embed", "text must be [texts, 1], not [1]"),
        (column("a", "b").T, None, "embed", "text must be [texts, 1], not [1, 2]"),
        (column("a"), column("b")[None], "score", "text_pair must be [texts, 1], not [1, 1, 1]"),
    ],
)
def test_what_cannot_be_answered(left: Any, right: Any, head: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        TextRequest.of(left, right, manifest(head))


def test_vectors_of_tokens_by_hand(word_artifact: Path) -> None:
    write_token_artifact(word_artifact)
    model = load(word_artifact, variant="fp32", threads=1)
    made = model.manifest
    requests = [
        TextRequest.of(column("a c", "d"), None, made, column("document", "query")),
        single(["b a d"], made),
    ]
    first, second = answer_texts(requests, model)
    unit = np.eye(4).tolist()
    assert first["token_embeddings"].tolist() == [
        [unit[0], [0] * 4, [0] * 4, [0] * 4],
        [unit[3], unit[1], unit[1], unit[1]],
    ]
    assert first["token_mask"].tolist() == [[1, 0, 0, 0], [1, 1, 1, 1]]
    assert second["token_embeddings"].tolist() == [[unit[1], unit[0], unit[3]]]
    assert second["token_mask"].tolist() == [[1, 1, 1]]
    with pytest.raises(InputError, match=r"^words has no prompt 'x': it has 'query', 'document'$"):
        TextRequest.of(column("a"), None, made, column("x"))

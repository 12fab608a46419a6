"""The head `tokens`, with vectors that can be worked out by hand.

"a" to "d" have the unit vectors of the places 0 to 3, and "e" and "f" those of "a" and "b".
Queries are expanded by "f" to four tokens; documents have three at most, and "c" has no vector.
"""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.word_artifact import write_token_artifact

import lanner
from lanner.commands import main
from lanner.errors import HeadError, InputError, InputTypeError
from lanner.models.tokens import TokensModel

A, B, C, D = np.eye(4).tolist()


@pytest.fixture
def artifact(word_artifact: Path) -> Path:
    write_token_artifact(word_artifact)
    return word_artifact


@pytest.fixture
def model(artifact: Path) -> TokensModel:
    return lanner.load(artifact, variant="fp32", threads=2, head=TokensModel)


def test_documents_are_cut_and_some_tokens_have_no_vector(model: TokensModel) -> None:
    found = model.encode_tokens(["a c b d", "d", "c", "a b d"])
    assert [one.tolist() for one in found] == [[A, B], [D], [], [A, B, D]]
    assert all(one.dtype == np.float32 and one.shape[1] == 4 for one in found)
    assert model.encode_tokens("a c").tolist() == [A]
    assert (model.similarity_fn_name, model.get_embedding_dimension()) == ("maxsim", 4)


def test_queries_are_expanded(model: TokensModel) -> None:
    found = model.encode_tokens(["a c", "a b c d a"], task="query")
    assert [one.tolist() for one in found] == [[A, C, B, B], [A, B, C, D]]


def test_texts_of_all_lengths_keep_their_order(model: TokensModel) -> None:
    texts = [" ".join("abd"[: number % 4] * 1) for number in range(700)]
    for text, found in zip(texts, model.encode_tokens(texts, batch_size=7), strict=True):
        assert found.tolist() == [[A, B, D]["abd".index(word)] for word in text.split()]


def test_they_are_compared_and_ranked(model: TokensModel) -> None:
    documents = ["d", "a b d", "b"]
    queries = model.encode_tokens(["a", "d"], task="query")  # a b b b, d b b b
    found = model.encode_tokens(documents)
    assert model.similarity(queries, found).tolist() == [[0, 4, 3], [1, 4, 3]]
    assert model.similarity_pairwise(queries, found[:2]).tolist() == [0, 4]
    assert model.rank("d", documents, top_k=2) == [
        {"corpus_id": 1, "score": 4, "text": "a b d"},
        {"corpus_id": 2, "score": 3, "text": "b"},
    ]


def test_prompts_are_those_of_the_task(artifact: Path) -> None:
    write_token_artifact(artifact, prompts={"query": "d ", "document": "a "})
    model = lanner.load(artifact, variant="fp32")
    assert model.encode_tokens("b").tolist() == [A, B]
    assert model.encode_tokens("b", task="query").tolist() == [D, B, B, B]
    assert model.encode_tokens("b", prompt="").tolist() == [B]
    assert model.encode_tokens("b", "query").tolist() == [D, B]


def test_without_late_interaction_all_tokens_have_a_vector(artifact: Path) -> None:
    write_token_artifact(artifact, late_interaction=None)
    model = lanner.load(artifact, variant="fp32")
    for task in ("query", "document"):
        assert model.encode_tokens("a c b d a", task=task).tolist() == [A, C, B, D]


def test_what_is_refused(model: TokensModel) -> None:
    with pytest.raises(InputError, match=r"^there is no task 'x': use 'query' or 'document'$"):
        model.encode_tokens("a", task="x")
    wrong: Any = ["a", None]
    with pytest.raises(InputTypeError, match=r"^every text must be a str, but the item at index 1"):
        model.encode_tokens(wrong)
    with pytest.raises(
        HeadError,
        match=r"^words has the head 'tokens', which does not encode: call its encode_tokens$",
    ):
        model.encode("a")  # type: ignore[attr-defined]


def test_it_is_awaited(artifact: Path) -> None:
    async def ask() -> Any:
        model = await lanner.load_async(artifact, variant="fp32")
        return (await model.encode_tokens("a")).tolist(), await model.rank("a", ["a", "b"])

    vectors, ranked = asyncio.run(ask())
    assert vectors == [A]
    assert [one["score"] for one in ranked] == [3, 1]


def test_the_command_line_compares_a_query_with_a_document(
    artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["similarity", str(artifact), "a", "a b", "--variant", "fp32"]) == 0
    assert capsys.readouterr().out == "4.0000\n"
    assert main(["inspect", str(artifact)]) == 0
    assert "answers     vectors of tokens of 4 dimensions, compared by maxsim" in (
        capsys.readouterr().out
    )

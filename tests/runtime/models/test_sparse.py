"""The head `sparse`, with weights that can be worked out by hand.

The graph of the word artifact answers four numbers, which are here the weights of the first four
tokens of its vocabulary: "[PAD]", "[UNK]", "a" and "b".
"""

import asyncio
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.support.word_artifact import write_manifest

import lanner
from lanner.commands import main
from lanner.errors import (
    ArtifactError,
    HeadError,
    InputError,
    InputTypeError,
    MissingExtraError,
    UnsupportedError,
)
from lanner.models.sparse import SparseModel
from lanner.triton.client.text_requests import ServerTokenizer

pytest.importorskip("scipy", reason="needs the sparse extra")


@pytest.fixture
def artifact(word_artifact: Path) -> Path:
    write_manifest(word_artifact, head="sparse", similarity="dot")
    return word_artifact


@pytest.fixture
def model(artifact: Path) -> SparseModel:
    return lanner.load(artifact, variant="fp32", threads=2, head=SparseModel)


def test_texts_become_weights_of_terms(model: SparseModel) -> None:
    found = model.encode_sparse(["a a b", "c", "zz"])
    expected = np.array([[2 / 3, 1 / 3, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0.5]])
    np.testing.assert_allclose(found.toarray(), expected, atol=1e-7)
    assert (found.dtype, found.nnz) == (np.float32, 4)
    assert model.decode_sparse(found) == [
        [("[PAD]", pytest.approx(2 / 3)), ("[UNK]", pytest.approx(1 / 3))],
        [("a", 1)],
        [("b", 0.5)],
    ]
    assert model.decode_sparse(found.toarray()[2]) == [[("b", 0.5)]]
    assert [len(terms) for terms in model.decode_sparse(found, top_k=1)] == [1, 1, 1]
    assert (model.similarity_fn_name, model.get_embedding_dimension()) == ("dot", 4)
    np.testing.assert_allclose(model.similarity(found[:1], found), [[5 / 9, 0, 0]], atol=1e-7)
    np.testing.assert_allclose(model.similarity_pairwise(found, found), [5 / 9, 1, 0.25], atol=1e-7)


def test_one_text_is_one_row_and_no_text_is_none(model: SparseModel) -> None:
    assert model.encode_sparse("a").shape == (1, 4)
    assert model.encode_sparse([]).shape == (0, 4)
    assert model.encode_sparse(np.array(["a", "b"])).shape == (2, 4)


def test_more_texts_than_are_tokenized_at_once(model: SparseModel) -> None:
    texts = [("a", "b", "c", "d")[number % 4] for number in range(9_000)]
    found = model.encode_sparse(texts, batch_size=64)
    assert found.indices.tolist() == [number % 4 for number in range(9_000)]


def test_prompts_and_tasks(artifact: Path) -> None:
    prompts = {"query": "a ", "passage": "c "}
    write_manifest(artifact, head="sparse", similarity="dot", prompts=prompts)
    model = lanner.load(artifact, variant="fp32")
    for options, expected in (
        ({}, [0, 1, 0, 0]),
        ({"task": "query"}, [0.5, 0.5, 0, 0]),
        ({"task": "document"}, [0, 0.5, 0.5, 0]),
        ({"prompt_name": "passage"}, [0, 0.5, 0.5, 0]),
        ({"task": "query", "prompt": ""}, [0, 1, 0, 0]),
    ):
        assert model.encode_sparse("b", **options).toarray().tolist() == [expected]  # type: ignore[arg-type]


def test_queries_may_be_looked_up(artifact: Path) -> None:
    np.save(artifact / "query_weights.npy", np.array([0.5, 0, 3, 2], np.float32))
    own = {"head": "sparse", "similarity": "dot", "query_weights": "query_weights.npy"}
    write_manifest(artifact, **own, prompts={})
    model = lanner.load(artifact, variant="fp32")
    # "a" and "b" are the tokens 2 and 3, and an unknown word is 1.
    found = model.encode_sparse(["a b a", "b", "zz", ""], task="query")
    assert found.toarray().tolist() == [[0, 0, 3, 2], [0, 0, 0, 2], [0] * 4, [0] * 4]
    assert model.encode_sparse("b", task="document").toarray().tolist() == [[0, 1, 0, 0]]
    assert model.encode_sparse("a b", task="query", max_active_dims=1).indices.tolist() == [2]
    with pytest.raises(InputTypeError, match=r"^every text must be a str, but the item at index 0"):
        model.encode_sparse([1], task="query")  # type: ignore[list-item]
    model.tokenizer = ServerTokenizer(model.manifest)
    with pytest.raises(
        UnsupportedError, match=r"so that queries cannot be looked up here: connect"
    ):
        model.encode_sparse("a", task="query")
    np.save(artifact / "query_weights.npy", np.ones(3, np.float32))
    write_manifest(artifact, **own)
    with pytest.raises(ArtifactError, match=r"query_weights.npy must hold 4 numbers in float32"):
        lanner.load(artifact, variant="fp32")
    (artifact / "query_weights.npy").write_bytes(b"x")
    write_manifest(artifact, **own)
    with pytest.raises(
        ArtifactError, match=r"query_weights.npy cannot be read as weights of terms"
    ):
        lanner.load(artifact, variant="fp32")


def test_the_heaviest_terms_are_kept(artifact: Path) -> None:
    model = lanner.load(artifact, variant="fp32")
    assert model.max_active_dims is None
    assert model.encode_sparse("a a b", max_active_dims=1).nnz == 1
    write_manifest(artifact, head="sparse", similarity="dot", max_active_dims=1)
    model = lanner.load(artifact, variant="fp32")
    assert model.encode_sparse("a a b").indices.tolist() == [0]
    assert model.encode_sparse("a a b", max_active_dims=2).nnz == 2


def test_what_is_refused(model: SparseModel) -> None:
    with pytest.raises(InputError, match=r"^max_active_dims must be at least 1, not 0$"):
        model.encode_sparse("a", max_active_dims=0)
    with pytest.raises(InputError, match=r"^top_k must be at least 1, not 0$"):
        model.decode_sparse(model.encode_sparse("a"), top_k=0)
    with pytest.raises(InputError, match=r"^there is no task 'quary': use 'query' or 'document'$"):
        model.encode_sparse("a", task="quary")
    with pytest.raises(InputError, match=r"^words has no prompt 'x': it has 'query', 'none'$"):
        model.encode_sparse("a", prompt_name="x")
    with pytest.raises(InputTypeError, match=r"^every text must be a str, but the item at index 1"):
        model.encode_sparse(["a", 1])  # type: ignore[list-item]
    with pytest.raises(
        InputError,
        match=r"^the vectors have 3 dimensions, and the vocabulary of words has 4 terms: pass",
    ):
        model.decode_sparse(np.ones((1, 3)))
    with pytest.raises(
        HeadError,
        match=r"^words has the head 'sparse', which does not encode: call its encode_sparse$",
    ):
        model.encode("a")  # type: ignore[attr-defined]


def test_without_scipy_the_extra_is_named(
    model: SparseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'lanner\[sparse\]'$"):
        model.encode_sparse("a")
    assert len(model.sparse_vectors(["a", "b"])) == 2


def test_a_client_of_a_text_model_has_no_vocabulary(model: SparseModel) -> None:
    found = model.encode_sparse("a")
    model.tokenizer = ServerTokenizer(model.manifest)
    with pytest.raises(
        UnsupportedError,
        match=r"^the server tokenizes for words, so that its terms are unknown here: connect to the"
        r" token model, whose name lacks _text$",
    ):
        model.decode_sparse(found)


def test_it_is_awaited(artifact: Path) -> None:
    async def ask() -> object:
        model = await lanner.load_async(artifact, variant="fp32")
        vectors = await model.encode_sparse(["a", "b"])
        return await model.decode_sparse(vectors), (await model.similarity(vectors, vectors))[0, 1]

    assert asyncio.run(ask()) == ([[("[PAD]", 1)], [("[UNK]", 1)]], 0)


def test_the_command_line_compares_texts(
    artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["similarity", str(artifact), "a a b", "a", "--variant", "fp32"]) == 0
    assert capsys.readouterr().out == "0.6667\n"

"""LlamaIndex: an index, a retriever and a postprocessor."""

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("llama_index.core", reason="needs LlamaIndex: make integrations")
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.schema import NodeWithScore, TextNode
from tests.support.word_scorer import write_word_scorer

from lanner.errors import InputError
from lanner.integrations.llama_index import LannerEmbedding, LannerRerank


def test_vectors_are_those_of_the_model(word_artifact: Path) -> None:
    embedding = LannerEmbedding(word_artifact, variant="fp32")
    assert embedding.model_name == "lanner/words-fp32"
    assert embedding.get_query_embedding("b") == [0.5, 0.5, 0, 0]  # its prompt is "a "
    assert asyncio.run(embedding.aget_query_embedding("b")) == [0.5, 0.5, 0, 0]
    assert embedding.get_text_embedding("b") == [0, 1, 0, 0]
    texts = ["b", "c"] * 300
    expected = [[0, 1, 0, 0], [0, 0, 1, 0]] * 300
    assert embedding.get_text_embedding_batch(texts) == expected
    assert asyncio.run(embedding.aget_text_embedding_batch(texts)) == expected


def test_an_index_is_searched_and_ranked(word_artifact: Path, tmp_path: Path) -> None:
    documents = [Document(text=text) for text in ("b", "a b", "c", "a")]
    embedding = LannerEmbedding(word_artifact, variant="fp32")
    index = VectorStoreIndex.from_documents(documents, embed_model=embedding)
    nodes = index.as_retriever(similarity_top_k=2).retrieve("a")
    assert [one.text for one in nodes] == ["a", "a b"]
    rerank = LannerRerank(write_word_scorer(tmp_path / "s.lanner"), top_n=2, variant="fp32")
    best = rerank.postprocess_nodes(nodes[::-1], query_str="a")
    assert [(one.text, one.score) for one in best] == [("a", 1.0), ("a b", pytest.approx(5 / 9))]
    assert rerank.postprocess_nodes([], query_str="a") == []
    with pytest.raises(
        InputError, match=r"^nodes are ranked for a query: pass query_bundle or que"
    ):
        rerank.postprocess_nodes([NodeWithScore(node=TextNode(text="a"))])

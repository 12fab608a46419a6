"""LangChain: its own standard tests, and the documentation's example."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_tests", reason="needs LangChain: make integrations")
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests
from tests.support.word_scorer import write_word_scorer

from lanner.integrations.langchain import LannerEmbeddings, LannerRerank

PLACE = ""


@pytest.fixture(autouse=True)
def _place(word_artifact: Path) -> None:
    global PLACE  # noqa: PLW0603 (the classes of LangChain read a property, not a fixture)
    PLACE = str(word_artifact)


class TestUnits(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> Any:
        return LannerEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": PLACE, "variant": "fp32"}


class TestIntegration(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> Any:
        return LannerEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": PLACE, "variant": "fp32"}


def test_queries_and_documents_have_their_prompts(word_artifact: Path) -> None:
    embeddings = LannerEmbeddings(word_artifact, variant="fp32", truncate_dim=3)
    # The prompt of queries is "a ".
    assert embeddings.embed_query("b") == asyncio.run(embeddings.aembed_query("b")) == [0.5, 0.5, 0]
    assert embeddings.embed_documents(["b", "c"]) == [[0, 1, 0], [0, 0, 1]]
    scaled = LannerEmbeddings(word_artifact, variant="fp32", normalize_embeddings=True)
    assert scaled.embed_query("b") == pytest.approx([0.5**0.5, 0.5**0.5, 0, 0])


def test_documents_are_found_and_ranked(word_artifact: Path, tmp_path: Path) -> None:
    store = InMemoryVectorStore(LannerEmbeddings(word_artifact, variant="fp32"))
    store.add_documents([Document(text, metadata={"of": text}) for text in ("b", "a b", "c", "a")])
    found = store.similarity_search("a", k=2)
    assert [one.page_content for one in found] == ["a", "a b"]
    rerank = LannerRerank(write_word_scorer(tmp_path / "s.lanner"), top_n=2, variant="fp32")
    best = rerank.compress_documents(found[::-1], "a")
    assert [one.metadata for one in best] == [
        {"of": "a", "relevance_score": 1.0},
        {"of": "a b", "relevance_score": pytest.approx(5 / 9)},
    ]
    assert asyncio.run(rerank.acompress_documents(found[::-1], "a")) == best
    assert "relevance_score" not in found[0].metadata
    assert list(rerank.compress_documents([], "a")) == []

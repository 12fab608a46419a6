"""Haystack: a pipeline, written and read again, and awaited."""

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("haystack", reason="needs Haystack: make integrations")
from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore
from tests.support.word_scorer import write_word_scorer

from lanner.errors import InputTypeError, UnsupportedError
from lanner.integrations.haystack import LannerDocumentEmbedder, LannerRanker, LannerTextEmbedder
from lanner.models.embedding import EmbeddingModel

FP32 = {"variant": "fp32"}


def test_texts_and_documents_get_their_vectors(word_artifact: Path) -> None:
    place = str(word_artifact)
    text = LannerTextEmbedder(place, options=FP32)
    assert text.run("b")["embedding"] == [0.5, 0.5, 0, 0]  # the prompt of queries is "a "
    assert asyncio.run(text.run_async("b")) == text.run("b")
    given = [Document(content="b", meta={"title": "c"}), Document(content="a")]
    embedder = LannerDocumentEmbedder(place, meta_fields_to_embed=["title"], options=FP32)
    found = embedder.run(given)["documents"]
    assert [one.embedding for one in found] == [[0, 0.5, 0.5, 0], [1, 0, 0, 0]]
    assert asyncio.run(embedder.run_async(given))["documents"] == found
    assert [one.embedding for one in given] == [None, None]
    with pytest.raises(
        InputTypeError, match=r"^documents must be a list of Documents: use LannerTe"
    ):
        embedder.run("a")
    with pytest.raises(
        InputTypeError, match=r"^text must be a str: use LannerDocumentEmbedder for "
    ):
        text.run(given)


def test_a_pipeline_is_written_and_read_again(word_artifact: Path, tmp_path: Path) -> None:
    place, scorer = str(word_artifact), str(write_word_scorer(tmp_path / "s.lanner"))
    store = InMemoryDocumentStore(embedding_similarity_function="cosine")
    documents = [Document(content=text) for text in ("b", "a b", "c", "a")]
    store.write_documents(LannerDocumentEmbedder(place, options=FP32).run(documents)["documents"])
    pipeline = Pipeline()
    pipeline.add_component("embedder", LannerTextEmbedder(place, options=FP32))
    pipeline.add_component("ranker", LannerRanker(scorer, top_k=2, options=FP32))
    again = Pipeline.loads(pipeline.dumps(), allowed_modules=["lanner.integrations.haystack"])
    for one in (pipeline, again):
        one.add_component("retriever", InMemoryEmbeddingRetriever(store, top_k=2))
        one.connect("embedder.embedding", "retriever.query_embedding")
        one.connect("retriever.documents", "ranker.documents")
        found = one.run({"embedder": {"text": "a"}, "ranker": {"query": "a"}})
        assert [(doc.content, doc.score) for doc in found["ranker"]["documents"]] == [
            ("a", 1.0),
            ("a b", pytest.approx(5 / 9)),
        ]
    ranker = LannerRanker(scorer, options=FP32)
    assert asyncio.run(ranker.run_async("a", documents, top_k=1))["documents"][0].content == "a"
    assert ranker.run("a", [])["documents"] == []


def test_a_component_with_a_loaded_model_is_not_written(word_model: EmbeddingModel) -> None:
    embedder = LannerTextEmbedder(word_model)
    assert embedder.run("c")["embedding"] == [0.5, 0, 0.5, 0]
    with pytest.raises(
        UnsupportedError, match=r"^the adapter of words has a loaded model, which no "
    ):
        embedder.to_dict()

"""Chroma: a collection that is written, closed and opened again."""

from pathlib import Path

import pytest

pytest.importorskip("chromadb", reason="needs Chroma: make integrations")
import chromadb
from chromadb.config import Settings

from lanner.errors import UnsupportedError
from lanner.integrations.chroma import LannerEmbeddingFunction
from lanner.models.embedding import EmbeddingModel


def test_a_collection_finds_its_model_again(word_artifact: Path, tmp_path: Path) -> None:
    settings = Settings(anonymized_telemetry=False)
    client = chromadb.PersistentClient(str(tmp_path / "store"), settings=settings)
    function = LannerEmbeddingFunction(str(word_artifact), variant="fp32")
    assert function.default_space() == "cosine"
    collection = client.create_collection("words", embedding_function=function)
    collection.add(ids=["1", "2", "3", "4"], documents=["b", "a b", "c", "a"])
    # The prompt of queries is "a ".
    for found in (collection, client.get_collection("words")):
        best = found.query(query_texts=["b"], n_results=2)
        assert best["documents"] is not None
        assert best["documents"][0][0] == "a b"
        assert best["distances"] is not None
        assert best["distances"][0][0] == pytest.approx(0, abs=1e-6)
    assert function.get_config() == {
        "model": str(word_artifact),
        "normalize_embeddings": False,
        "truncate_dim": None,
        "variant": "fp32",
    }


def test_a_loaded_model_has_no_configuration(word_model: EmbeddingModel) -> None:
    function = LannerEmbeddingFunction(word_model)
    assert [vector.tolist() for vector in function(["c"])] == [[0, 0, 1, 0]]
    with pytest.raises(
        UnsupportedError, match=r"^the adapter of words has a loaded model, which no "
    ):
        function.get_config()

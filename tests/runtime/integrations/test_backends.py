"""The adapters for KeyBERT and BERTopic, with the real libraries if they are installed.

Both libraries accept an embedder by one rule, in `select_backend`: an instance of their class
`BaseEmbedder` is used unchanged, and `embed` is called with texts. The stand-in has only that
class.
"""

import importlib
import pickle
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn")
from sklearn.cluster import KMeans
from sklearn.feature_extraction.text import CountVectorizer

from lanner.models.embedding import EmbeddingModel


@pytest.fixture(params=["keybert", "bertopic"])
def adapter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    name: str = request.param
    try:
        importlib.import_module(f"{name}.backend")
    except ImportError:
        package, backend = ModuleType(name), ModuleType(f"{name}.backend")
        backend.BaseEmbedder = type("BaseEmbedder", (), {})  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, package)
        monkeypatch.setitem(sys.modules, f"{name}.backend", backend)
    yield importlib.import_module(f"lanner.integrations.{name}")
    sys.modules.pop(f"lanner.integrations.{name}")


def test_vectors_are_those_of_the_model(adapter: Any, word_model: EmbeddingModel) -> None:
    backend = adapter.LannerBackend(word_model)
    assert isinstance(
        backend, sys.modules[f"{adapter.__name__.rpartition('.')[2]}.backend"].BaseEmbedder
    )
    found = backend.embed(iter(["a", "b a"]), verbose=True)
    assert found.tolist() == [[1, 0, 0, 0], [0.5, 0.5, 0, 0]]
    again = pickle.loads(pickle.dumps(backend))  # noqa: S301 (its own)
    assert again.embed(["b"]).tolist() == [[0, 1, 0, 0]]


def test_keybert_finds_the_keywords_nearest_to_a_text(word_model: EmbeddingModel) -> None:
    keybert = pytest.importorskip("keybert", reason="needs KeyBERT: make integrations")
    from lanner.integrations.keybert import LannerBackend  # noqa: PLC0415

    found = keybert.KeyBERT(model=LannerBackend(word_model)).extract_keywords(
        "a a b", vectorizer=CountVectorizer(analyzer=str.split)
    )
    # The text is (2, 1, 0, 0) / 3, so its cosine with a is 2 and with b 1, over the root of 5.
    assert found == [("a", 0.8944), ("b", 0.4472)]


def test_bertopic_keeps_texts_of_a_word_together(word_model: EmbeddingModel) -> None:
    bertopic = pytest.importorskip("bertopic", reason="needs BERTopic: make integrations")
    from bertopic.dimensionality import BaseDimensionalityReduction  # noqa: PLC0415

    from lanner.integrations.bertopic import LannerBackend  # noqa: PLC0415

    topics = bertopic.BERTopic(
        embedding_model=LannerBackend(word_model),
        umap_model=BaseDimensionalityReduction(),  # the vectors as they are
        hdbscan_model=KMeans(2, random_state=0, n_init=1),
        vectorizer_model=CountVectorizer(analyzer=str.split),
    )
    found, _ = topics.fit_transform(["a", "b", "a a", "b b", "a a a"])
    assert (found[0], found[1]) in {(0, 1), (1, 0)}
    assert found == [found[0], found[1], found[0], found[1], found[0]]
    assert [topics.get_topic(number)[0][0] for number in found[:2]] == ["a", "b"]

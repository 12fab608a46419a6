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


def test_the_library_takes_the_backend(word_model: EmbeddingModel) -> None:
    utilities = pytest.importorskip("keybert.backend._utils")
    from lanner.integrations.keybert import LannerBackend  # noqa: PLC0415

    backend = LannerBackend(word_model)
    assert utilities.select_backend(backend) is backend

"""The models that adapters take."""

from pathlib import Path

import pytest

from lanner.errors import HeadError, InputError, UnsupportedError
from lanner.integrations.opening import opened, place_of
from lanner.models.embedding import EmbeddingModel
from lanner.models.scoring import ScoringModel


def test_a_model_and_a_place_are_taken(word_model: EmbeddingModel, word_artifact: Path) -> None:
    assert opened(word_model, EmbeddingModel, {}) is word_model
    found = opened(word_artifact, EmbeddingModel, {"variant": "fp32"})
    assert found.encode("a").tolist() == [1, 0, 0, 0]
    assert place_of(word_artifact) == str(word_artifact)


def test_what_does_not_fit_is_refused(word_model: EmbeddingModel, word_artifact: Path) -> None:
    with pytest.raises(InputError, match=r"^words is loaded already: omit variant, threads$"):
        opened(word_model, EmbeddingModel, {"variant": "int8", "threads": 1})
    for model in (word_model, word_artifact):
        with pytest.raises(
            HeadError, match=r"has the head 'embed', whose class is EmbeddingModel, "
        ):
            opened(model, ScoringModel, {})
    with pytest.raises(
        InputError, match=r"^grpc://host:1 names no model: add it, for example grpc:"
    ):
        opened("grpc://host:1", EmbeddingModel, {})
    with pytest.raises(
        UnsupportedError, match=r"^the adapter of words has a loaded model, which no "
    ):
        place_of(word_model)

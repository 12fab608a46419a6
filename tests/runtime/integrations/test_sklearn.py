"""scikit-learn: a step of a pipeline, and a column of a table."""

import pickle
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn")
import numpy as np
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from lanner.integrations.sklearn import LannerVectorizer
from lanner.models.embedding import EmbeddingModel


def test_a_pipeline_is_fitted_cloned_and_stored(word_artifact: Path) -> None:
    vectorizer = LannerVectorizer(str(word_artifact), options={"variant": "fp32"})
    pipeline = make_pipeline(vectorizer, LogisticRegression())
    pipeline.fit(["a", "a b", "c", "d c"], [1, 1, 0, 0])
    again = pickle.loads(pickle.dumps(pipeline))  # noqa: S301 (its own)
    for one in (pipeline, again, clone(pipeline).fit(["a", "c"], [1, 0])):
        assert one.predict(["a a", "c c"]).tolist() == [1, 0]


def test_vectors_need_no_fit(word_model: EmbeddingModel) -> None:
    vectorizer = LannerVectorizer(word_model, prompt_name="query", truncate_dim=2)
    assert vectorizer.transform(["b"]).tolist() == [[0.5, 0.5]]
    assert vectorizer.get_feature_names_out().tolist() == ["lanner0", "lanner1"]
    vectorizer.set_params(truncate_dim=None, prompt_name=None, normalize_embeddings=True)
    assert vectorizer.transform(np.array([["a b"]])) == pytest.approx(
        np.array([[0.5**0.5, 0.5**0.5, 0, 0]])
    )
    assert clone(vectorizer).get_params()["model"] is word_model


def test_a_column_of_a_table(word_model: EmbeddingModel) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": ["a", "b"], "size": [3.0, 4.0]})
    transformer = ColumnTransformer(
        [("words", LannerVectorizer(word_model), "text"), ("size", "passthrough", ["size"])]
    )
    assert transformer.fit_transform(frame).tolist() == [[1, 0, 0, 0, 3], [0, 1, 0, 0, 4]]
    assert transformer.get_feature_names_out().tolist()[0] == "words__lanner0"


def test_a_model_on_a_server(word_artifact: Path) -> None:
    pytest.importorskip("tritonclient", reason="needs the extra 'triton'")
    service = pytest.importorskip("tests.support.service", reason="needs the extra 'service'")
    with service.serving({"words": word_artifact}) as running:
        vectorizer = LannerVectorizer(f"{running.url}/words", normalize_embeddings=True)
        pipeline = make_pipeline(vectorizer, LogisticRegression())
        pipeline.fit(["a", "a b", "c", "d c"], [1, 1, 0, 0])
        again = pickle.loads(pickle.dumps(pipeline))  # noqa: S301 (its own)
        for one in (pipeline, again, clone(pipeline).fit(["a", "c"], [1, 0])):
            assert one.predict(["a a", "c c"]).tolist() == [1, 0]

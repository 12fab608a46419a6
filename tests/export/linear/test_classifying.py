"""Classifiers on top of vectors, from checkpoint to labels, against their own libraries."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.checkpoints import SENTENCES, bert_checkpoint, word_level_tokenizer

from lanner.errors import CheckpointError, InputTypeError, UnsupportedError
from lanner.loading.load import load
from lanner.models.classification import ClassificationModel

pytest.importorskip("torch", reason="needs the export extra")
pytest.importorskip("sklearn", reason="the reference")
sentence_transformers = pytest.importorskip("sentence_transformers", reason="the reference")

import joblib  # noqa: E402
import torch  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402

from lanner_export.export import export  # noqa: E402
from lanner_export.loading import load_checkpoint  # noqa: E402

#: One more has no token that static vectors know.
TEXTS = [*SENTENCES, "guitar " * 40, ""]
WORDS = sorted({word.strip("?").lower() for text in SENTENCES for word in text.split()})
ROWS = np.random.default_rng(0).normal(size=(len(WORDS) + 1, 8)).astype(np.float32)


def exported(checkpoint: Path, output: Path) -> Any:
    artifact = export(checkpoint, output, precisions=["fp32", "int8"])
    differences = artifact.quality()["variants"]["int8"]
    assert differences.get("mean_score_difference", 0) <= 0.02
    return load(artifact.directory, variant="fp32")


def require_probabilities(model: ClassificationModel, expected: Any) -> None:
    found = [
        [answer.scores[label] for label in model.manifest.labels]
        for answer in model.classify(TEXTS)
    ]
    np.testing.assert_allclose(found, np.asarray(expected), atol=1e-5)


@pytest.fixture(scope="module")
def setfit_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the files of SetFit 1.2: a Sentence-BERT, the classifier by joblib, and settings."""
    path = bert_checkpoint(tmp_path_factory.mktemp("setfit") / "model", normalize=False)
    vectors = sentence_transformers.SentenceTransformer(str(path), device="cpu").encode(
        list(SENTENCES), normalize_embeddings=True
    )
    classifier = LogisticRegression().fit(vectors, [0, 1, 2, 1, 0])
    joblib.dump(classifier, path / "model_head.pkl")
    settings = {"normalize_embeddings": True, "labels": ["music", "other", "train"]}
    (path / "config_setfit.json").write_text(json.dumps(settings))
    return path


def test_a_model_of_setfit(setfit_checkpoint: Path, tmp_path: Path) -> None:
    model = exported(setfit_checkpoint, tmp_path / "out")
    assert model.manifest.labels == ["music", "other", "train"]
    framework = sentence_transformers.SentenceTransformer(str(setfit_checkpoint), device="cpu")
    classifier = joblib.load(setfit_checkpoint / "model_head.pkl")
    vectors = [framework.encode(text, normalize_embeddings=True) for text in TEXTS]
    require_probabilities(model, classifier.predict_proba(vectors))
    assert "model_head.pkl" in model.manifest.source["weights_sha256"]
    with pytest.raises(InputTypeError, match=r"every text must be a str, but the item at index 0"):
        model.classify([("a", "b")])


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [None, "one-vs-rest", "multi-output"])
def test_setfit_itself_has_the_same_probabilities(tmp_path: Path, strategy: str | None) -> None:
    setfit = pytest.importorskip("setfit", reason="the reference")
    path = bert_checkpoint(tmp_path / "body")
    reference = setfit.SetFitModel.from_pretrained(str(path), multi_target_strategy=strategy)
    several = [[1, 0], [0, 1], [1, 1], [0, 0], [1, 0]]
    reference.model_head.fit(
        reference.encode(list(SENTENCES)), several if strategy else ["x", "y", "z", "y", "x"]
    )
    reference.save_pretrained(tmp_path / "model")
    model = exported(tmp_path / "model", tmp_path / "out")
    expected = np.stack([reference.predict_proba(text, as_numpy=True) for text in TEXTS])
    require_probabilities(model, expected[..., 1] if expected.ndim == 3 else expected)
    if strategy is None:
        labels = [answer.label for answer in model.classify(TEXTS)]
        assert labels == reference.predict(TEXTS, use_labels=True).tolist()


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_pipeline_of_model2vec(tmp_path: Path, activation: str) -> None:
    model2vec = pytest.importorskip("model2vec", minversion="0.10", reason="the reference")
    from model2vec.inference.mlp import Activation, Layer, MLPHead  # noqa: PLC0415
    from model2vec.inference.model import StaticModelPipeline  # noqa: PLC0415

    draw = np.random.default_rng(1).normal
    static = model2vec.StaticModel(ROWS, word_level_tokenizer(WORDS), config={"normalize": True})
    layers = [
        Layer(draw(size=(6, 8)).astype(np.float32), draw(size=6).astype(np.float32)),
        Layer(draw(size=(3, 6)).astype(np.float32), draw(size=3).astype(np.float32)),
    ]
    reference = StaticModelPipeline(
        static, MLPHead(layers, Activation(activation), np.array(["a", "b", "c"]))
    )
    reference.save_pretrained(str(tmp_path / "model"))
    model = exported(tmp_path / "model", tmp_path / "out")
    require_probabilities(model, reference.predict_proba(TEXTS, use_multiprocessing=False))
    assert model.is_multi_label == (activation == "sigmoid")


@pytest.mark.parametrize("normalizes", [True, False])
def test_dense_behind_static_vectors(tmp_path: Path, normalizes: bool) -> None:
    from sentence_transformers.sentence_transformer import modules  # noqa: PLC0415

    torch.manual_seed(0)
    parts = [
        modules.StaticEmbedding(word_level_tokenizer(WORDS), embedding_weights=ROWS),
        modules.Dense(8, 5, activation_function=torch.nn.Tanh()),
        modules.Dense(5, 4, bias=False, activation_function=torch.nn.Identity()),
        *([modules.Normalize()] if normalizes else []),
    ]
    reference = sentence_transformers.SentenceTransformer(modules=parts, device="cpu")
    reference.save(str(tmp_path / "model"))
    model = exported(tmp_path / "model", tmp_path / "out")
    np.testing.assert_allclose(model.encode(TEXTS), reference.encode(TEXTS), atol=1e-5)
    assert model.get_embedding_dimension() == 4


def test_classifiers_that_do_not_fit_are_refused(setfit_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint = Path(shutil.copytree(setfit_checkpoint, tmp_path / "model"))
    with pytest.raises(UnsupportedError, match=r"was fitted without --pooling: leave it out"):
        load_checkpoint(str(checkpoint), pooling="cls")
    with pytest.raises(UnsupportedError, match=r"not export with the head 'score': pass --head em"):
        load_checkpoint(str(checkpoint), head="score")
    (warning,) = load_checkpoint(str(checkpoint), head="embed").warnings
    assert warning.endswith("is left out: a classifier of SetFit (model_head.pkl)")
    (checkpoint / "config_setfit.json").write_text('{"labels": ["music"]}')
    with pytest.raises(CheckpointError, match=r"has the class 1 and 1 labels: give each one"):
        load_checkpoint(str(checkpoint))
    joblib.dump(LogisticRegression().fit(np.eye(3), [0, 1, 2]), checkpoint / "model_head.pkl")
    (checkpoint / "config_setfit.json").unlink()
    with pytest.raises(
        CheckpointError, match=r"weights of shape \(3, 3\), and its vectors have 12"
    ):
        load_checkpoint(str(checkpoint))

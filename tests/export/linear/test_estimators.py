"""Classifiers of scikit-learn as layers, against their own probabilities."""

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the export extra")
pytest.importorskip("sklearn", reason="the reference")

import joblib
import onnx
from numpy.typing import NDArray
from safetensors.numpy import save_file
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, RidgeClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from lanner.artifact.activation import ACTIVATIONS
from lanner.errors import CheckpointError, UnsupportedError
from lanner_export.graph.layers import Layer, through_layers
from lanner_export.linear.files import read_head
from lanner_export.linear.head import LinearHead

DRAW = np.random.default_rng(0)
VECTORS = DRAW.normal(size=(60, 5)).astype(np.float32)
THREE = np.array(["b", "a", "c"])[np.argmax(VECTORS[:, :3] + DRAW.normal(size=(60, 3)), axis=1)]
TWO = (VECTORS[:, 0] > DRAW.normal(size=60)).astype(int)
SEVERAL = (VECTORS[:, :3] > DRAW.normal(size=(60, 3))).astype(int)
LOGISTIC = LogisticRegression(C=3)


def probabilities(head: LinearHead, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    logits = through_layers(vectors, head.layers).astype(np.float32)
    return ACTIVATIONS[head.activation](logits)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    ("estimator", "answers", "labels"),
    [
        (LOGISTIC, THREE, ["a", "b", "c"]),
        (LOGISTIC, THREE.astype(object), ["a", "b", "c"]),
        (LOGISTIC, TWO, ["0", "1"]),
        (LogisticRegression(solver="liblinear"), TWO, ["0", "1"]),
        (LogisticRegressionCV(Cs=2, cv=2), THREE, ["a", "b", "c"]),
        (OneVsRestClassifier(LOGISTIC), THREE, ["a", "b", "c"]),
        (OneVsRestClassifier(LOGISTIC), TWO, ["0", "1"]),
        (OneVsRestClassifier(LOGISTIC), SEVERAL, ["0", "1", "2"]),
        (MultiOutputClassifier(LOGISTIC), SEVERAL, ["0", "1", "2"]),
        (make_pipeline(StandardScaler(), LOGISTIC), THREE, ["a", "b", "c"]),
        (make_pipeline(StandardScaler(with_std=False), LOGISTIC), TWO, ["0", "1"]),
    ],
)
def test_probabilities_are_the_estimator_s(
    tmp_path: Path, estimator: Any, answers: Any, labels: list[str]
) -> None:
    estimator.fit(VECTORS, answers)
    joblib.dump(estimator, tmp_path / "model_head.pkl")
    head = read_head(tmp_path / "model_head.pkl")
    assert head.labels == labels
    expected = estimator.predict_proba(VECTORS)
    if isinstance(expected, list):  # of each label, that it does not hold and that it does
        expected = np.stack([column[:, 1] for column in expected], axis=1)
    np.testing.assert_allclose(probabilities(head, VECTORS), expected, atol=1e-6)


class Commands:
    """An object whose pickle would run a command."""

    def __reduce__(self) -> Any:
        return print, ("run",)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (RandomForestClassifier(n_estimators=1).fit(VECTORS, TWO), "sklearn.ensemble._forest"),
        (RidgeClassifier().fit(VECTORS, TWO), "RidgeClassifier"),
        (ClassifierChain(LOGISTIC).fit(VECTORS, SEVERAL), "multioutput.ClassifierChain"),
        (make_pipeline(MinMaxScaler(), LOGISTIC).fit(VECTORS, TWO), "MinMaxScaler"),
        (Commands(), "builtins.print"),
        # joblib pickles arrays of objects by themselves.
        (np.array([Commands()], object), "builtins.print"),
    ],
    ids=["forest", "ridge", "chain", "scaler", "command", "command in an array"],
)
def test_any_other_name_in_a_pickle_is_refused(
    tmp_path: Path, content: Any, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    joblib.dump(content, tmp_path / "model_head.pkl")
    with pytest.raises(UnsupportedError, match=rf"model_head.pkl is a pickle that asks .*{name}"):
        read_head(tmp_path / "model_head.pkl")
    assert "run" not in capsys.readouterr().out


def test_damaged_pickles_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model_head.pkl"
    joblib.dump(LOGISTIC.fit(VECTORS, THREE), path)
    whole = path.read_bytes()
    endless: list[Any] = []
    endless.append(endless)
    contents = (b"", b"{}", whole[: len(whole) // 2], whole[:-40])
    for content in (*contents, pickle.dumps({"a": 1}), pickle.dumps(endless)):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"model_head.pkl (is not a whole|holds no cla)"):
            read_head(path)
    joblib.dump(LOGISTIC, path, compress=3)
    with pytest.raises(CheckpointError, match=r"is not a whole file of joblib.dump, uncompressed"):
        read_head(path)
    joblib.dump(LogisticRegression(), path)
    with pytest.raises(CheckpointError, match=r"a LogisticRegression that was not fitted \('coef_"):
        read_head(path)


def test_what_no_classifier_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model_head.pkl"
    path.write_bytes(b"P1\n.")  # a part with the number 1, which lies elsewhere
    message = rf"^{path} is a pickle with parts elsewhere: save it with joblib.dump$"
    with pytest.raises(UnsupportedError, match=message):
        read_head(path)
    endless: list[Any] = []
    endless.append(endless)
    whole = rf"^{path} is not a whole file of joblib.dump, uncompressed: "
    for content, reason in [
        (pickle.dumps(endless), "it holds itself"),
        (pickle.dumps(np.zeros(2, np.complex128)), "it has an array of complex128"),
    ]:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=rf"{whole}{reason}$"):
            read_head(path)


def test_plain_pickles_are_read(tmp_path: Path) -> None:
    # As Python writes them, where numpy keeps the bytes of an array in the pickle.
    LOGISTIC.fit(VECTORS, THREE)
    buffer = io.BytesIO()
    pickle.dump(LOGISTIC, buffer)
    (tmp_path / "model_head.pkl").write_bytes(buffer.getvalue())
    head = read_head(tmp_path / "model_head.pkl")
    expected = LOGISTIC.predict_proba(VECTORS)
    np.testing.assert_allclose(probabilities(head, VECTORS), expected, atol=1e-6)


@pytest.mark.parametrize(("answers", "transform"), [(THREE, "SOFTMAX"), (TWO, "LOGISTIC")])
def test_a_linear_classifier_of_onnx(tmp_path: Path, answers: Any, transform: str) -> None:
    """As skl2onnx writes a LogisticRegression; of two classes with both scores."""
    LOGISTIC.fit(VECTORS, answers)
    weights, bias = LOGISTIC.coef_, LOGISTIC.intercept_
    if len(weights) == 1:
        weights, bias = np.concatenate([-weights, weights]), np.append(-bias, bias)
    classes = LOGISTIC.classes_.tolist()
    kind = "strings" if isinstance(classes[0], str) else "ints"
    node = onnx.helper.make_node(
        "LinearClassifier",
        ["x"],
        ["label", "raw"],
        domain="ai.onnx.ml",
        coefficients=weights.reshape(-1).tolist(),
        intercepts=bias.tolist(),
        post_transform=transform,
        **{f"classlabels_{kind}": classes},
    )
    after = onnx.helper.make_node("Normalizer", ["raw"], ["y"], domain="ai.onnx.ml", norm="L1")
    write_onnx(tmp_path / "model_head.onnx", [node, after])
    head = read_head(tmp_path / "model_head.onnx")
    assert head.labels == [str(item) for item in classes]
    expected = LOGISTIC.predict_proba(VECTORS)
    np.testing.assert_allclose(probabilities(head, VECTORS), expected, atol=1e-6)


@pytest.mark.parametrize("answers", [THREE, TWO, SEVERAL], ids=["three", "two", "several"])
def test_what_skl2onnx_writes(tmp_path: Path, answers: Any) -> None:
    skl2onnx = pytest.importorskip("skl2onnx", reason="writes the file")
    estimator = OneVsRestClassifier(LOGISTIC) if answers is SEVERAL else LOGISTIC
    path = tmp_path / "model_head.onnx"
    path.write_bytes(
        skl2onnx.to_onnx(estimator.fit(VECTORS, answers), VECTORS[:1]).SerializeToString()
    )
    if answers is SEVERAL:
        with pytest.raises(UnsupportedError, match=r"and Lanner reads one LinearClassifier: conv"):
            read_head(path)
        return
    expected = estimator.predict_proba(VECTORS)
    np.testing.assert_allclose(probabilities(read_head(path), VECTORS), expected, atol=1e-6)


def test_other_graphs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model_head.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(CheckpointError, match=r"model_head.onnx is not an ONNX file"):
        read_head(path)
    write_onnx(path, [onnx.helper.make_node("Relu", ["x"], ["y"])])
    with pytest.raises(UnsupportedError, match=r"has the operators Relu, and Lanner reads one Lin"):
        read_head(path)


@pytest.mark.parametrize(
    ("transform", "weights", "error", "message"),
    [
        ("NONE", 10, UnsupportedError, r"has a classifier without probabilities \(NONE\): fit an"),
        ("SOFTMAX", 9, CheckpointError, r"has 9 weights and 2 biases for 2 classes: convert it a"),
    ],
)
def test_classifiers_of_onnx_that_say_too_little(
    tmp_path: Path, transform: str, weights: int, error: type[Exception], message: str
) -> None:
    node = onnx.helper.make_node(
        "LinearClassifier",
        ["x"],
        ["label", "y"],
        domain="ai.onnx.ml",
        coefficients=[0.5] * weights,
        intercepts=[0.0, 1.0],
        classlabels_ints=[0, 1],
        post_transform=transform,
    )
    write_onnx(tmp_path / "model_head.onnx", [node])
    with pytest.raises(error, match=rf"model_head.onnx {message}"):
        read_head(tmp_path / "model_head.onnx")


def write_onnx(path: Path, nodes: list[onnx.NodeProto]) -> None:
    x, y = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, None])
        for name in "xy"
    )
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "head", [x], [y])), path)


PERCEPTRON = MLPClassifier((4,), random_state=0, max_iter=999, tol=0.1)


@pytest.mark.parametrize(
    ("scaler", "estimator", "answers"),
    [
        (StandardScaler(), LOGISTIC, THREE),
        (StandardScaler(with_mean=False), LOGISTIC, THREE),
        (StandardScaler(), PERCEPTRON, THREE),
        (StandardScaler(), PERCEPTRON, TWO),
        (StandardScaler(), PERCEPTRON, SEVERAL),
    ],
    ids=["logistic", "no mean", "perceptron", "perceptron of two", "perceptron of several"],
)
def test_files_of_skops(tmp_path: Path, scaler: Any, estimator: Any, answers: Any) -> None:
    skops = pytest.importorskip("skops.io", reason="an extra")
    pipeline = make_pipeline(scaler, estimator).fit(VECTORS, answers)
    skops.dump(pipeline, tmp_path / "pipeline.skops")
    found = probabilities(read_head(tmp_path / "pipeline.skops"), VECTORS)
    np.testing.assert_allclose(found, pipeline.predict_proba(VECTORS), atol=1e-5)


@pytest.mark.parametrize(
    ("estimator", "answers", "message"),
    [
        (
            RidgeClassifier(),
            TWO,
            (
                "holds a RidgeClassifier, whose probabilities Lanner does not compute: fit a "
                "LogisticRegression, alone or in a OneVsRestClassifier or MultiOutputClassifier"
            ),
        ),
        (
            OneVsRestClassifier(RidgeClassifier()),
            THREE,
            (
                "has a RidgeClassifier for one of its labels, and Lanner reads LogisticRegression "
                "of two classes there: fit that"
            ),
        ),
        (
            make_pipeline(MinMaxScaler(), LOGISTIC),
            TWO,
            (
                "has a MinMaxScaler before its classifier, and Lanner reads only StandardScaler "
                "there: fit the classifier without it"
            ),
        ),
    ],
    ids=["ridge", "ridge for each", "scaler"],
)
def test_other_classifiers_of_skops(
    tmp_path: Path, estimator: Any, answers: Any, message: str
) -> None:
    skops = pytest.importorskip("skops.io", reason="an extra")
    path = tmp_path / "model_head.skops"
    skops.dump(estimator.fit(VECTORS, answers), path)
    with pytest.raises(UnsupportedError, match=f"^{path} {message}$"):
        read_head(path)


def test_what_skops_does_not_trust(tmp_path: Path) -> None:
    skops = pytest.importorskip("skops.io", reason="an extra")
    path = tmp_path / "model_head.skops"
    skops.dump(np.array([Commands()], object), path)
    with pytest.raises(UnsupportedError, match=r"Commands, which skops does not trust: save it wi"):
        read_head(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"^skops cannot read .*model_head.skops: "):
        read_head(path)


@pytest.mark.parametrize(
    ("shapes", "labels", "message"),
    [
        (
            [((2, 3), 2)],
            ["a", "b"],
            (
                r"c has a classifier with weights of shape \(2, 3\), and its vectors have 4 "
                r"numbers: save the two again, together"
            ),
        ),
        ([((2, 4), 3)], ["a", "b"], r"c has a classifier with \(3,\) biases for 2"),
        (
            [((3, 4), 3), ((2, 3), 2)],
            ["a", "a"],
            (
                r"the classifier of c has 2 outputs and the labels a, a: give each output a "
                r"label of its own"
            ),
        ),
    ],
    ids=["width", "biases", "labels"],
)
def test_layers_and_labels_fit(shapes: list[Any], labels: list[str], message: str) -> None:
    layers = [Layer(np.zeros(weights), np.zeros(biases)) for weights, biases in shapes]
    with pytest.raises(CheckpointError, match=f"^{message}$"):
        LinearHead(tuple(layers), labels, "softmax").require_fits(4, "c")


def test_names_of_labels_are_a_list(tmp_path: Path) -> None:
    settings = tmp_path / "config_setfit.json"
    settings.write_text('{"labels": {"a": 1}}')
    message = rf"^{settings} has labels that are not a list: give a name for each class$"
    with pytest.raises(CheckpointError, match=message):
        read_head(tmp_path / "model_head.pkl")


@pytest.mark.parametrize(
    ("head", "error", "message"),
    [
        (
            {"activation": "identity", "classes": ["a"], "n_layers": 1},
            UnsupportedError,
            (
                r"{} has a head of model2vec that gives no labels \(identity\): pass --head embed "
                r"to export its vectors without it"
            ),
        ),
        (
            {"activation": "softmax", "classes": ["a", "b"], "n_layers": 2},
            CheckpointError,
            (
                r"{}/head.safetensors does not hold the layers that config.json names "
                r"\('head.1.weight'\): save it again"
            ),
        ),
    ],
    ids=["no labels", "no layer"],
)
def test_heads_of_model2vec(
    tmp_path: Path, head: dict[str, Any], error: type[Exception], message: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"head_config": head}))
    tensors = {"head.0.weight": np.zeros((2, 4)), "head.0.bias": np.zeros(2)}
    save_file(tensors, tmp_path / "head.safetensors")
    with pytest.raises(error, match=f"^{message.format(tmp_path)}$"):
        read_head(tmp_path / "head.safetensors")

"""The layers of scikit-learn's linear classifiers, by the attributes that a fit leaves.

The probabilities of a logistic regression are a softmax over its classes, or of two classes a
sigmoid. One class against the rest has a sigmoid for each class, divided by their sum: that is the
softmax of their logarithms.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lanner.errors import CheckpointError, UnsupportedError
from lanner_export.graph.layers import Layer
from lanner_export.linear.head import LinearHead, named

_LOGISTIC = ("LogisticRegression", "LogisticRegressionCV")
#: scikit-learn's names of hidden activations -> those of `Layer`.
_HIDDEN = {"relu": "relu", "tanh": "tanh", "identity": "identity", "logistic": "sigmoid"}


class Estimator(NamedTuple):
    """A fitted estimator.

    Attributes:
        name: The name of its class in scikit-learn.
        attributes: Its attributes, as `vars` returns them.
    """

    name: str
    attributes: Mapping[str, Any]


def head_of(
    estimator: Estimator, path: Path, *, labels: Sequence[str] | None = None, normalizes: bool
) -> LinearHead:
    """Return the classifier that an estimator is.

    Args:
        estimator: The estimator.
        path: Its file, for messages.
        labels: A name for each class that is a number, or None.
        normalizes: True if vectors are scaled to length 1 before it.

    Raises:
        CheckpointError: It has not been fitted.
        UnsupportedError: Its probabilities are not those of layers.
    """
    scalers, last = _steps(estimator, path)
    try:
        layers, classes, activation = _layers(last, path)
        for scaler in reversed(scalers):
            layers = [_scaled(layers[0], scaler), *layers[1:]]
    except (KeyError, AttributeError, IndexError, TypeError) as error:
        msg = f"{path} holds a {last.name} that was not fitted ({error}): fit it, and save it again"
        raise CheckpointError(msg) from None
    names = named(classes, labels, str(path))
    return LinearHead(tuple(layers), names, activation, normalizes)


def _steps(estimator: Estimator, path: Path) -> tuple[list[Estimator], Estimator]:
    """Return the scalers of a pipeline, and its classifier."""
    if estimator.name != "Pipeline":
        return [], estimator
    *scalers, last = [_estimator(step[1]) for step in estimator.attributes["steps"]]
    for scaler in scalers:
        if scaler.name != "StandardScaler":
            msg = (
                f"{path} has a {scaler.name} before its classifier, and Lanner reads only "
                "StandardScaler there: fit the classifier without it"
            )
            raise UnsupportedError(msg)
    return scalers, last


def _layers(estimator: Estimator, path: Path) -> tuple[list[Layer], list[object], str]:
    """Return the layers, the classes of the last, and what makes probabilities of its answers."""
    name, state = estimator
    if name in _LOGISTIC:
        return _logistic(state)
    if name == "OneVsRestClassifier":
        return _one_against_rest(state, path)
    if name == "MultiOutputClassifier":
        parts = [_binary(_estimator(part), path) for part in state["estimators_"]]
        layer = Layer(np.stack([part.weights[0] for part in parts]), _biases(parts))
        return [layer], list(range(len(parts))), "sigmoid"
    if name == "MLPClassifier":
        return _perceptron(state)
    msg = (
        f"{path} holds a {name}, whose probabilities Lanner does not compute: fit a "
        "LogisticRegression, alone or in a OneVsRestClassifier or MultiOutputClassifier"
    )
    raise UnsupportedError(msg)


def _logistic(state: Mapping[str, Any]) -> tuple[list[Layer], list[object], str]:
    weights, bias = _numbers(state["coef_"]), _numbers(state["intercept_"])
    kind = state.get("multi_class", "auto")
    if len(weights) == 1:
        # scikit-learn before 1.8 could have both classes' scores, the negative of each other.
        first = -1.0 if kind == "multinomial" else 0.0
        layer = Layer(np.concatenate([first * weights, weights]), np.append(first * bias, bias))
    elif kind == "ovr" or state.get("solver") == "liblinear":
        layer = Layer(weights, bias, "log-sigmoid")
    else:
        layer = Layer(weights, bias)
    return [layer], _classes(state), "softmax"


def _one_against_rest(
    state: Mapping[str, Any], path: Path
) -> tuple[list[Layer], list[object], str]:
    parts = [_binary(_estimator(part), path) for part in state["estimators_"]]
    binarizer = _estimator(state["label_binarizer_"]).attributes
    weights, bias = np.stack([part.weights[0] for part in parts]), _biases(parts)
    if str(binarizer["y_type_"]).startswith("multilabel"):
        return [Layer(weights, bias)], _classes(binarizer), "sigmoid"
    if len(parts) == 1:
        layer = Layer(np.concatenate([0 * weights, weights]), np.append(0 * bias, bias))
        return [layer], _classes(binarizer), "softmax"
    return [Layer(weights, bias, "log-sigmoid")], _classes(binarizer), "softmax"


def _binary(estimator: Estimator, path: Path) -> Layer:
    """Return the layer of a logistic regression with two classes; a sigmoid would follow."""
    name, state = estimator
    if name not in _LOGISTIC or len(state["coef_"]) != 1:
        msg = (
            f"{path} has a {name} for one of its labels, and Lanner reads LogisticRegression of "
            "two classes there: fit that"
        )
        raise UnsupportedError(msg)
    factor = 2.0 if state.get("multi_class") == "multinomial" else 1.0
    return Layer(factor * _numbers(state["coef_"]), factor * _numbers(state["intercept_"]))


def _perceptron(state: Mapping[str, Any]) -> tuple[list[Layer], list[object], str]:
    hidden = _HIDDEN[str(state["activation"])]
    layers = [
        Layer(_numbers(weights).T, _numbers(bias), hidden)
        for weights, bias in zip(state["coefs_"], state["intercepts_"], strict=True)
    ]
    last = Layer(layers[-1].weights, layers[-1].bias)
    if state["out_activation_"] == "softmax":
        return [*layers[:-1], last], _classes(state), "softmax"
    if len(last.weights) == 1:
        last = Layer(
            np.concatenate([0 * last.weights, last.weights]), np.append(0 * last.bias, last.bias)
        )
        return [*layers[:-1], last], _classes(state), "softmax"
    return [*layers[:-1], last], _classes(state), "sigmoid"


def _scaled(layer: Layer, scaler: Estimator) -> Layer:
    """Return a layer that does what a scaler does before it."""
    width = layer.weights.shape[1]
    mean, scale = scaler.attributes.get("mean_"), scaler.attributes.get("scale_")
    if not scaler.attributes.get("with_mean", True) or mean is None:
        mean = np.zeros(width)
    if not scaler.attributes.get("with_std", True) or scale is None:
        scale = np.ones(width)
    weights = layer.weights / _numbers(scale)
    return Layer(weights, layer.bias - weights @ _numbers(mean), layer.activation)


def _biases(parts: Sequence[Layer]) -> NDArray[np.float64]:
    return np.array([part.bias.reshape(-1)[0] for part in parts], np.float64)


def _classes(state: Mapping[str, Any]) -> list[object]:
    return [item.item() if isinstance(item, np.generic) else item for item in state["classes_"]]


def _numbers(value: Any) -> NDArray[np.float64]:
    return np.asarray(value, np.float64)


def _estimator(value: Any) -> Estimator:
    return value if isinstance(value, Estimator) else Estimator(type(value).__name__, vars(value))

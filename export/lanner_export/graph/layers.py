"""The layers behind a vector: products with constant weights, and what follows each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: A layer's activation -> its values in numpy.
ACTIVATIONS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "identity": lambda values: values,
    "relu": lambda values: np.maximum(values, 0),
    "tanh": np.tanh,
    "sigmoid": lambda values: np.exp(-np.logaddexp(0, -values)),
    "log-sigmoid": lambda values: -np.logaddexp(0, -values),
}


@dataclass(frozen=True)
class Layer:
    """A layer.

    Attributes:
        weights: Its weights, floats [outputs, inputs].
        bias: Its bias, floats [outputs].
        activation: One of `ACTIVATIONS`.
    """

    weights: NDArray[np.floating[Any]]
    bias: NDArray[np.floating[Any]]
    activation: str = "identity"


def through_layers(vectors: NDArray[Any], layers: Sequence[Layer]) -> NDArray[np.float64]:
    """Return what layers make of vectors [n, inputs], in float64: [n, outputs of the last]."""
    values = vectors.astype(np.float64)
    for layer in layers:
        values = ACTIVATIONS[layer.activation](values @ layer.weights.T + layer.bias)
    return values

"""The activations that turn a model's logits into scores."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]


def identity(logits: Scores) -> Scores:
    """Return the logits unchanged, for a regression."""
    return logits


def sigmoid(logits: Scores) -> Scores:
    """Map each logit to (0, 1)."""
    # Two equivalent forms: each is used where its exponential cannot overflow.
    small = np.exp(-np.abs(logits))
    scores: Scores = np.where(logits >= 0, 1, small) / (1 + small)
    return scores.astype(np.float32, copy=False)


def softmax(logits: Scores) -> Scores:
    """Turn the last axis into probabilities that add up to 1."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    scores: Scores = powers / powers.sum(axis=-1, keepdims=True)
    return scores


#: The activations by their names in the manifest.
ACTIVATIONS: dict[str, Callable[[Scores], Scores]] = {
    "identity": identity,
    "sigmoid": sigmoid,
    "softmax": softmax,
}

"""What turns a model's logits into scores."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]


def identity(logits: Scores) -> Scores:
    """The logits themselves, as a regression answers."""
    return logits


def sigmoid(logits: Scores) -> Scores:
    """Each logit by itself to (0, 1)."""
    # Of the two forms each is used where its exponential cannot overflow.
    small = np.exp(-np.abs(logits))
    scores: Scores = np.where(logits >= 0, 1, small) / (1 + small)
    return scores.astype(np.float32, copy=False)


def softmax(logits: Scores) -> Scores:
    """The last axis to probabilities that add up to 1."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    scores: Scores = powers / powers.sum(axis=-1, keepdims=True)
    return scores


#: By the name that the manifest gives them.
ACTIVATIONS: dict[str, Callable[[Scores], Scores]] = {
    "identity": identity,
    "sigmoid": sigmoid,
    "softmax": softmax,
}

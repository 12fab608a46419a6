"""The plan: an encoder as the native engine runs it, in the terms of ``lanner_native.h``."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from lanner.errors import EngineError

Tensor = NDArray[np.float32] | NDArray[np.int8]

#: The tensor of packed texts that tells where each begins and the last ends, int32 [texts + 1].
STARTS = "starts"
#: The end of the message about a graph that is not known.
REMEDY = ": load the artifact in another engine (engine='onnxruntime')"


class Activation(IntEnum):
    """The activations of ``ln_activation``."""

    NONE = 0
    GELU_ERF = 1
    GELU_TANH = 2
    RELU = 3
    SILU = 4
    TANH = 5


class Pooling(IntEnum):
    """The poolings of ``ln_pooling``; NONE is an answer for each token."""

    NONE = 0
    CLS = 1
    MEAN = 2
    MAX = 3


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A post-norm encoder and its head.

    Attributes:
        layers: The number of layers.
        layer_groups: The number of layers with weights of their own.
        hidden_size: The width of the encoder.
        embedding_size: The width of the tables of embeddings.
        intermediate_size: The width between the two products of a layer.
        heads: The number of attention heads.
        head_size: The width of a head.
        attention_scale: The factor of the scores.
        norm_epsilon: The epsilon of all norms.
        activation: Between the two products of a layer.
        position_offset: The row of the first token in the table of positions; None without one.
        padding_id: The id that positions are not counted over, as in RoBERTa; -1 for none.
        relative_buckets: The number of buckets of relative positions, as in MPNet; 0 for none.
        relative_max_distance: The distance from which on all share a bucket.
        max_tokens: The longest input, in tokens.
        pooling: From tokens to a text.
        dense_activations: The activation behind each Dense layer.
        is_normalized: True if each answer is divided by its L2 norm.
        dimension: The number of leading values of an answer to keep.
        takes_types: True if token types are an input.
        tensors: The tensors by their names in the README of the native core.
    """

    layers: int
    layer_groups: int
    hidden_size: int
    embedding_size: int
    intermediate_size: int
    heads: int
    head_size: int
    attention_scale: float
    norm_epsilon: float
    activation: Activation
    position_offset: int | None
    padding_id: int = -1
    relative_buckets: int = 0
    relative_max_distance: int = 0
    max_tokens: int
    pooling: Pooling
    dense_activations: Sequence[Activation] = ()
    is_normalized: bool = False
    dimension: int
    takes_types: bool = False
    tensors: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def is_quantized(self) -> bool:
        """True if products of the layers have int8 weights."""
        return any(name.startswith("layer.") and name.endswith(".scales") for name in self.tensors)

    def without_tensors(self) -> "Plan":
        """Return the plan without the file that its tensors are views of."""
        return replace(self, tensors={})

    def config(self) -> dict[str, Any]:
        """Return the fields of ``ln_config``, but for its version, scales and instruction set."""
        return {
            "layers": self.layers,
            "layer_groups": self.layer_groups,
            "hidden_size": self.hidden_size,
            "embedding_size": self.embedding_size,
            "intermediate_size": self.intermediate_size,
            "heads": self.heads,
            "head_size": self.head_size,
            "attention_scale": self.attention_scale,
            "norm_epsilon": self.norm_epsilon,
            "activation": int(self.activation),
            "positions": int(self.position_offset is not None),
            "position_offset": self.position_offset or 0,
            "padding_id": self.padding_id,
            "relative_buckets": self.relative_buckets,
            "relative_max_distance": self.relative_max_distance,
            "max_tokens": self.max_tokens,
            "pooling": int(self.pooling),
            "dense_activation": [int(activation) for activation in self.dense_activations],
            "normalize": int(self.is_normalized),
        }


def refuse(what: str) -> NoReturn:
    """Refuse a graph that has something that the native engine does not know.

    Raises:
        EngineError: Always.
    """
    msg = f"the native engine does not know {what}{REMEDY}"
    raise EngineError(msg)

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


class NormKind(IntEnum):
    """The norms of ``ln_norm``."""

    LAYER = 0
    RMS = 1


class Pooling(IntEnum):
    """The poolings of ``ln_pooling``; NONE is an answer for each token."""

    NONE = 0
    CLS = 1
    MEAN = 2
    MAX = 3


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An encoder and its head.

    Attributes:
        layers: The number of layers.
        layer_groups: The number of layers with weights of their own.
        hidden_size: The width of the encoder.
        embedding_size: The width of the tables of embeddings.
        intermediate_size: The width between the two products of a layer.
        heads: The number of attention heads.
        head_size: The width of a head.
        key_value_heads: The number of heads of keys and of values.
        attention_scale: The factor of the scores.
        norm_epsilon: The epsilon of all norms.
        norm: The kind of all norms.
        is_pre_norm: True if norms come before the parts of a layer, and one after the last layer.
        activation: Between the two products of a layer.
        is_gated: True if the activation is multiplied by another product, ``up``.
        position_offset: The row of the first token in the table of positions; None without one.
        padding_id: The id that positions are not counted over, as in RoBERTa; -1 for none.
        relative_buckets: The number of buckets of relative positions, as in MPNet; 0 for none.
        relative_max_distance: The distance from which on all share a bucket.
        rotary_tables: The number of tables of angles; 0 without rotary positions.
        rotary_pairs: The number of angles of a position.
        is_rotary_of_neighbours: True if the values 2i and 2i + 1 of a head are a pair; False if i
            and ``rotary_pairs`` + i are.
        max_tokens: The longest input, in tokens.
        pooling: From tokens to a text.
        dense_activations: The activation behind each Dense layer.
        dense_before_pooling: The number of Dense layers that are applied to tokens, before pooling.
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
    key_value_heads: int
    attention_scale: float
    norm_epsilon: float
    norm: NormKind = NormKind.LAYER
    is_pre_norm: bool = False
    activation: Activation
    is_gated: bool = False
    position_offset: int | None
    padding_id: int = -1
    relative_buckets: int = 0
    relative_max_distance: int = 0
    rotary_tables: int = 0
    rotary_pairs: int = 0
    is_rotary_of_neighbours: bool = False
    max_tokens: int
    pooling: Pooling
    dense_activations: Sequence[Activation] = ()
    dense_before_pooling: int = 0
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
            "key_value_heads": self.key_value_heads,
            "attention_scale": self.attention_scale,
            "norm_epsilon": self.norm_epsilon,
            "norm": int(self.norm),
            "norm_place": int(self.is_pre_norm),
            "activation": int(self.activation),
            "gated": int(self.is_gated),
            "positions": int(self.position_offset is not None),
            "position_offset": self.position_offset or 0,
            "padding_id": self.padding_id,
            "relative_buckets": self.relative_buckets,
            "relative_max_distance": self.relative_max_distance,
            "rotary_tables": self.rotary_tables,
            "rotary_pairs": self.rotary_pairs,
            "rotary_neighbours": int(self.is_rotary_of_neighbours),
            "max_tokens": self.max_tokens,
            "pooling": int(self.pooling),
            "dense_activation": [int(activation) for activation in self.dense_activations],
            "dense_before_pooling": self.dense_before_pooling,
            "normalize": int(self.is_normalized),
        }


def refuse(what: str) -> NoReturn:
    """Refuse a graph that has something that the native engine does not know.

    Raises:
        EngineError: Always.
    """
    msg = f"the native engine does not know {what}{REMEDY}"
    raise EngineError(msg)

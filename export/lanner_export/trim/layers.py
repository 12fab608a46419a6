"""Removing layers of a transformer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from lanner.errors import UnsupportedError


def keep_layers(encoder: Any, keep: int | Sequence[int], checkpoint: str) -> tuple[list[int], int]:
    """Remove all but some layers of a transformer and of its configuration.

    If all layers share their weights (ALBERT), the layer runs fewer times, and no weight is
    removed.

    Args:
        encoder: The transformer, without its head; it is changed.
        keep: The layers to keep, or their number; see `kept_layers`.
        checkpoint: The name of the checkpoint, for messages.

    Returns:
        The old numbers of the remaining layers, and the old number of layers.

    Raises:
        UnsupportedError: The layers do not exist, cannot be identified, or the remaining ones would
            not work alone.
    """
    config = encoder.config
    count = int(getattr(config, "num_hidden_layers", 0))
    kept = kept_layers(keep, count, checkpoint)
    groups = getattr(config, "num_hidden_groups", None)
    if groups is None:
        parent, layers = _layers(encoder, count, checkpoint)
        # DeBERTa's convolution follows its first layer.
        if getattr(parent, "conv", None) is not None and kept[0] != 0:
            msg = (
                f"{checkpoint} has a convolution behind its layer 0, which --keep-layers leaves "
                "out: keep layer 0"
            )
            raise UnsupportedError(msg)
        _hand_on_bias(layers[0], layers[kept[0]])
        for index in sorted(set(range(count)) - set(kept), reverse=True):
            del layers[index]
        _number(layers)
    elif groups > 1:
        msg = (
            f"{checkpoint} shares {groups} groups of weights among its {count} layers, which "
            "--keep-layers would share out anew: leave it out"
        )
        raise UnsupportedError(msg)
    config.num_hidden_layers = len(kept)
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[index] for index in kept]
    return kept, count


def _number(layers: Any) -> None:
    """Number layers anew where they know their place, by which caches of keys are found."""
    for place, layer in enumerate(layers):
        for module in layer.modules():
            if isinstance(getattr(module, "layer_idx", None), int):
                module.layer_idx = place


def _hand_on_bias(first: nn.Module, heir: Any) -> None:
    """Give the layer that will be the first the relative positions of T5, which the first has."""
    for name, module in first.named_modules():
        if getattr(module, "has_relative_attention_bias", False):
            attention = heir.get_submodule(name)
            attention.has_relative_attention_bias = True
            attention.relative_attention_bias = module.relative_attention_bias


def kept_layers(keep: int | Sequence[int], count: int, checkpoint: str) -> list[int]:
    """Return the numbers of the layers to keep.

    Args:
        keep: Numbers from 0, in ascending order; or the number of layers, which are then spread
            evenly from the first to the last, like those of DistilBERT (6 of BERT's 12: 0, 2, 4, 7,
            9, 11).
        count: The number of layers.
        checkpoint: The name of the checkpoint, for messages.

    Raises:
        UnsupportedError: A layer does not exist, is repeated or out of order, or none is named.
    """
    if isinstance(keep, int):
        if not 1 <= keep <= count:
            msg = f"--keep-layers must be from 1 to {count} layers for {checkpoint}, not {keep}"
            raise UnsupportedError(msg)
        return [round(place) for place in np.linspace(0, count - 1, keep).tolist()]
    kept = list(keep)
    named = ",".join(map(str, kept))
    if not kept or kept != sorted(set(kept)):
        msg = f"--keep-layers must name layers in ascending order, each once, not {named!r}"
        raise UnsupportedError(msg)
    if kept[0] < 0 or kept[-1] >= count:
        msg = (
            f"--keep-layers must name layers from 0 to {count - 1} for {checkpoint}, not {named!r}"
        )
        raise UnsupportedError(msg)
    return kept


def _layers(encoder: Any, count: int, checkpoint: str) -> tuple[Any, nn.ModuleList]:
    """Return the module with the list of a transformer's layers, and the list."""
    found = [
        (name, module)
        for name, module in encoder.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    # A layer may contain another list of this length: the outermost list holds the layers.
    outer = [
        (name, module)
        for name, module in found
        if not any(name.startswith(f"{other}.") for other, _ in found)
    ]
    if len(outer) != 1:
        msg = (
            f"{checkpoint} is a {encoder.config.model_type} model, whose layers do not stand in "
            "one list: leave --keep-layers out"
        )
        raise UnsupportedError(msg)
    ((name, layers),) = outer
    return encoder.get_submodule(name.rpartition(".")[0]), layers

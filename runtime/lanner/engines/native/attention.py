"""Attention in a graph: the products that it reads, its heads, and its mask."""

from typing import NamedTuple

import numpy as np

from lanner.engines.native.embeddings import MASK, probes
from lanner.engines.native.matcher import Matcher, named
from lanner.engines.native.plan import refuse


class Attention(NamedTuple):
    """An attention over the whole text.

    Attributes:
        query: The name of the queries, as the other two [batch, length, width].
        key: The name of the keys.
        value: The name of the values.
        heads: The number of heads.
        scale: The factor of the scores; None for one over the root of the width of a head.
    """

    query: str
    key: str
    value: str
    heads: int
    scale: float | None


def attention(graph: Matcher, output: str, checked_masks: set[str]) -> Attention:
    """Take the attention that computes a value.

    Args:
        graph: The graph.
        output: The name of the value.
        checked_masks: Masks that hide padding alone; a new one is added.

    Raises:
        EngineError: It is another computation.
    """
    node = graph.take(output, "Attention")
    query, key, value, *rest = node.inputs
    numbers = node.attributes
    heads = numbers.get("q_num_heads", 0)
    refused = ("softcap", "is_causal", "qk_matmul_output_mode")
    is_plain = not any(numbers.get(name, 0) for name in refused) and not any(rest[1:])
    if not is_plain or not isinstance(heads, int) or not heads:
        refuse(f"{named(node)} with a cap, a cache, a causal mask or heads of its own axis")
    if numbers.get("kv_num_heads") != heads:
        refuse(f"{named(node)} with fewer heads of keys than of queries")
    if not rest or not rest[0]:
        refuse(f"{named(node)} without a mask")
    if rest[0] not in checked_masks:
        _require_padding_mask(graph, rest[0])
        checked_masks.add(rest[0])
    scale = numbers.get("scale")
    return Attention(query, key, value, heads, scale if isinstance(scale, float) else None)


def _require_padding_mask(graph: Matcher, mask: str) -> None:
    """Check that each token attends to every token that is not padding, and to no other."""
    inputs = probes()
    present = inputs[MASK] > 0
    found = graph.evaluate(mask, inputs)
    length = present.shape[1]
    if found.dtype != np.bool_:
        refuse(f"the mask {mask!r} of {found.dtype}")
    attends = np.broadcast_to(found, (len(present), 1, length, length))
    # Rows of padding are never read.
    if not (attends[:, 0] == present[:, None, :])[present].all():
        refuse(f"the mask {mask!r}, which hides more or less than padding")

"""Attention in a graph: its products, its heads, and its mask.

Torch writes it as one operator. It writes it as parts if a bias of relative positions is added,
and, with transformers 4.57, if a model computes its attention itself.
"""

from contextlib import suppress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lanner.engines.native.embeddings import IDS, MASK, TYPES, probes
from lanner.engines.native.matcher import Matcher, named
from lanner.engines.native.plan import refuse
from lanner.engines.native.products import width_of

_HEADS_FIRST, _KEYS = [0, 2, 1, 3], [0, 2, 3, 1]
#: If less than this is added to a score, its weight is zero.
_HIDDEN = -1e30
#: Texts of this many tokens show the buckets of long distances.
_FAR = 300
#: The numbers of MPNet; both are constants in transformers.
_MAX_DISTANCE = 128


class Attention(NamedTuple):
    """An attention over the whole text.

    Attributes:
        query: The name of the queries, as the other two [batch, length, width].
        key: The name of the keys.
        value: The name of the values.
        heads: The number of heads.
        scale: The factor of the scores; None for one over the root of the width of a head.
        bias: The name of the relative bias; None without one.
    """

    query: str
    key: str
    value: str
    heads: int
    scale: float | None
    bias: str | None = None


class RelativeBias(NamedTuple):
    """A bias of the scores by the distance of two tokens, in buckets, as in MPNet.

    Attributes:
        table: Float32 [buckets, heads].
        max_distance: The distance from which on all distances share a bucket.
    """

    table: NDArray[np.float32]
    max_distance: int


def attention(graph: Matcher, output: str, checked_masks: set[str]) -> Attention:
    """Take the attention that computes a value.

    Args:
        graph: The graph.
        output: The name of the value.
        checked_masks: Masks that hide padding alone; a new one is added.

    Raises:
        EngineError: It is another computation.
    """
    if graph.operator(output) == "Reshape":
        return _in_parts(graph, output, checked_masks)
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
    if found.dtype == np.float32:  # the value that is added to the scores
        is_plain = ((found == 0) | (found < _HIDDEN)).all()
        found = found == 0 if is_plain else found
    if found.dtype != np.bool_:
        refuse(f"the mask {mask!r} of {found.dtype}")
    attends = np.broadcast_to(found, (len(present), 1, length, length))
    # Rows of padding are never read.
    if not (attends[:, 0] == present[:, None, :])[present].all():
        refuse(f"the mask {mask!r}, which hides more or less than padding")
    # A graph of the head `tokens` may answer tokens that none reads, which have 2.
    if any(
        node.operator == "Equal" and MASK in node.inputs and graph.scalar(node.inputs[1]) == 1
        for node in graph.nodes_behind(mask)
    ):
        refuse(f"the mask {mask!r}, which hides tokens that are answered")


def _in_parts(graph: Matcher, output: str, checked_masks: set[str]) -> Attention:
    """Take softmax(query @ key / scale + bias + mask) @ value, each with heads of its own axis.

    There may be no bias.
    """
    merged, whole = graph.take(output, "Reshape").inputs
    weights, value = graph.take(_unturned(graph, merged, _HEADS_FIRST), "MatMul").inputs
    softmax = graph.take(weights, "Softmax")
    if softmax.attributes.get("axis", -1) != -1:
        refuse(f"{named(softmax)} over another axis than the last")
    biased, mask = graph.take(softmax.inputs[0], "Add").inputs
    if mask not in checked_masks:
        _require_padding_mask(graph, mask)
        checked_masks.add(mask)
    scaled, bias = biased, None
    if graph.operator(biased) == "Add":
        scaled, bias = graph.take(biased, "Add").inputs
    scores, divisor = graph.take(scaled, "Div").inputs
    query, key = graph.take(scores, "MatMul").inputs
    names, sizes = [], set[tuple[int, ...]]()
    for name, turned in ((query, _HEADS_FIRST), (key, _KEYS), (value, _HEADS_FIRST)):
        source, shape = graph.take(_unturned(graph, name, turned), "Reshape").inputs
        sizes.add(_parts(graph, shape, width_of(graph, source)))
        names.append(source)
    if len(sizes) > 1 or len(min(sizes)) != 2:
        refuse(f"{named(softmax)} with heads of several widths")
    heads, size = min(sizes)
    if _parts(graph, whole, heads * size) != (heads * size,):
        refuse(f"{named(softmax)} whose heads are not put together")
    return Attention(names[0], names[1], names[2], heads, 1 / graph.scalar(divisor), bias)


def _unturned(graph: Matcher, value: str, axes: list[int]) -> str:
    node = graph.take(value, "Transpose")
    if node.attributes.get("perm") != axes:
        refuse(f"{named(node)} of other axes than {axes}")
    return node.inputs[0]


def _parts(graph: Matcher, value: str, width: int) -> tuple[int, ...]:
    """Return the axes into which a shape takes each token's width apart.

    Raises:
        EngineError: It takes the tokens apart as well.
    """
    inputs = probes()
    tokens, found = inputs[MASK].shape, tuple[int, ...]()
    with suppress(ValueError):
        found = np.empty((*tokens, width)).reshape(graph.evaluate(value, inputs).tolist()).shape
    if found[:2] != tokens:
        refuse(f"the shape {value!r} of an attention's parts")
    return found[2:]


def relative_bias(graph: Matcher, value: str, heads: int) -> RelativeBias:
    """Take a bias of relative positions, and check what it computes on a long text.

    Raises:
        EngineError: It is another bias.
    """
    mask = np.ones((1, _FAR), np.int64)
    found = graph.evaluate(value, {IDS: mask * 3, MASK: mask, TYPES: mask * 0})
    tables = [graph.constant(name) for name in graph.tensors_behind(value)]
    tables = [table for table in tables if table.ndim == 2 and table.dtype == np.float32]
    if len(tables) != 1 or tables[0].shape[1] != heads or found.shape != (1, heads, _FAR, _FAR):
        refuse(f"the relative bias {value!r}")
    table: NDArray[np.float32] = tables[0]  # type: ignore[assignment]
    expected = table[buckets(_FAR, len(table), _MAX_DISTANCE)].transpose(2, 0, 1)
    if not np.array_equal(found[0], expected):
        refuse(f"how the relative bias {value!r} counts distances")
    return RelativeBias(table, _MAX_DISTANCE)


def buckets(length: int, count: int, max_distance: int) -> NDArray[np.int64]:
    """Return the bucket of each pair of query and key, [length, length], as in MPNet and T5."""
    half, exact = count // 2, count // 4
    distance = np.subtract.outer(np.arange(length), np.arange(length))  # query - key
    far = np.maximum(np.abs(distance), 1).astype(np.float32) / np.float32(exact)
    spread = np.log(far) / np.float32(np.log(max_distance / exact)) * np.float32(half - exact)
    distant = np.minimum(exact + spread.astype(np.int64), half - 1)
    near = np.where(np.abs(distance) < exact, np.abs(distance), distant)
    found: NDArray[np.int64] = np.where(distance < 0, half, 0) + near
    return found

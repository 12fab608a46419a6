"""Attention in a graph: its products, its heads, its positions and its mask.

Torch writes it as one operator. It writes it as parts if a bias of relative positions is added,
and, with transformers 4.57, if a model computes its attention itself.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lanner.engines.native.embeddings import IDS, MASK, TYPES, probes
from lanner.engines.native.heads import Heads, heads_of, unmoved
from lanner.engines.native.masks import HIDDEN, window_of
from lanner.engines.native.matcher import Matcher, named
from lanner.engines.native.plan import refuse
from lanner.engines.native.products import is_product, width_of
from lanner.engines.native.rotary import Known as KnownAngles
from lanner.engines.native.rotary import Rotation, turned_heads

_KEYS_LAST = [0, 1, 3, 2]
#: Texts of this many tokens show the buckets of long distances.
_FAR = 300


class Attention(NamedTuple):
    """An attention.

    Attributes:
        query: The columns of the queries.
        key: The columns of the keys; those that heads share are there once, as the values'.
        value: The columns of the values.
        heads: The number of heads.
        scale: The factor of the scores; None for one over the root of the width of a head.
        bias: The name of the relative bias; None without one.
        rotation: The rotation of queries and keys; None without one.
        window: How far away the tokens may be that a token attends to; 0 for any distance.
    """

    query: Heads
    key: Heads
    value: Heads
    heads: int
    scale: float | None
    bias: str | None = None
    rotation: Rotation | None = None
    window: int = 0


class RelativeBias(NamedTuple):
    """A bias of the scores by the distance of two tokens, in buckets, as in MPNet.

    Attributes:
        table: Float32 [buckets, heads].
        max_distance: The distance from which on all distances share a bucket.
    """

    table: NDArray[np.float32]
    max_distance: int


@dataclass
class Known:
    """The parts that layers share, read once: windows by the names of their masks, and angles."""

    windows: dict[str, int] = field(default_factory=dict)
    angles: KnownAngles = field(default_factory=dict)


def attention(graph: Matcher, output: str, known: Known) -> Attention:
    """Take the attention that computes a value.

    Args:
        graph: The graph.
        output: The name of the value.
        known: What other layers had; it is added to.

    Raises:
        EngineError: It is another computation.
    """
    attended = unmoved(graph, output)
    if graph.operator(attended) == "MatMul":
        found = _in_parts(graph, attended, known)
    else:
        found = _as_one(graph, attended, known)
    if graph.operator(attended) == "MatMul" or attended != output:
        _require_merged(graph, output, attended, found)
    return found


def _as_one(graph: Matcher, output: str, known: Known) -> Attention:
    node = graph.take(output, "Attention")
    query, key, value, *rest = node.inputs
    numbers = node.attributes
    refused = ("softcap", "is_causal", "qk_matmul_output_mode")
    if any(numbers.get(name, 0) for name in refused) or any(rest[1:]):
        refuse(f"{named(node)} with a cap, a cache or a causal mask")
    if not rest or not rest[0]:
        refuse(f"{named(node)} without a mask")
    counts = [numbers.get(f"{name}_num_heads", 0) for name in ("q", "kv", "kv")]
    turned = [
        (_side_by_side(graph, name, count), None)
        if isinstance(count, int) and count
        else turned_heads(graph, name, known.angles)
        for name, count in zip((query, key, value), counts, strict=True)
    ]
    given = numbers.get("scale")
    scale = given if isinstance(given, float) else None
    mask, bias = _mask_and_bias(graph, rest[0])
    return _attention(graph, turned, mask, known, scale, bias)


def _mask_and_bias(graph: Matcher, value: str) -> tuple[str, str | None]:
    """Take what is added to scores apart, where a mask chooses between a bias and a low number."""
    if graph.operator(value) == "Where":
        mask, bias, low = graph.look(value).inputs
        if not graph.is_constant(bias) and graph.is_constant(low) and graph.scalar(low) < HIDDEN:
            graph.take(value, "Where")
            return mask, bias
    return value, None


def _side_by_side(graph: Matcher, value: str, count: int) -> Heads:
    """Take heads that are side by side in the columns of a product."""
    if is_product(graph, value):
        source, columns = value, np.arange(width_of(graph, value))
    else:
        source, columns = heads_of(graph, value, "bls")
    if len(columns) % count:
        refuse(f"{count} heads of {len(columns)} columns")
    return Heads(source, columns.reshape(count, -1))


def _attention(
    graph: Matcher,
    turned: list[tuple[Heads, Rotation | None]],
    mask: str,
    known: Known,
    scale: float | None,
    bias: str | None = None,
) -> Attention:
    (query, rotation), (key, other), (value, none) = turned
    same = rotation is other or (
        rotation is not None
        and other is not None
        and rotation.angles is other.angles
        and rotation.of_neighbours == other.of_neighbours
    )
    if not same or none is not None:
        refuse("queries and keys with other positions, or values with some")
    key, value = (_shared_once(part, len(query.columns)) for part in (key, value))
    if not query.columns.shape[1:] == key.columns.shape[1:] == value.columns.shape[1:]:
        refuse(f"an attention of the mask {mask!r} with heads of several widths")
    if mask not in known.windows:
        known.windows[mask] = window_of(graph, mask)
    heads = len(query.columns)
    return Attention(query, key, value, heads, scale, bias, rotation, known.windows[mask])


def _shared_once(part: Heads, heads: int) -> Heads:
    """Return keys or values of which several heads may read the same, each once."""
    columns = part.columns
    first = [i for i in range(len(columns)) if not (columns[i] == columns[:i]).all(axis=1).any()]
    once = columns[first]
    if heads % len(once) or len(columns) not in (len(once), heads):
        refuse(f"{heads} heads that share {len(once)} keys")
    if len(columns) == heads and (np.repeat(once, heads // len(once), axis=0) != columns).any():
        refuse(f"{heads} heads that share {len(once)} keys in another order")
    return Heads(part.source, once)


def _require_merged(graph: Matcher, output: str, attended: str, found: Attention) -> None:
    """Check that heads [batch, heads, length, size] are put side by side."""
    batch, length = probes()[MASK].shape
    shape = (batch, found.heads, length, found.value.columns.shape[1])
    places = np.arange(np.prod(shape)).reshape(shape)
    merged = graph.evaluate(output, {**probes(), attended: places})
    if not np.array_equal(merged, places.transpose(0, 2, 1, 3).reshape(batch, length, -1)):
        refuse(f"{named(graph.look(output))}, which puts heads together in another way")


def _in_parts(graph: Matcher, output: str, known: Known) -> Attention:
    """Take softmax(query @ key * scale + bias + mask) @ value; there may be no bias."""
    weights, value = graph.take(output, "MatMul").inputs
    softmax = graph.take(weights, "Softmax")
    if softmax.attributes.get("axis", -1) not in (-1, 3):
        refuse(f"{named(softmax)} over another axis than the last")
    scores, masks, biases = list[str](), list[str](), list[str]()
    for name in _summands(graph, softmax.inputs[0]):
        behind = graph.nodes_behind(name)
        if any(node.operator == "MatMul" for node in behind):
            scores.append(name)
        else:
            masked = any(MASK in n.inputs and n.operator != "Shape" for n in behind)
            (masks if masked else biases).append(name)
    if (len(scores), len(masks)) != (1, 1) or len(biases) > 1:
        refuse(f"{named(softmax)} of another sum than scores, a bias and a mask")
    product, scale = _scaled(graph, scores[0])
    query, key = graph.take(product, "MatMul").inputs
    node = graph.look(key)
    if node.operator == "Transpose" and node.attributes.get("perm") == _KEYS_LAST:
        keys = turned_heads(graph, graph.take(key, "Transpose").inputs[0], known.angles)
    else:
        keys = heads_of(graph, key, "bhsl"), None
    turned = [turned_heads(graph, query, known.angles), keys]
    turned.append(turned_heads(graph, value, known.angles))
    return _attention(graph, turned, masks[0], known, scale, biases[0] if biases else None)


def _summands(graph: Matcher, value: str) -> list[str]:
    if graph.operator(value) != "Add":
        return [value]
    return [name for item in graph.take(value, "Add").inputs for name in _summands(graph, item)]


def _scaled(graph: Matcher, value: str) -> tuple[str, float]:
    """Take a factor or a divisor; return the name of the other operand, and the factor."""
    operator = graph.operator(value)
    if operator not in ("Mul", "Div"):
        return value, 1.0
    product, factor = graph.take(value, operator).inputs
    return product, graph.scalar(factor) if operator == "Mul" else 1 / graph.scalar(factor)


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
    distances = -np.arange(_FAR)
    for max_distance in range(len(table) // 4 + 1, _FAR):
        of_first = table[buckets(distances, len(table), max_distance)]
        if np.array_equal(found[0, :, 0].T, of_first):
            every = np.subtract.outer(np.arange(_FAR), np.arange(_FAR))
            expected = table[buckets(every, len(table), max_distance)].transpose(2, 0, 1)
            if np.array_equal(found[0], expected):
                return RelativeBias(table, max_distance)
    return refuse(f"how the relative bias {value!r} counts distances")


def buckets(distance: NDArray[np.int64], count: int, max_distance: int) -> NDArray[np.int64]:
    """Return the bucket of each distance, query - key, as in MPNet and T5."""
    half, exact = count // 2, count // 4
    far = np.maximum(np.abs(distance), 1).astype(np.float32) / np.float32(exact)
    spread = np.log(far) / np.float32(np.log(max_distance / exact)) * np.float32(half - exact)
    distant = np.minimum(exact + spread.astype(np.int64), half - 1)
    near = np.where(np.abs(distance) < exact, np.abs(distance), distant)
    found: NDArray[np.int64] = np.where(distance < 0, half, 0) + near
    return found

"""Values that a graph only moves: heads that are split off a product, or halves of it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lanner.engines.native.embeddings import MASK, probes
from lanner.engines.native.matcher import Matcher, named
from lanner.engines.native.plan import refuse
from lanner.engines.native.products import Product, product, width_of

#: Operators that move values and change none.
_MOVES = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split", "Gather", "Expand")


class Heads(NamedTuple):
    """Columns of a product, which the heads of an attention read.

    Attributes:
        source: The name of the product's value, [batch, length, width].
        columns: The columns of each head, int64 [heads, size].
    """

    source: str
    columns: NDArray[np.int64]


def unmoved(graph: Matcher, value: str) -> str:
    """Return the name of the value that moves start from, without taking them."""
    while graph.operator(value) in _MOVES:
        value = graph.look(value).inputs[0]
    return value


def heads_of(graph: Matcher, value: str, axes: str = "bhls") -> Heads:
    """Take the moves from a product to its heads.

    Args:
        graph: The graph.
        value: The name of the heads.
        axes: The order of their axes: batch, heads, length and size.

    Raises:
        EngineError: Tokens change places, too, or the heads are of something else.
    """
    source = unmoved(graph, value)
    places = _numbered(graph, source)
    found = graph.evaluate(value, {**probes(), source: places})
    if found.ndim != len(axes):
        refuse(f"{named(graph.look(value))} with {found.ndim} axes as heads")
    found = found.transpose([axes.index(axis) for axis in "blhs"])
    return Heads(source, _columns(graph, value, found, places))


def part_of(graph: Matcher, value: str) -> tuple[Product, str]:
    """Take a product, or some columns of one; return it and the name of its input.

    Raises:
        EngineError: It is another computation.
    """
    source = unmoved(graph, value)
    if source == value:
        return product(graph, value)
    places = _numbered(graph, source)
    found = graph.evaluate(value, {**probes(), source: places})
    columns = _columns(graph, value, found, places)
    whole, source = product(graph, source)
    return whole.kept(columns), source


def _numbered(graph: Matcher, source: str) -> NDArray[np.int64]:
    """Return values [batch, length, width] of a product that are all different."""
    shape = (*probes()[MASK].shape, width_of(graph, source))
    return np.arange(np.prod(shape)).reshape(shape)


def _columns(
    graph: Matcher, value: str, found: NDArray[np.int64], places: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the columns of values [batch, length, ...], which must be those of their tokens."""
    columns: NDArray[np.int64] = found[0, 0] if found.shape[:2] == places.shape[:2] else found[:0]
    if not columns.size or not np.array_equal(found, places[..., columns]):
        refuse(f"{named(graph.look(value))}, which moves tokens")
    return columns

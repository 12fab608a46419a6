"""Rotary positions: angles of a token's position turn pairs of values of queries and keys."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lanner.engines.native.embeddings import IDS, MASK, TYPES, probes
from lanner.engines.native.heads import Heads, heads_of, unmoved
from lanner.engines.native.matcher import Matcher, named
from lanner.engines.native.plan import refuse
from lanner.engines.native.products import is_product, width_of

#: The longest text of a model without a table of positions, in tokens.
MOST_TOKENS = 8_192
_MOST_DIFFERENCE = 1e-4


class Angles(NamedTuple):
    """The cosine and the sine of each angle, both float32 [positions, pairs]."""

    cosine: NDArray[np.float32]
    sine: NDArray[np.float32]


class Rotation(NamedTuple):
    """The turn of the heads of queries and keys.

    Attributes:
        angles: Those of each position.
        of_neighbours: True if the values 2i and 2i + 1 of a head are a pair; False if i and
            i + the number of pairs are.
    """

    angles: Angles
    of_neighbours: bool

    @property
    def pairs(self) -> int:
        """The number of angles of a position."""
        return int(self.angles.cosine.shape[1])

    def turned(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return heads [..., length, size], turned."""
        cosine, sine = (table[: x.shape[-2]] for table in self.angles)
        places = np.arange(2 * self.pairs).reshape(2, self.pairs)
        if self.of_neighbours:
            places = np.arange(2 * self.pairs).reshape(self.pairs, 2).T
        left, right, found = x[..., places[0]], x[..., places[1]], x.copy()
        found[..., places[0]] = left * cosine - right * sine
        found[..., places[1]] = left * sine + right * cosine
        return found


#: Tables by the names of their cosines and sines, and by whether neighbours are pairs.
Known = dict[tuple[str, str, bool], Angles]


def turned_heads(graph: Matcher, value: str, known: Known) -> tuple[Heads, Rotation | None]:
    """Take heads [batch, heads, length, size] and their rotation, from their product on.

    Args:
        graph: The graph.
        value: The name of the heads.
        known: The tables that were read before; a new one is added.

    Raises:
        EngineError: It is another computation.
    """
    turned = unmoved(graph, value)
    if graph.operator(turned) == "RotaryEmbedding":
        node = graph.take(turned, "RotaryEmbedding")
        x, cosine, sine, *ids = node.inputs
        if any(ids):
            refuse(f"{named(node)} with positions of its own")
        choices: tuple[bool, ...] = (bool(node.attributes.get("interleaved", 0)),)
    elif graph.operator(turned) == "Add" and not is_product(graph, turned):
        x, cosine, sine = _summands(graph, turned)
        choices = (False, True)
    else:
        return heads_of(graph, value), None
    heads = heads_of(graph, x)
    for choice in choices:
        key = _formula(graph, cosine), _formula(graph, sine), choice
        if key not in known:
            known[key] = _angles(graph, cosine, sine, heads.columns.shape[1], of_neighbours=choice)
        rotation = Rotation(known[key], choice)
        if _is_so(graph, turned, heads, rotation):
            return _repeated(graph, value, turned, heads), rotation
    return refuse(f"how {named(graph.look(turned))} turns heads")


def _formula(graph: Matcher, name: str) -> str:
    """Return a name that is the same for the same cosines: each layer may compute its own."""
    if graph.operator(name) in ("Cos", "Sin"):
        node = graph.take(name, "Cos", "Sin")
        return f"{node.operator} of {node.inputs[0]}"
    return name


def _repeated(graph: Matcher, value: str, turned: str, heads: Heads) -> Heads:
    """Return the heads of a value that repeats turned keys for heads that share them."""
    if value == turned:
        return heads
    count, size = heads.columns.shape
    batch, length = probes()[MASK].shape
    shape = (batch, count, length, size)
    places = np.arange(np.prod(shape)).reshape(shape)
    found = graph.evaluate(value, {**probes(), turned: places})
    order = found[0, :, 0, 0] // (length * size) if found.ndim == len(shape) else np.empty(0, int)
    if not order.size or not np.array_equal(found, places[:, order]):
        refuse(f"{named(graph.look(value))}, which moves turned heads")
    return Heads(heads.source, heads.columns[order])


def _summands(graph: Matcher, value: str) -> tuple[str, str, str]:
    """Return the names of x, cosine and sine in x * cosine + (x with its pairs crossed) * sine."""
    plain, crossed = list[tuple[str, str]](), list[tuple[str, str]]()
    for name in graph.take(value, "Add").inputs:
        left, right = graph.take(name, "Mul").inputs
        for x, angles in ((left, right), (right, left)):
            if is_product(graph, unmoved(graph, x)):
                plain.append((x, angles))
            elif _reads_product(graph, x):
                crossed.append((x, angles))
    if len(plain) != 1 or len(crossed) != 1:
        refuse(f"{named(graph.look(value))} as a rotation of heads")
    return plain[0][0], plain[0][1], crossed[0][1]


def _reads_product(graph: Matcher, value: str) -> bool:
    """Return True for values of a product that are crossed and negated."""
    value = unmoved(graph, value)
    while graph.operator(value) in ("Concat", "Neg"):
        value = unmoved(graph, graph.look(value).inputs[0])
    return is_product(graph, value)


def _angles(graph: Matcher, cosine: str, sine: str, size: int, *, of_neighbours: bool) -> Angles:
    """Compute the angles of all positions, which must depend on nothing else."""
    tables = list[NDArray[np.float32]]()
    for name in (cosine, sine):
        length = min([MOST_TOKENS, *_rows_behind(graph, name)])
        row = np.ones((1, length), np.int64)
        table = _of_positions(graph, name, {IDS: row * 3, MASK: row, TYPES: row * 0})[0]
        inputs = probes()
        found = _of_positions(graph, name, inputs)
        found = np.broadcast_to(found, (*inputs[MASK].shape, found.shape[2]))
        expected = np.broadcast_to(table[: found.shape[1]], found.shape)
        seen = inputs[MASK] > 0  # angles of padding may be others
        if not np.array_equal(found[seen], expected[seen]):
            refuse(f"the angles {name!r}, which depend on more than positions")
        if table.shape[1] == size and size > 1:  # of each value, so twice
            table = table[:, ::2] if of_neighbours else table[:, : size // 2]
        tables.append(np.ascontiguousarray(table, np.float32))
    return Angles(*tables)


def _of_positions(
    graph: Matcher, name: str, inputs: dict[str, NDArray[np.int64]]
) -> NDArray[np.float32]:
    """Return angles [batch or 1, length, pairs or size]."""
    found = graph.evaluate(name, inputs)
    if found.ndim == 4:
        found = found[:, 0] if found.shape[1] == 1 else found[:, :, 0]
    if found.ndim == 2:
        found = found[None]
    if found.ndim != 3 or found.shape[1] != inputs[MASK].shape[1] or found.dtype != np.float32:
        refuse(f"the angles {name!r} of {found.dtype} {list(found.shape)}")
    return found


def _rows_behind(graph: Matcher, name: str) -> list[int]:
    """Return the numbers of rows of the tables that a value is looked up in."""
    tables = (graph.graph.tensors[item] for item in graph.tensors_behind(name))
    return [len(item) for item in tables if item.ndim == 2 and len(item) > 1]


def _is_so(graph: Matcher, value: str, heads: Heads, rotation: Rotation) -> bool:
    """Compare what the graph computes of random products with a rotation."""
    inputs = probes()
    width = width_of(graph, heads.source)
    generator = np.random.default_rng(0)
    products = generator.standard_normal((*inputs[MASK].shape, width)).astype(np.float32)
    found = graph.evaluate(value, {**inputs, heads.source: products})
    expected = rotation.turned(products[..., heads.columns].transpose(0, 2, 1, 3))
    seen = np.broadcast_to((inputs[MASK] > 0)[:, None, :], expected.shape[:3])
    if found.shape != expected.shape:
        return False
    return bool((np.abs(found - expected)[seen] < _MOST_DIFFERENCE).all())

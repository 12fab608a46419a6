"""The embeddings of a graph: tables, positions, token types and their norm.

Torch writes positions and token types in many ways. A few probe inputs show what they compute.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lanner.engines.native.matcher import Matcher, named
from lanner.engines.native.plan import Tensor, refuse
from lanner.engines.native.products import matrix
from lanner.engines.onnx.graph import Array

IDS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"
_LENGTH = 7
#: No table has this many rows.
_MOST_ROWS = 2**31
_MOST_TABLES = 4


class Table(NamedTuple):
    """A table of embeddings.

    Attributes:
        weight: Float32 or signed bytes, [rows, width].
        scales: Of signed bytes, float32 [rows].
        rows: The rows of tokens, as the graph names them; None for one row after the other.
    """

    weight: Array
    scales: NDArray[np.float32] | None
    rows: str | None

    def floats(self) -> NDArray[np.float32]:
        """Return the rows as they are added."""
        if self.scales is None:
            return self.weight  # type: ignore[return-value]
        return self.weight.astype(np.float32) * self.scales[:, None]

    def named(self, name: str) -> dict[str, Tensor]:
        """Return its tensors by their names in the plan."""
        tensors = {f"{name}.weight": self.weight}
        if self.scales is not None:
            tensors[f"{name}.scales"] = self.scales
        return tensors  # type: ignore[return-value]


class Embeddings(NamedTuple):
    """The sum of tables that an encoder starts with.

    Attributes:
        tensors: By their names in the plan.
        width: Of the tables.
        offset: The row of the first token in the table of positions; None without one.
        padding_id: The id that positions are not counted over; -1 for none.
        max_tokens: The longest input that the table of positions has rows for; None without one.
        takes_types: True if token types are an input.
    """

    tensors: dict[str, Tensor]
    width: int
    offset: int | None
    padding_id: int
    max_tokens: int | None
    takes_types: bool


def probes(ids: NDArray[np.int64] | None = None) -> dict[str, NDArray[np.int64]]:
    """Return inputs of three texts, the last two padded; types are 1 in the second half."""
    found = np.random.default_rng(0).integers(3, 9, (3, _LENGTH)) if ids is None else ids
    lengths = np.array([[_LENGTH], [4], [2]])
    mask = (np.arange(_LENGTH) < lengths).astype(np.int64)
    types = np.broadcast_to((np.arange(_LENGTH) >= 2).astype(np.int64), mask.shape)
    return {IDS: found, MASK: mask, TYPES: types}


def embeddings(graph: Matcher, value: str) -> Embeddings:
    """Take the tables whose rows are summed to a value.

    Raises:
        EngineError: It is another computation.
    """
    tables = [_table(graph, name) for name in _summands(graph, value)]
    words = [table for table in tables if _reads_ids(graph, table)]
    if len(words) != 1:
        refuse(f"embeddings with {len(words)} tables of tokens")
    tensors, width = words[0].named("embeddings.word"), words[0].weight.shape[1]
    offset, padding_id, max_tokens = None, -1, None
    types, takes_types, constant = None, False, np.zeros(width, np.float32)
    for table in (item for item in tables if item is not words[0]):
        position = _position(graph, table)
        if position is not None and offset is None:
            offset, padding_id = position
            max_tokens = len(table.weight) - offset
            tensors |= table.named("embeddings.position")
        elif position is not None:
            refuse("embeddings with two tables of positions")
        elif not _takes_types(graph, table):  # ERNIE's tasks, or types that are no input
            constant = constant + table.floats()[0]
        elif types is None:
            types, takes_types = table, True
        else:
            refuse("embeddings with two tables of token types")
    tensors |= _of_types(types, constant)
    return Embeddings(tensors, width, offset, padding_id, max_tokens, takes_types)


def _reads_ids(graph: Matcher, table: Table) -> bool:
    """Return True if the rows are the token ids, perhaps in a shape that T5 gives them again."""
    if table.rows is None or graph.operator(table.rows) != "Reshape":
        return table.rows == IDS
    inputs = probes()
    return np.array_equal(graph.evaluate(table.rows, inputs), inputs[IDS])


def _of_types(types: Table | None, constant: NDArray[np.float32]) -> dict[str, Tensor]:
    """Return the tensors of token types, with a row that each token adds in each of theirs."""
    if types is None:
        return {"embeddings.type.weight": constant[None]} if constant.any() else {}
    if constant.any():
        types = Table(types.floats() + constant, None, types.rows)
    return types.named("embeddings.type")


def _summands(graph: Matcher, value: str) -> list[str]:
    found, open_ = list[str](), [value]
    while open_ and len(found) + len(open_) <= _MOST_TABLES:
        name = open_.pop()
        if graph.operator(name) == "Add":
            open_ += graph.take(name, "Add").inputs
        else:
            found.append(name)
    return refuse("embeddings with more than four tables") if open_ else found


def _table(graph: Matcher, value: str) -> Table:
    operator = graph.operator(value)
    if operator == "Gather":
        weight, rows = _lookup(graph, value)
        return Table(matrix(graph, weight), None, rows)
    if operator == "Slice":
        node = graph.look(value)
        inputs = probes()
        table = matrix(graph, node.inputs[0])
        cut = graph.evaluate(value, inputs)
        if not np.array_equal(cut, table[:_LENGTH]):
            refuse(f"{named(node)} of other rows than the first")
        return Table(table, None, None)
    widened, scales = graph.take(value, "Mul").inputs
    weight, rows = _lookup(graph, graph.take(widened, "Cast").inputs[0])
    of_rows, same_rows = _lookup(graph, scales)
    found, factors = graph.constant(weight), graph.constant(of_rows)
    is_scaled = factors.dtype == np.float32 and factors.shape == (len(found), 1)
    if found.dtype != np.int8 or found.ndim != 2 or not is_scaled or rows != same_rows:
        refuse(f"the table {weight!r} of {found.dtype} {list(found.shape)}")
    return Table(found, factors[:, 0], rows)  # type: ignore[arg-type]


def _lookup(graph: Matcher, value: str) -> tuple[str, str]:
    node = graph.take(value, "Gather")
    if node.attributes.get("axis", 0) != 0:
        refuse(f"{named(node)} along another axis than the first")
    table, rows = node.inputs
    return table, rows


def _position(graph: Matcher, table: Table) -> tuple[int, int] | None:
    """Return the row of the first token and the id that is not counted; None if it is neither."""
    if table.rows is None:
        return 0, -1
    rows = graph.evaluate(table.rows, probes())
    if rows.shape[-1] != _LENGTH or (rows[..., 0] == rows[..., 1]).all():
        return None
    candidates = sorted(number for number in graph.constants_behind(table.rows) if number >= 0)
    ids = np.random.default_rng(1).choice([*candidates, 3, 5, 8], (3, _LENGTH)).astype(np.int64)
    inputs = probes(ids)
    found, seen = graph.evaluate(table.rows, inputs), inputs[MASK] > 0
    for padding_id in (-1, *candidates):
        counted = ids != padding_id
        offset = int(np.broadcast_to(found, ids.shape)[counted].min(initial=_MOST_ROWS))
        expected = np.where(counted, np.cumsum(counted, axis=1) + offset - 1, offset - 1)
        if (np.broadcast_to(found, ids.shape) == expected)[seen].all():
            return offset, padding_id
    return refuse(f"how the positions {table.rows!r} are counted")


def _takes_types(graph: Matcher, table: Table) -> bool:
    inputs = probes()
    found = np.broadcast_to(graph.evaluate(table.rows or "", inputs), inputs[MASK].shape)
    seen = inputs[MASK] > 0
    if (found == 0)[seen].all():
        return False
    if (found == inputs[TYPES])[seen].all():
        return True
    return refuse(f"the token types {table.rows!r}")

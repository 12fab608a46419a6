"""Rewrites of what stands before the first layer: fewer tables, fewer additions."""

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lanner_export.graph.edits import (
    add_constant,
    biased,
    constant,
    insert,
    only_consumer,
    producer,
)

#: Operators that move elements about: what goes in zero comes out zero.
_MOVES = ("Expand", "Gather", "GatherElements", "Slice", "Reshape", "Unsqueeze", "Squeeze", "Cast")


def fold_token_types(model: ir.Model) -> int:
    """The first row of the token types' table, added to the table of positions.

    Without token types as an input all of them are 0, and the row is the same for every token.
    """
    graph, count = model.graph, 0
    for gather in [node for node in graph if node.op_type == "Gather"]:
        table = constant(gather.inputs[0])
        add = only_consumer(gather.outputs[0], "Add")
        is_of_types = _is_table(table, gather) and _is_zero(gather.inputs[1])
        if table is None or add is None or not is_of_types or add.outputs[0].is_graph_output():
            continue
        other = next(value for value in add.inputs if value is not gather.outputs[0])
        lookup = _smallest_lookup(other, add)
        if other is None or lookup is None or not _may_replace(other, add.outputs[0]):
            continue
        positions = lookup.inputs[0]
        rows = constant(positions)
        if positions is None or rows is None or len(list(positions.uses())) != 1:
            continue
        if rows.shape[1] != table.shape[1]:
            continue
        lookup.replace_input_with(
            0, add_constant(graph, f"{positions.name}_typed", rows + table[0])
        )
        add.outputs[0].replace_all_uses_with(other)
        count += 1
    return count


def slice_positions(model: ir.Model) -> int:
    """The first rows of the table of positions, cut out as they stand instead of looked up."""
    graph, count = model.graph, 0
    for gather in [node for node in graph if node.op_type == "Gather"]:
        table, cut = constant(gather.inputs[0]), producer(gather.inputs[1], "Slice")
        numbers = constant(cut.inputs[0]) if cut is not None else None
        if table is None or not _is_table(table, gather) or cut is None or numbers is None:
            continue
        if len(cut.inputs) < 4 or not _is_only_added(gather.outputs[0]):
            continue
        starts, axes = constant(cut.inputs[1]), constant(cut.inputs[3])
        steps = constant(cut.inputs[4]) if len(cut.inputs) > 4 else np.ones(1)
        is_from_first = starts is not None and steps is not None and axes is not None
        is_from_first = is_from_first and [*starts, *axes, *steps] == [0, 1, 1]  # type: ignore[misc]
        is_count = numbers.shape == (1, numbers.size) and numbers.size <= len(table)
        if not is_from_first or not is_count or (numbers[0] != np.arange(numbers.size)).any():
            continue
        kept = gather.inputs[0]
        if numbers.size < len(table):
            kept = add_constant(graph, f"{gather.inputs[0].name}_used", table[: numbers.size])  # type: ignore[union-attr]
        zero = add_constant(graph, "first_axis", np.zeros(1, np.int64))
        rows = insert(
            gather,
            "Slice",
            [kept, zero, cut.inputs[2], zero],
            name="positions",
            dtype=gather.outputs[0].dtype,
        )
        gather.outputs[0].replace_all_uses_with(rows)
        count += 1
    return count


def _is_table(table: NDArray[Any] | None, gather: ir.Node) -> bool:
    return table is not None and table.ndim == 2 and gather.attributes.get_int("axis", 0) == 0


def _may_replace(part: ir.Value, total: ir.Value) -> bool:
    # A sum may have a batch that none of its parts alone has; a sum behind it gives it again.
    return part.shape == total.shape or only_consumer(total, "Add") is not None


def _is_only_added(value: ir.Value) -> bool:
    """Whether it is added to what has a batch: then it needs no batch of one itself."""
    added = [
        other
        for use in value.uses()
        if use.node.op_type == "Add"
        for other in use.node.inputs
        if other is not value
    ]
    ranks = [0 if item is None or item.shape is None else len(item.shape) for item in added]
    return len(ranks) == len(list(value.uses())) and all(rank == 3 for rank in ranks)


def _is_zero(value: ir.Value | None) -> bool:
    array = constant(value)
    if array is not None:
        return not array.any()
    node = None if value is None else value.producer()
    return node is not None and node.op_type in _MOVES and _is_zero(node.inputs[0])


def _smallest_lookup(value: ir.Value | None, add: ir.Node) -> ir.Node | None:
    """Of the tables whose rows are added up with a value, the one with the fewest rows."""
    found: list[ir.Node] = []
    ahead = [value, *(other for other in _added_to(add.outputs[0]))]
    while ahead:
        item = ahead.pop()
        if item is None or item.is_graph_output() or len(list(item.uses())) != 1:
            continue  # others would see the changed rows as well
        node = item.producer()
        if node is not None and node.op_type == "Add" and biased(node) is None:
            ahead += node.inputs
        elif node is not None and node.op_type in ("Gather", "Slice") and _takes_rows(node):
            table = constant(node.inputs[0])
            if table is not None and table.ndim == 2 and table.dtype == np.float32:
                found.append(node)
    sizes = [len(table) for node in found if (table := constant(node.inputs[0])) is not None]
    return found[int(np.argmin(sizes))] if found else None


def _takes_rows(node: ir.Node) -> bool:
    return node.op_type == "Slice" or node.attributes.get_int("axis", 0) == 0


def _added_to(value: ir.Value) -> list[ir.Value | None]:
    add = only_consumer(value, "Add")
    return [] if add is None else [other for other in add.inputs if other is not value]

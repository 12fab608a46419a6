"""Rewrites of what stands before the first layer: fewer tables, fewer additions."""

import numpy as np
import onnx_ir as ir

from lanner_export.graph_edits import (
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
        is_of_types = table is not None and table.ndim == 2 and _is_zero(gather.inputs[1])
        if table is None or add is None or not is_of_types:
            continue
        other = next(value for value in add.inputs if value is not gather.outputs[0])
        lookup = _smallest_lookup(other, add)
        if other is None or lookup is None:
            continue
        positions = lookup.inputs[0]
        rows = constant(positions)
        if positions is None or rows is None or len(list(positions.uses())) != 1:
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
        if table is None or table.ndim != 2 or cut is None or numbers is None:
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
        node = None if item is None else item.producer()
        if node is not None and node.op_type == "Add" and biased(node) is None:
            ahead += node.inputs
        elif node is not None and node.op_type in ("Gather", "Slice"):
            table = constant(node.inputs[0])
            if table is not None and table.ndim == 2 and table.dtype == np.float32:
                found.append(node)
    sizes = [len(table) for node in found if (table := constant(node.inputs[0])) is not None]
    return found[int(np.argmin(sizes))] if found else None


def _added_to(value: ir.Value) -> list[ir.Value | None]:
    add = only_consumer(value, "Add")
    return [] if add is None else [other for other in add.inputs if other is not value]

"""The rewrite of the embeddings: positions without a lookup."""

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lanner_export.graph.edits import (
    add_constant,
    constant,
    insert,
    producer,
)


def slice_positions(model: ir.Model) -> int:
    """Slice the first rows of the table of positions instead of looking them up."""
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


def _is_only_added(value: ir.Value) -> bool:
    """Return whether a value is only added to a batch: then it needs no batch axis of its own."""
    added = [
        other
        for use in value.uses()
        if use.node.op_type == "Add"
        for other in use.node.inputs
        if other is not value
    ]
    ranks = [0 if item is None or item.shape is None else len(item.shape) for item in added]
    return len(ranks) == len(list(value.uses())) and all(rank == 3 for rank in ranks)

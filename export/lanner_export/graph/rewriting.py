"""The rewrites that a traced graph goes through: each small, named and possible to leave out.

None changes what the graph says: its answers stay the same but for the rounding of float32. What
each gains is measured by `python -m lanner_perf.tools.passes`, and recorded in
docs/explanation/graph.md.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from lanner.errors import UnsupportedError
from lanner_export.graph.attention_passes import (
    attention_without_transposes,
    move_value_bias,
    one_mask,
)
from lanner_export.graph.embedding_passes import slice_positions


@dataclass(frozen=True)
class Pass:
    """A rewrite of a graph in place; it says how often it found something to rewrite."""

    name: str
    apply: Callable[[ir.Model], int]


#: In the order in which they run: biases are found where no transpose stands between.
PASSES = tuple(
    Pass(apply.__name__.replace("_", "-"), apply)
    for apply in (
        slice_positions,
        attention_without_transposes,
        one_mask,
        move_value_bias,
    )
)


def require_passes(names: Collection[str]) -> None:
    """Refuses names that no pass has.

    Raises:
        UnsupportedError: There is no such pass.
    """
    known = [item.name for item in PASSES]
    unknown = [name for name in names if name not in known]
    if unknown:
        msg = f"there is no graph pass {unknown[0]!r}: leave out some of {', '.join(known)}"
        raise UnsupportedError(msg)


def rewrite(model: ir.Model, *, without: Collection[str] = ()) -> list[str]:
    """Runs the passes over a graph, in place.

    Args:
        model: A float32 graph as torch traced it.
        without: Names of passes to leave out.

    Returns:
        The names of those that found something to rewrite.
    """
    applied = []
    for item in PASSES:
        if item.name not in without and item.apply(model):
            RemoveUnusedNodesPass()(model)
            applied.append(item.name)
    return applied

"""The rewrites of a traced graph: each is small, named and optional.

None changes the answers of the graph, except for the rounding of float32.
`python -m lanner_perf.tools.passes` measures the gain of each; docs/explanation/graph.md records
the results.
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
from lanner_export.graph.convolution_passes import products_of_convolutions
from lanner_export.graph.embedding_passes import slice_positions


@dataclass(frozen=True)
class Pass:
    """A rewrite of a graph in place; it returns the number of places that it rewrote."""

    name: str
    apply: Callable[[ir.Model], int]


#: All passes in their order: a bias is only found without a transpose before it.
PASSES = tuple(
    Pass(apply.__name__.replace("_", "-"), apply)
    for apply in (
        slice_positions,
        products_of_convolutions,
        attention_without_transposes,
        one_mask,
        move_value_bias,
    )
)


def require_passes(names: Collection[str]) -> None:
    """Check the names of passes.

    Raises:
        UnsupportedError: There is no such pass.
    """
    known = [item.name for item in PASSES]
    unknown = [name for name in names if name not in known]
    if unknown:
        msg = f"there is no graph pass {unknown[0]!r}: leave out some of {', '.join(known)}"
        raise UnsupportedError(msg)


def rewrite(model: ir.Model, *, without: Collection[str] = ()) -> list[str]:
    """Run the passes over a graph, in place.

    Args:
        model: A float32 graph traced by torch.
        without: Names of passes to leave out.

    Returns:
        The names of the passes that rewrote something.
    """
    applied = []
    for item in PASSES:
        if item.name not in without and item.apply(model):
            RemoveUnusedNodesPass()(model)
            applied.append(item.name)
    return applied

"""Tests at the edges of an engine's profiles: the smallest, typical and largest shapes.

An engine has other kernels there, and it is there that it would overflow or read out of bounds.
Repeated rows of a batch must also give equal answers.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.activation import ACTIVATIONS
from lanner.artifact.engine_build import Profile
from lanner.artifact.manifest import Manifest
from lanner.engines import Engine
from lanner.errors import ParityError
from lanner.models.answers import row_cosines
from lanner.running.runner import TYPE_IDS
from lanner_export.quality.parity import FP16_OVERFLOW, LOGITS_TOLERANCES, VECTOR_TOLERANCES

#: The number of different rows in a batch; the float32 graph need not run more.
_ROWS = 4


def edge_shapes(profiles: Sequence[Profile]) -> list[tuple[int, int]]:
    """Return the shapes [batch, length] to run, each once."""
    shapes = [shape for item in profiles for shape in (item.smallest, item.typical, item.largest)]
    return list(dict.fromkeys(shapes))


def require_edges(
    engine: Engine,
    reference: Engine,
    manifest: Manifest,
    precision: str,
    profiles: Sequence[Profile],
    tokens: Sequence[int],
) -> None:
    """Compare an engine at the edges of its profiles with the float32 graph.

    Args:
        engine: The new engine.
        reference: The float32 variant.
        manifest: The manifest of the artifact.
        precision: The precision of the engine.
        profiles: The profiles of the engine.
        tokens: Token ids of real texts, which are repeated to fill the rows.

    Raises:
        ParityError: An answer is not finite, or differs by more than its tolerance.
    """
    for shape in edge_shapes(profiles):
        rows, whole = _inputs(manifest.inputs, shape, tokens)
        expected = reference.run(rows)
        found = engine.run(whole)
        place = f"the {precision} engine at its shape {shape[0]} x {shape[1]}"
        if not np.isfinite(found).all():
            msg = (
                f"{place} returns {int((~np.isfinite(found)).sum()):,} numbers that are not "
                f"finite; {FP16_OVERFLOW}. It was not added"
            )
            raise ParityError(msg)
        repeated = expected[np.arange(shape[0]) % len(expected)]
        if problem := _difference(found, repeated, manifest, precision):
            msg = f"{place} differs from the fp32 variant: {problem}. It was not added"
            raise ParityError(msg)


def _inputs(
    names: Sequence[str], shape: tuple[int, int], tokens: Sequence[int]
) -> tuple[dict[str, NDArray[np.int64]], dict[str, NDArray[np.int64]]]:
    """Return different rows, one of them half padded, and the batch that repeats them."""
    batch, length = shape
    count = min(batch, _ROWS)
    ids = np.resize(np.asarray(tokens, np.int64), (count, length))
    mask = np.ones_like(ids)
    if count > 1 and length > 1:
        mask[1, (length + 1) // 2 :] = 0
    rows: Mapping[str, NDArray[np.int64]] = {
        "input_ids": ids * mask,
        "attention_mask": mask,
        TYPE_IDS: np.zeros_like(ids),
    }
    chosen = np.arange(batch) % count
    return {name: rows[name] for name in names}, {name: rows[name][chosen] for name in names}


def _difference(
    found: NDArray[np.float32],
    expected: NDArray[np.float32],
    manifest: Manifest,
    precision: str,
) -> str:
    if found.shape != expected.shape:
        return f"its answer has the shape {found.shape} instead of {expected.shape}"
    if manifest.head_record.answers_vectors:
        least = float(row_cosines(expected, found).min())
        allowed = VECTOR_TOLERANCES[precision].cosine_min
        return "" if least >= allowed else f"smallest cosine {least:.6g}, allowed {allowed:.6g}"
    activate = ACTIVATIONS[manifest.activation]
    spread = float(np.ptp(expected)) or 1.0 if manifest.activation == "identity" else 1.0
    off = float(np.abs(activate(expected) - activate(found)).mean()) / spread
    allowed = LOGITS_TOLERANCES[precision].mean_score_difference
    return "" if off <= allowed else f"mean score difference {off:.6g}, allowed {allowed:.6g}"

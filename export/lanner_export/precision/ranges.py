"""Ranges of the activations of int8, measured on calibration inputs.

Values beyond a range are clipped, values within it are rounded to one of 256 steps. A wide range
clips little and rounds coarsely, a narrow one clips more and rounds finely.
docs/explanation/int8.md has the figures of other ways to choose a range.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lanner.engines.onnxruntime import open_session
from lanner.errors import ExportError
from lanner_export.graph.model_file import load, save_beside
from lanner_export.progress import Progress, counted, silent

Feed = Mapping[str, NDArray[np.int64]]

_BINS = 2_048
_STEPS = 255
#: The candidates for each end of a range, as shares of the smallest and largest value.
_SHARES = np.linspace(0.2, 1.0, 33)
#: The name of the method in a manifest.
METHOD = "mse"


class Range(NamedTuple):
    """The smallest and largest value without clipping; 0 is always between them."""

    low: float
    high: float

    def scale_and_zero(self) -> tuple[np.float32, np.uint8]:
        """Return the scale and the zero point of unsigned bytes."""
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        scale = np.float32((high - low) / _STEPS) or np.float32(1.0)
        return scale, np.uint8(np.clip(round(-low / scale), 0, _STEPS))


class Histogram(NamedTuple):
    """A histogram of values: counts int64 [bins] and edges float64 [bins + 1]."""

    counts: NDArray[np.int64]
    edges: NDArray[np.float64]


def least_squares(histogram: Histogram) -> Range:
    """Return the range with the least mean squared error of clipping and rounding together.

    Source: Banner, Nahshan, Soudry, "Post training 4-bit quantization of convolutional networks
    for rapid-deployment" (2019); there with an assumed distribution, here with the measured one.
    """
    low, high = float(histogram.edges[0]), float(histogram.edges[-1])
    centers = (histogram.edges[:-1] + histogram.edges[1:]) / 2
    best = Range(low, high)
    least = np.inf
    for low_share in _SHARES if low < 0 else _SHARES[-1:]:
        for high_share in _SHARES if high > 0 else _SHARES[-1:]:
            tried = Range(low * low_share, high * high_share)
            scale, zero = tried.scale_and_zero()
            steps = np.clip(np.rint(centers / scale) + zero, 0, _STEPS)
            error = float(histogram.counts @ ((steps - zero) * scale - centers) ** 2)
            if error < least:
                best, least = tried, error
    return best


def measure_ranges(
    source: Path,
    activations: Sequence[str],
    feeds: Sequence[Feed],
    progress: Progress = silent,
) -> dict[str, Range]:
    """Run a graph over calibration inputs and measure activations within it.

    Args:
        source: The float32 ONNX file.
        activations: Names of values in its graph.
        feeds: Inputs of the graph, int64 [batch, length] each.
        progress: Called when a step begins.

    Returns:
        The range of each activation.

    Raises:
        ExportError: A value is infinite or not a number.
    """
    return {
        name: least_squares(histogram)
        for name, histogram in measure_histograms(source, activations, feeds, progress).items()
    }


def measure_histograms(
    source: Path,
    activations: Sequence[str],
    feeds: Sequence[Feed],
    progress: Progress = silent,
) -> dict[str, Histogram]:
    """Measure the distributions of activations; see `measure_ranges`.

    Raises:
        ExportError: A value is infinite or not a number.
    """
    if not activations:
        return {}
    model = load(source)
    values = ir.convenience.create_value_mapping(model.graph)
    model.graph.outputs[:] = [values[name] for name in activations]
    # Beside the source, which keeps the weights.
    path = source.with_name(f"activations.{source.name}")
    try:
        save_beside(model, path)
        session = open_session(path, maps_weights=True)
    finally:
        path.unlink(missing_ok=True)
    # Two runs, so that no activation is kept: those of a large encoder would fill the memory.
    limits = np.array([(0.0, 0.0)] * len(activations))
    for outputs in _run(session, counted(feeds, progress, "calibrating, first of two runs")):
        for row, output in enumerate(outputs):
            low, high = float(output.min()), float(output.max())
            if not np.isfinite([low, high]).all():
                msg = (
                    f"{activations[row]} is not finite for a calibration text: the checkpoint's "
                    "weights overflow or hold NaN, so look at them, or at how they were saved"
                )
                raise ExportError(msg)
            limits[row] = min(limits[row][0], low), max(limits[row][1], high)
    edges = [np.linspace(low, high if high > low else low + 1.0, _BINS + 1) for low, high in limits]
    counts = np.zeros((len(activations), _BINS), dtype=np.int64)
    for outputs in _run(session, counted(feeds, progress, "calibrating, second of two runs")):
        for row, output in enumerate(outputs):
            counts[row] += np.histogram(output, edges[row])[0]
    return {name: Histogram(counts[row], edges[row]) for row, name in enumerate(activations)}


def _run(session: object, feeds: Iterable[Feed]) -> Iterable[list[NDArray[np.float32]]]:
    for feed in feeds:
        yield session.run(None, dict(feed))  # type: ignore[attr-defined]  # onnxruntime is untyped

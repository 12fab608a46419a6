"""Calibration for TensorRT: the largest absolute value of each activation of a product."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from lanner_export.graph.model_file import save
from lanner_export.precision.ranges import Feed, Histogram, measure_histograms
from lanner_export.tensorrt.quantization import operands

_STEPS = 127
#: The candidates for the end of a range, as shares of the largest value.
_SHARES = np.linspace(0.2, 1.0, 65)


def largest_value(histogram: Histogram) -> float:
    """Return the largest calibrated value: floats such as fp8 lose little by a wide range."""
    return float(max(-histogram.edges[0], histogram.edges[-1]))


def least_squares(histogram: Histogram) -> float:
    """Return the end of a symmetric range with the least squared error of clipping and rounding.

    `lanner_export.precision.ranges.least_squares` does the same for two ends.
    """
    centers = (histogram.edges[:-1] + histogram.edges[1:]) / 2
    whole = largest_value(histogram) or 1.0
    errors = []
    for end in whole * _SHARES:
        scale = end / _STEPS
        rounded = np.clip(np.rint(centers / scale), -_STEPS, _STEPS) * scale
        errors.append(float(histogram.counts @ (rounded - centers) ** 2))
    return float(whole * _SHARES[int(np.argmin(errors))])


_METHODS = {"int8": least_squares, "fp8": largest_value}


def measure_largest(
    model: ir.Model, feeds: Sequence[Feed], precision: str, scratch: Path
) -> Mapping[tuple[str, int], float]:
    """Run a float32 graph over calibration inputs and measure its activations.

    Args:
        model: A graph with attention as its parts.
        feeds: Inputs of the graph, int64 [batch, length] each.
        precision: ``"int8"`` or ``"fp8"``.
        scratch: A directory for the graph.

    Returns:
        By product and index, the largest absolute value of an activation to represent.

    Raises:
        ExportError: A value is infinite or not a number.
    """
    wanted = [item for item in operands(model) if not item.is_weight and not item.is_softmax]
    names = list(dict.fromkeys(item.value for item in wanted))
    with tempfile.TemporaryDirectory(prefix="lanner-", dir=scratch) as directory:
        path = Path(directory) / "model.onnx"
        save(model, path)
        histograms = measure_histograms(path, names, feeds)
    method = _METHODS[precision]
    found = {name: method(histogram) for name, histogram in histograms.items()}
    return {(item.product, item.index): found[item.value] for item in wanted}

"""int8: static scales, so that a vector does not depend on what it is batched with.

Weights are signed bytes with one scale per output channel, activations unsigned bytes with one
scale per tensor, which VNNI and AMX kernels multiply. Only what goes into a matrix product is
quantized; what comes out stays float32. ONNX Runtime runs each as one MatMulIntegerToFloat.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from lanner_export.quiet import quiet

Feed = Mapping[str, NDArray[np.int64]]


class _Feeds(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is untyped
    def __init__(self, feeds: Iterable[Feed]) -> None:
        self._feeds: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)


def write_int8(source: Path, target: Path, feeds: Iterable[Feed]) -> None:
    """Quantizes a float32 graph with ranges measured on calibration inputs.

    Args:
        source: The float32 ONNX file.
        target: Where the QDQ ONNX file goes.
        feeds: Inputs of the graph, int64 [batch, length] each.
    """
    with quiet():
        quantize_static(
            source,
            target,
            _Feeds(feeds),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                "MatMulConstBOnly": True,
                "OpTypesToExcludeOutputQuantization": ["MatMul"],
                "WeightSymmetric": True,
                "ActivationSymmetric": False,
            },
        )

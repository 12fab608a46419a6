"""int8 and fp8 in TensorRT's explicit quantization: a Q/DQ pair before every product.

It is symmetric, with one scale per activation and, in int8, one per output channel of weights
(https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-quantized-types.html).
The int8 variant for CPUs cannot be used here: its activations are unsigned and its attention is not
quantized. A fused int8 attention needs the pairs directly before its first product, after the
softmax and after its second product (TensorRT #2981), and a fused fp8 attention needs the first
two, with the transpose of the keys and the scale of the queries before the pair (ModelOpt #1289).

Other readers of an activation, above all the residual stream, read it unquantized: see
docs/explanation/int8.md.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lanner_export.graph.edits import add_constant, array_of, constant, insert, producer

#: A product with fewer columns takes no time; see `lanner_export.precision.quantization`.
_FEWEST_COLUMNS = 32
#: The smallest scale: float16 still represents it well, and smaller channels are negligible.
_SMALLEST_SCALE = 2.0**-20
#: The largest output of a softmax.
_LARGEST_WEIGHT = 1.0


@dataclass(frozen=True)
class _Kind:
    largest: float
    dtype: Any
    has_channels: bool


_KINDS = {
    # -128 is unused: the range must be symmetric, and zero points must be 0.
    "int8": _Kind(127.0, np.int8, has_channels=True),
    # Scales per channel exist for some GPUs since 10.6; one scale works everywhere.
    "fp8": _Kind(448.0, ml_dtypes.float8_e4m3fn, has_channels=False),
}


@dataclass(frozen=True)
class Operand:
    """One of the two inputs of a matrix product.

    Attributes:
        product: The product's name.
        index: 0 for the left factor, 1 for the right factor.
        value: The name of the value.
        is_weight: True if it is constant.
        is_softmax: True for the output of a softmax, whose range is known.
    """

    product: str
    index: int
    value: str
    is_weight: bool
    is_softmax: bool


def operands(model: ir.Model) -> list[Operand]:
    """Return the inputs of the products over tokens that may be quantized, in order of execution.

    They are the products with constant weights and both of each attention; types and shapes must be
    inferred.
    """
    return [
        Operand(
            product=node.name or "",
            index=index,
            value=value.name or "",
            is_weight=constant(value) is not None,
            is_softmax=_is_softmax(value),
        )
        for node in _products(model)
        for index, value in enumerate(node.inputs)
        if value is not None
    ]


def quantize_products(
    model: ir.Model,
    precision: str,
    largest: Mapping[tuple[str, int], float],
    *,
    keep: Collection[str] = (),
    quantizes_attention: bool = True,
) -> list[str]:
    """Put a pair of QuantizeLinear and DequantizeLinear before both inputs of products.

    Products in float32 are unchanged.

    Args:
        model: A graph with attention as its parts, in half precision.
        precision: ``"int8"`` or ``"fp8"``.
        largest: By product and index, the largest absolute value of an activation.
        keep: Names of products that stay in half precision.
        quantizes_attention: Quantize products of two computed sides, too.

    Returns:
        The names of the quantized products.
    """
    kind, graph = _KINDS[precision], model.graph
    pairs: dict[ir.Value, ir.Value] = {}
    products = {node.name: node for node in _products(model)}
    weighted = {name for name, node in products.items() if constant(node.inputs[1]) is not None}
    done = []
    for operand in operands(model):
        node = products[operand.product]
        value = node.inputs[operand.index]
        is_float = node.outputs[0].dtype == ir.DataType.FLOAT
        is_left = node.name in keep or not (quantizes_attention or node.name in weighted)
        if value is None or is_float or is_left:
            continue
        if value not in pairs:
            scales = _scales(value, operand, kind, largest)
            pairs[value] = _pair(graph, node, operand, kind, scales)
        node.replace_input_with(operand.index, pairs[value])
        if operand.index == 1:
            done.append(operand.product)
    return done


def _products(model: ir.Model) -> list[ir.Node]:
    found = []
    for node in model.graph:
        if node.op_type != "MatMul" or node.domain:
            continue
        activation, other = node.inputs[:2]
        shape = None if activation is None else activation.shape
        if shape is None or len(shape) < 3 or constant(activation) is not None:
            continue
        weights = constant(other)
        if weights is None or (weights.ndim == 2 and weights.shape[1] >= _FEWEST_COLUMNS):
            found.append(node)
    return found


def _is_softmax(value: ir.Value) -> bool:
    cast = producer(value, "Cast")  # softmax is in float32 in unfused attention
    return producer(value if cast is None else cast.inputs[0], "Softmax") is not None


def _scales(
    value: ir.Value, operand: Operand, kind: _Kind, largest: Mapping[tuple[str, int], float]
) -> NDArray[np.float64]:
    if operand.is_weight:
        magnitudes = np.abs(array_of(value).astype(np.float64))
        found = magnitudes.max(axis=0) if kind.has_channels else magnitudes.max()
    elif operand.is_softmax:
        found = np.asarray(_LARGEST_WEIGHT)
    else:
        found = np.asarray(largest[operand.product, operand.index])
    scales: NDArray[np.float64] = np.asarray(found / kind.largest)
    return scales


def _pair(
    graph: ir.Graph, node: ir.Node, operand: Operand, kind: _Kind, scales: NDArray[np.float64]
) -> ir.Value:
    value = node.inputs[operand.index]
    dtype = None if value is None else value.dtype
    if dtype is None:
        raise ValueError(operand.value)
    name = f"{operand.product}.{'weight' if operand.is_weight else f'input_{operand.index}'}"
    scale = add_constant(
        graph, f"{name}_scale", np.maximum(scales, _SMALLEST_SCALE).astype(dtype.numpy())
    )
    zero = add_constant(graph, f"{name}_zero", np.zeros(scales.shape, kind.dtype))
    axis = {"axis": 1} if scales.ndim else {}
    quantized = insert(
        node,
        "QuantizeLinear",
        [value, scale, zero],
        axis,
        name=f"{name}_quantized",
        dtype=ir.DataType.from_numpy(np.dtype(kind.dtype)),
    )
    found = insert(
        node,
        "DequantizeLinear",
        [quantized, scale, zero],
        axis,
        name=f"{name}_dequantized",
        dtype=dtype,
    )
    found.shape = quantized.shape = None if value is None else value.shape
    return found

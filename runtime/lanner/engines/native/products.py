"""Products, norms and activations in a graph."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanner.engines.native.matcher import Matcher, named
from lanner.engines.native.plan import Activation, NormKind, Tensor, refuse

#: The points at which activations are compared: both tails, and the middle.
_PROBE = np.linspace(-12, 12, 4_097, dtype=np.float32)
_MOST_DIFFERENCE = 1e-5
NORMS = ("LayerNormalization", "RMSNormalization")
_ROUNDING = ("QuantizeLinear", "DequantizeLinear")
_POINTWISE = {"Gelu", "Tanh", "Relu", "Mul", "Add", "Sub", "Div", "Pow", "Sigmoid", "Erf"}


@dataclass(frozen=True)
class Product:
    """A product with constant weights.

    Attributes:
        weight: The weights [in, out], signed bytes or float32.
        scales: The scale of each column of signed bytes, float32 [out]; None for float32.
        bias: Float32 [out], or None.
        input: The scale and the zero point of unsigned bytes at its input, float32 [2]; None for
            float32 weights.
    """

    weight: Tensor
    scales: NDArray[np.float32] | None
    bias: NDArray[np.float32] | None
    input: NDArray[np.float32] | None

    def named(self, name: str) -> dict[str, Tensor]:
        """Return its tensors by their names in the plan, without that of its input."""
        parts = {"weight": self.weight, "scales": self.scales, "bias": self.bias}
        return {f"{name}.{part}": values for part, values in parts.items() if values is not None}

    def kept(self, columns: NDArray[np.int64]) -> "Product":
        """Return the product with some of its columns."""
        first, count = int(columns[0]), len(columns)
        if np.array_equal(columns, np.arange(first, first + count)):
            index: slice | NDArray[np.int64] = slice(first, first + count)  # a view, not a copy
        else:
            index = columns
        return replace(
            self,
            weight=self.weight[:, index],
            scales=None if self.scales is None else self.scales[index],
            bias=None if self.bias is None else self.bias[index],
        )


@dataclass(frozen=True)
class Norm:
    """A norm over the last axis.

    Attributes:
        kind: A LayerNormalization, or one that is not centred.
        weight: Float32 [width].
        bias: Float32 [width], or None.
        epsilon: What is added to the variance.
    """

    kind: NormKind
    weight: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    epsilon: float

    def named(self, name: str) -> dict[str, Tensor]:
        """Return its tensors by their names in the plan."""
        found: dict[str, Tensor] = {f"{name}.weight": self.weight}
        return found if self.bias is None else found | {f"{name}.bias": self.bias}


def is_product(graph: Matcher, value: str) -> bool:
    """True if a product computes a value, with or without a bias."""
    operator = graph.operator(value)
    if operator in ("MatMul", "Gemm"):
        return True
    if operator != "Add":
        return False
    inputs = graph.look(value).inputs
    return any(graph.is_constant(item) for item in inputs) and any(
        graph.operator(item) == "MatMul" for item in inputs
    )


def source_of(graph: Matcher, value: str) -> str:
    """Return the name of a product's input, without taking the product."""
    while is_product(graph, value) or graph.operator(value) in _ROUNDING:
        left, *right = graph.look(value).inputs
        is_bias = graph.operator(value) == "Add" and graph.is_constant(left)
        value = right[0] if is_bias else left
    return value


def width_of(graph: Matcher, value: str) -> int:
    """Return the number of columns of a product, without taking the product."""
    while graph.operator(value) in ("Add", "MatMul", "DequantizeLinear"):
        left, right, *_ = graph.look(value).inputs
        is_sum, is_product_ = graph.operator(value) == "Add", graph.operator(value) == "MatMul"
        value = right if is_product_ or (is_sum and graph.is_constant(left)) else left
    return int(graph.constant(value).shape[-1])


def product(graph: Matcher, value: str) -> tuple[Product, str]:
    """Take the product that computes a value; return it and the name of its input.

    Raises:
        EngineError: It is another computation.
    """
    if graph.operator(value) == "Gemm":
        return _gemm(graph, value)
    bias = None
    if graph.operator(value) == "Add":
        left, right = graph.take(value, "Add").inputs
        constant, value = (right, left) if graph.is_constant(right) else (left, right)
        bias = floats(graph, constant)
    rows, columns = graph.take(value, "MatMul").inputs
    if graph.is_constant(columns):
        return Product(matrix(graph, columns), None, bias, None), rows
    weight, scales = _weights(graph, columns)
    source, limits = _quantized(graph, rows)
    return Product(weight, scales, bias, limits), source


def norm(graph: Matcher, value: str) -> tuple[Norm, str]:
    """Take the norm that computes a value; return it and the name of its input.

    Raises:
        EngineError: It is another computation.
    """
    node = graph.take(value, *NORMS)
    source, weight, *bias = node.inputs
    if node.attributes.get("axis", -1) != -1:
        refuse(f"{named(node)} over more than the last axis")
    epsilon = node.attributes.get("epsilon", 1e-5)
    kind = NormKind(NORMS.index(node.operator))
    biases = floats(graph, bias[0]) if bias else None
    return Norm(kind, floats(graph, weight), biases, float(np.float32(epsilon))), source  # type: ignore[arg-type]


def activation(graph: Matcher, value: str) -> tuple[Activation, str]:
    """Take the activation that computes a value; return it and the name of its input.

    Raises:
        EngineError: It is another computation.
    """
    node, operator = graph.look(value), graph.operator(value)
    if operator == "Gelu":
        graph.take(value, "Gelu")
        form = node.attributes.get("approximate", "none")
        return Activation.GELU_TANH if form == "tanh" else Activation.GELU_ERF, node.inputs[0]
    if operator == "Relu":
        return Activation.RELU, graph.take(value, "Relu").inputs[0]
    if operator == "Tanh":
        return Activation.TANH, graph.take(value, "Tanh").inputs[0]
    sources = pointwise_sources(graph, value)
    if len(sources) != 1:
        refuse(f"the activation that ends in {named(node)}")
    source = sources.pop()
    found = graph.evaluate(value, {source: _PROBE})
    for kind, expected in _activations(_PROBE.astype(np.float64)).items():
        if found.shape == expected.shape and np.abs(found - expected).max() < _MOST_DIFFERENCE:
            return kind, source
    return refuse(f"the activation that ends in {named(node)}")


def floats(graph: Matcher, name: str) -> NDArray[np.float32]:
    """Read a constant vector.

    Raises:
        EngineError: It is something else.
    """
    found = graph.constant(name)
    if found.dtype != np.float32 or found.ndim != 1:
        refuse(f"the tensor {name!r} of {found.dtype} {list(found.shape)} as a vector")
    return found  # type: ignore[return-value]


def matrix(graph: Matcher, name: str) -> NDArray[np.float32]:
    """Read a constant matrix.

    Raises:
        EngineError: It is something else.
    """
    found = graph.constant(name)
    if found.dtype != np.float32 or found.ndim != 2:
        refuse(f"the tensor {name!r} of {found.dtype} {list(found.shape)} as a matrix")
    return found  # type: ignore[return-value]


def _gemm(graph: Matcher, value: str) -> tuple[Product, str]:
    node = graph.take(value, "Gemm")
    plain = {"alpha": 1.0, "beta": 1.0, "transA": 0}
    if any(node.attributes.get(name, usual) != usual for name, usual in plain.items()):
        refuse(f"{named(node)} with a factor or a transposed input")
    source, weight, *bias = node.inputs
    weights = matrix(graph, weight)
    if node.attributes.get("transB", 0):
        weights = np.ascontiguousarray(weights.T)
    return Product(weights, None, floats(graph, bias[0]) if bias else None, None), source


def _weights(graph: Matcher, value: str) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Take the signed bytes of a weight and the scales of their columns."""
    node = graph.take(value, "DequantizeLinear")
    weight, scales, *zeros = node.inputs
    found = graph.constant(weight)
    if found.dtype != np.int8 or found.ndim != 2 or node.attributes.get("axis", 1) != 1:
        refuse(f"{named(node)} of {found.dtype} {list(found.shape)} as weights")
    if zeros and np.any(graph.constant(zeros[0])):
        refuse(f"the zero points of {named(node)}")
    of_columns = floats(graph, scales)
    if len(of_columns) != found.shape[1]:
        refuse(f"{named(node)} without a scale for each column")
    return found, of_columns  # type: ignore[return-value]


def _quantized(graph: Matcher, value: str) -> tuple[str, NDArray[np.float32]]:
    """Take the rounding of a product's input to unsigned bytes."""
    back = graph.take(value, "DequantizeLinear")
    node = graph.take(back.inputs[0], "QuantizeLinear")
    zero = graph.constant(node.inputs[2]) if len(node.inputs) > 2 else np.zeros((), np.uint8)
    if back.inputs[1:] != node.inputs[1:] or zero.dtype != np.uint8 or zero.size != 1:
        refuse(f"{named(node)} to other bytes than unsigned ones with one scale")
    limits = np.array([graph.scalar(node.inputs[1]), float(zero.ravel()[0])], np.float32)
    return node.inputs[0], limits


def pointwise_sources(graph: Matcher, value: str) -> set[str]:
    """Return the values that a formula of pointwise operators is computed from."""
    open_, sources, seen = [value], set[str](), set[str]()
    while open_:
        name = open_.pop()
        if name in seen or graph.is_constant(name):
            continue
        seen.add(name)
        if name != value and (graph.operator(name) not in _POINTWISE or is_product(graph, name)):
            sources.add(name)
        else:
            open_ += graph.look(name).inputs
    return sources


def _activations(x: NDArray[np.float64]) -> dict[Activation, NDArray[Any]]:
    tanh = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return {Activation.GELU_TANH: tanh, Activation.SILU: x / (1 + np.exp(-x))}

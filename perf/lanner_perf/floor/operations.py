"""The number of operations in a model's matrix products, counted from its own graph.

A product of [m, k] and [k, n] has 2 m k n operations: one multiplication and one addition for each
term.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import ArrayLike

from lanner.errors import UnsupportedError

#: The operators with two operands, and the place of the second one among their inputs.
_SECOND_OPERAND = {"MatMul": 1, "Gemm": 1, "MatMulInteger": 1, "QLinearMatMul": 3}
#: Other operators that multiply matrices, or may do so in a subgraph.
_UNCOUNTED = re.compile("MatMul|Gemm|Attention|Conv|Einsum|GRU|LSTM|RNN|^If$|^Loop$|^Scan$")
_WORK = 2  # operations of one multiply-add
# Any four lengths would do; the shortest model accepts as many tokens.
_LENGTHS, _LENGTH_TO_CHECK = (3, 5, 7), 8

_Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Operations:
    """The operations of a model's matrix products, without padding.

    Work that a batch does once, whatever its size, is not counted.

    Attributes:
        flop_per_text: Operations of each text, whatever its length: a head, a Dense module.
        flop_per_token: Operations of each token: the linear layers.
        flop_per_token_squared: Operations that grow with the square of a text's tokens: attention.
        weights: Numbers in the matrices that the model holds and multiplies with, each once.
        matrices: Rows and columns of such matrices, those with the most work first; among equals,
            the largest first.
    """

    flop_per_text: int
    flop_per_token: int
    flop_per_token_squared: int
    weights: int
    matrices: tuple[tuple[int, int], ...]

    def flop(self, lengths: ArrayLike) -> float:
        """Return the total operations of texts with these numbers of tokens."""
        tokens = np.asarray(lengths, np.float64)
        of_each = (
            self.flop_per_text
            + self.flop_per_token * tokens
            + self.flop_per_token_squared * tokens**2
        )
        return float(of_each.sum())


def count_operations(path: Path) -> Operations:
    """Count the operations by running the unchanged graph on a few short texts.

    Args:
        path: An ONNX file of an encoder, at any precision.

    Raises:
        UnsupportedError: The graph has an operator whose products cannot be counted, or their
            number is not a quadratic polynomial of the length.
    """
    model = onnx.load(path)
    for node in model.graph.node:
        if _UNCOUNTED.search(node.op_type) and not _is_counted(node):
            msg = (
                f"the operations of {path} cannot be counted: it has the operator {node.op_type}, "
                f"and only {', '.join(sorted([*_SECOND_OPERAND, 'Attention']))} can be counted"
            )
            raise UnsupportedError(msg)
    products = [node for node in model.graph.node if _is_counted(node)]
    held = _held_values(model.graph)
    products = [node for node in products if not all(name in held for name in _operands(node))]
    run = _Runner(model, products)
    counts = {n: _flop_of_a_text(products, run, n) for n in (*_LENGTHS, _LENGTH_TO_CHECK)}
    constant, linear, squared = _polynomial([counts[n] for n in _LENGTHS])
    if counts[_LENGTH_TO_CHECK] != constant + _LENGTH_TO_CHECK * (
        linear + _LENGTH_TO_CHECK * squared
    ):
        msg = (
            f"the operations of {path} cannot be counted: their number is not a quadratic "
            "polynomial of the text's length"
        )
        raise UnsupportedError(msg)
    matrices = _matrices(products, held, run(1, _LENGTH_TO_CHECK))
    most_work: dict[tuple[int, int], int] = {}
    for shape, work in matrices.values():
        if len(shape) == 2:
            most_work[shape] = most_work.get(shape, 0) + work
    return Operations(
        constant,
        linear,
        squared,
        sum(prod(shape) for shape, _ in matrices.values()),
        tuple(sorted(most_work, key=lambda shape: (most_work[shape], prod(shape)), reverse=True)),
    )


def _is_counted(node: onnx.NodeProto) -> bool:
    is_attention = node.op_type == "Attention" and len(node.input) <= 4  # without earlier tokens
    return node.domain in ("", "ai.onnx") and (is_attention or node.op_type in _SECOND_OPERAND)


def _operands(node: onnx.NodeProto) -> list[str]:
    if node.op_type == "Attention":
        return list(node.input[:3])
    return [node.input[0], node.input[_SECOND_OPERAND[node.op_type]]]


def _held_values(graph: onnx.GraphProto) -> dict[str, frozenset[str]]:
    """Return the values that do not depend on the inputs, each with its initializers."""
    held = {tensor.name: frozenset({tensor.name}) for tensor in graph.initializer}
    for node in graph.node:
        if all(name in held for name in node.input if name):
            sources = [held[name] for name in node.input if name]
            held.update(dict.fromkeys(node.output, frozenset().union(*sources)))
    return held


class _Runner:
    """The runner of the graph, which returns the shapes of all operands of products."""

    def __init__(self, model: onnx.ModelProto, products: Sequence[onnx.NodeProto]) -> None:
        names = {name for node in products for name in (*_operands(node), *node.output[:1])}
        self._names = sorted(names)
        known = {value.name for value in model.graph.output}
        model.graph.output.extend(
            onnx.ValueInfoProto(name=n) for n in self._names if n not in known
        )
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = settings.inter_op_num_threads = 1
        # An optimized graph would no longer have the requested values.
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = ort.InferenceSession(
            model.SerializeToString(), settings, ["CPUExecutionProvider"]
        )

    def __call__(self, texts: int, tokens: int) -> _Shapes:
        feeds = {
            value.name: np.full((texts, tokens), value.name == "attention_mask", np.int64)
            for value in self._session.get_inputs()
        }
        arrays = self._session.run(self._names, feeds) if self._names else []
        return {name: array.shape for name, array in zip(self._names, arrays, strict=True)}


def _flop_of_a_text(products: Sequence[onnx.NodeProto], run: _Runner, tokens: int) -> int:
    one, two = (
        sum(_flop(node, shapes) for node in products) for shapes in (run(1, tokens), run(2, tokens))
    )
    return two - one


def _flop(node: onnx.NodeProto, shapes: _Shapes) -> int:
    first, output = shapes[node.input[0]], shapes[node.output[0]]
    if node.op_type == "Attention":
        # Queries times keys, then weights times values, whether or not heads have an axis of their
        # own.
        keys = shapes[node.input[1]][-2]
        return _WORK * keys * (prod(first) + prod(output))
    is_transposed = _is_transposed(node, "transA")
    return _WORK * prod(output) * first[0 if is_transposed else -1]


def _is_transposed(node: onnx.NodeProto, operand: str) -> bool:
    return any(attribute.name == operand and attribute.i for attribute in node.attribute)


def _polynomial(counts: Sequence[int]) -> tuple[int, int, int]:
    # Newton's divided differences, which are whole numbers if the coefficients are.
    (a, b, c), (x, y, z) = _LENGTHS, counts
    slope = (y - x) // (b - a)
    squared = ((z - y) // (c - b) - slope) // (c - a)
    linear = slope - squared * (a + b)
    return x - a * (linear + a * squared), linear, squared


def _matrices(
    products: Sequence[onnx.NodeProto], held: Mapping[str, frozenset[str]], shapes: _Shapes
) -> dict[frozenset[str], tuple[tuple[int, ...], int]]:
    """Return the shape and the work of each matrix; a matrix that layers share counts once."""
    found: dict[frozenset[str], tuple[tuple[int, ...], int]] = {}
    for node, name in _held_operands(products, held):
        order = -1 if _is_transposed(node, "transB") else 1
        shape, work = tuple(shapes[name][::order]), _flop(node, shapes)
        found[held[name]] = shape, found.get(held[name], (shape, 0))[1] + work
    return found


def _held_operands(
    products: Sequence[onnx.NodeProto], held: Mapping[str, Any]
) -> Iterator[tuple[onnx.NodeProto, str]]:
    for node in products:
        for name in _operands(node):
            if name in held:
                yield node, name

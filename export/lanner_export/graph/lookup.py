"""The ONNX graph of static vectors: look up rows, average them, normalize.

The table is in one file next to the graph, which ONNX Runtime maps into memory. It is written block
by block, so it is never in memory as a whole.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lanner.errors import CheckpointError
from lanner_export.graph.layers import Layer, through_layers
from lanner_export.graph.matrix_file import MatrixFile
from lanner_export.graph.model_file import data_path
from lanner_export.graph.signed_bytes import to_signed_bytes
from lanner_export.graph.tensors import EMBEDDING, INPUTS, OPSET

#: The oldest IR version with the operator set.
_IR_VERSION = 11
#: Windows maps files at multiples of this; Linux at multiples of 4096.
_ALIGNMENT_BYTES = 2**16
#: The smallest divisors of sentence-transformers' Pooling and of torch's normalize, which make 0/0
#: equal to 0.
_SMALLEST_SUM, _SMALLEST_NORM = 1e-9, 1e-12
#: The activation of a layer -> its operators.
_OPERATORS = {
    "identity": (),
    "relu": ("Relu",),
    "tanh": ("Tanh",),
    "sigmoid": ("Sigmoid",),
    "log-sigmoid": ("Neg", "Softplus", "Neg"),
}


@dataclass(frozen=True)
class LookupTable:
    """The table of static vectors.

    Attributes:
        rows: The vectors [rows, dimension]; any float or integer, taken as float32.
        weights: The factor of each token's row, float32 [tokens], or None.
        is_weighted_mean: True to divide the sum by the sum of the weights, like WordWeights of
            sentence-transformers; False to divide by the number of tokens, like model2vec.
        mapping: The row of each token, integers [tokens], or None if token i has row i.
        ignored_ids: Tokens that are ignored.
        has_parts: True if an id may be that of a part of a word, as `lanner.text.word_parts` makes
            them; the parts of a word then count as one token.
        component: A vector of length 1, float32 [dimension], whose part of each mean is removed, or
            None.
        normalize: True to scale the mean to length 1.
        layers: Layers behind the mean.
        normalizes_last: True to scale the answer of the layers to length 1.
    """

    rows: MatrixFile
    weights: NDArray[np.float32] | None = None
    is_weighted_mean: bool = False
    mapping: NDArray[np.integer[Any]] | None = None
    ignored_ids: tuple[int, ...] = ()
    has_parts: bool = False
    component: NDArray[np.float32] | None = None
    normalize: bool = False
    layers: tuple[Layer, ...] = ()
    normalizes_last: bool = False

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            msg = f"{self.rows.path} has {problem}: save the checkpoint again"
            raise CheckpointError(msg)

    def _problem(self) -> str:
        """Return the first fault, or an empty string."""
        weights, mapping, rows = self.weights, self.mapping, self.rows.shape[0]
        if 0 in self.rows.shape:
            return "an empty table"
        if mapping is not None and (mapping.ndim != 1 or mapping.dtype.kind != "i"):
            kind = f"{mapping.dtype} of shape {mapping.shape}"
            return f"a mapping of {kind} instead of one row per token"
        if mapping is not None and not ((mapping >= 0) & (mapping < rows)).all():
            return f"a mapping to rows that do not exist (it has {rows})"
        if weights is not None and weights.shape != (self.vocabulary_size,):
            return f"weights of shape {weights.shape} for {self.vocabulary_size} tokens"
        if weights is not None and not np.isfinite(weights).all():
            return "a weight that is not a finite number"
        return ""

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens."""
        return self.rows.shape[0] if self.mapping is None else len(self.mapping)

    @property
    def dimension(self) -> int:
        """Width of the answers."""
        return len(self.layers[-1].weights) if self.layers else self.rows.shape[1]

    @property
    def empty_answer(self) -> list[float]:
        """The answer to a text without tokens, of `dimension` numbers; empty if it is zeros."""
        if not self.layers:
            return []
        (answer,) = through_layers(np.zeros((1, self.rows.shape[1])), self.layers)
        length = max(float(np.linalg.norm(answer)), _SMALLEST_NORM) if self.normalizes_last else 1.0
        return [float(number) for number in (answer / length).astype(np.float32)]


def write_lookup_graph(
    path: Path, table: LookupTable, precision: str, output: str = EMBEDDING
) -> None:
    """Write the graph, and its table next to it at `data_path`.

    The graph takes `input_ids` and `attention_mask`, int64 [batch, length], and returns float32
    [batch, dimension]. The mean of a text without known tokens is zeros.

    Args:
        path: The path of the ONNX file.
        table: The table.
        precision: ``"fp32"``, or ``"int8"`` for rows of signed bytes with one scale each.
        output: The name of the output.

    Raises:
        CheckpointError: A value of the table is not a finite number.
    """
    with data_path(path).open("wb") as file:
        graph = _Graph(file, data_path(path).name)
        _add_nodes(graph, table, is_int8=precision == "int8")
    graph.nodes[-1].output[0] = output
    shape = ["batch", "length"]
    proto = helper.make_graph(
        graph.nodes,
        "lookup",
        [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in INPUTS],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", table.dimension])],
        graph.initializers,
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(
        proto, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="lanner"
    )
    path.write_bytes(model.SerializeToString())


def _add_nodes(graph: "_Graph", table: LookupTable, *, is_int8: bool) -> None:
    """Add the nodes of a table and its layers; the last has the answer."""
    ids, mask = INPUTS
    counts = graph.node("Cast", mask, to=TensorProto.FLOAT)
    if table.has_parts:
        rows = graph.constant(np.array(table.vocabulary_size, np.int64))
        others = graph.node("Cast", graph.node("Div", ids, rows), to=TensorProto.FLOAT)
        counts = graph.node("Div", counts, graph.node("Add", others, graph.scalar(1)))
        ids = graph.node("Mod", ids, rows)
    for token in table.ignored_ids:
        is_ignored = graph.node("Equal", ids, graph.constant(np.array(token, np.int64)))
        counts = graph.node("Where", is_ignored, graph.scalar(0), counts)
    factors = counts
    if table.weights is not None:
        weights = graph.external("weights", [table.weights.astype("<f4")])
        factors = graph.node("Mul", factors, graph.node("Gather", weights, ids))
    divisors = factors if table.is_weighted_mean else counts
    row_ids = ids
    if table.mapping is not None:
        mapping = graph.external("mapping", [table.mapping.astype("<i4")])
        row_ids = graph.node("Gather", mapping, ids)
    if is_int8:
        scales: list[NDArray[np.float32]] = []
        rows = graph.external("rows", _quantized(table.rows.blocks(), scales))
        vectors = graph.node("Gather", rows, row_ids)
        # Multiply the scales into the factors instead of the rows.
        vectors = graph.node("Cast", vectors, to=TensorProto.FLOAT)
        scale = graph.node("Gather", graph.external("scales", scales), row_ids)
        factors = graph.node("Mul", factors, scale)
    else:
        rows = graph.external("rows", table.rows.blocks())
        vectors = graph.node("Gather", rows, row_ids)
    # A matrix product with one row sums the rows of a text without copying them.
    total = graph.node("MatMul", graph.node("Unsqueeze", factors, graph.axis(1)), vectors)
    total = graph.node("Squeeze", total, graph.axis(1))
    divisor = graph.node("ReduceSum", divisors, graph.axis(1), keepdims=1)
    divisor = graph.node("Max", divisor, graph.scalar(_SMALLEST_SUM))
    answer = graph.node("Div", total, divisor)
    if table.component is not None:
        column = graph.constant(table.component.astype(np.float32)[:, None])
        row = graph.constant(table.component.astype(np.float32)[None])
        shared = graph.node("Mul", graph.node("MatMul", answer, column), row)
        answer = graph.node("Sub", answer, shared)
    if table.normalize:
        answer = _normalized(graph, answer)
    for layer in table.layers:
        weights = graph.constant(layer.weights.T.astype(np.float32))
        bias = graph.constant(layer.bias.astype(np.float32))
        answer = graph.node("Gemm", answer, weights, bias)
        for operator in _OPERATORS[layer.activation]:
            answer = graph.node(operator, answer)
    if table.normalizes_last:
        _normalized(graph, answer)


def _normalized(graph: "_Graph", vectors: str) -> str:
    norm = graph.node("ReduceL2", vectors, graph.axis(1), keepdims=1)
    return graph.node("Div", vectors, graph.node("Max", norm, graph.scalar(_SMALLEST_NORM)))


def _quantized(
    blocks: Iterable[NDArray[np.float32]], scales: list[NDArray[np.float32]]
) -> Iterator[NDArray[np.int8]]:
    """Yield blocks of signed bytes with one symmetric scale per row, appended to `scales`."""
    for block in blocks:
        bytes_, scale = to_signed_bytes(block)
        scales.append(scale.astype("<f4"))
        yield bytes_


class _Graph:
    """The nodes and constants of a graph under construction."""

    def __init__(self, file: BinaryIO, location: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._file = file
        self._location = location

    def node(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node; return the name of its output."""
        name = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, value: NDArray[Any]) -> str:
        """Add a small constant in the graph itself; return its name."""
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def axis(self, axis: int) -> str:
        """Add a constant with the number of an axis; return its name."""
        return self.constant(np.array([axis], np.int64))

    def scalar(self, value: float) -> str:
        """Add a float32 constant; return its name."""
        return self.constant(np.array(value, np.float32))

    def external(self, name: str, blocks: Iterable[NDArray[Any]]) -> str:
        """Add a tensor, written block by block to the file next to the graph; return its name."""
        self._file.seek(-(-self._file.tell() // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES)
        offset = self._file.tell()
        length = 0
        tensor = TensorProto(name=name, data_location=TensorProto.EXTERNAL)
        for block in blocks:
            self._file.write(block.tobytes())
            length += len(block)
            tensor.data_type = helper.np_dtype_to_tensor_dtype(block.dtype)
            tensor.dims[:] = [length, *block.shape[1:]]
        place = {"location": self._location, "offset": offset, "length": self._file.tell() - offset}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        self.initializers.append(tensor)
        return name

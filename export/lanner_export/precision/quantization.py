"""int8 with static scales, so that a vector does not depend on its batch.

Weights are signed bytes with one scale per output channel, activations unsigned bytes with one
scale per tensor, which VNNI and AMX kernels multiply. Only the inputs of matrix products are
quantized: their outputs stay float32, and so do other readers of an activation, above all the
residual stream. Word embeddings are signed bytes with one scale per row.
"""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxruntime.quantization import QuantType, quantize_dynamic

from lanner.errors import UnsupportedError
from lanner_export.graph import model_file
from lanner_export.graph.edits import add_constant, array_of, constant, insert, only_consumer
from lanner_export.graph.model_file import load, save, unmap
from lanner_export.graph.quiet import quiet
from lanner_export.graph.signed_bytes import to_signed_bytes
from lanner_export.precision.ranges import Range

#: A product with fewer columns takes no time. A head's last product stays in float32 at any width:
#: its errors are errors of the scores.
_FEWEST_COLUMNS = 32
#: A table with fewer rows is not worth quantizing.
_FEWEST_ROWS = 64


class Product(NamedTuple):
    """A matrix product with constant weights.

    Attributes:
        name: The name of its module in the checkpoint.
        activation: The name of its activation.
        size: The number of its weights, proportional to its cost per token.
    """

    name: str
    activation: str
    size: int


def products(source: Path) -> list[Product]:
    """Return the products of a float32 graph that may be int8, in order of execution."""
    return [_product(node) for node in _nodes(load(source))]


def write_int8(
    source: Path, target: Path, ranges: dict[str, Range], *, keep: Collection[str] = ()
) -> None:
    """Write the graph with its products quantized, as Q/DQ in standard ONNX.

    Args:
        source: The float32 ONNX file.
        target: The path of the int8 file.
        ranges: The range of each activation of a product.
        keep: Names of products that stay in float32.
    """
    model = load(source)
    quantized: dict[str, list[ir.Value]] = {}
    shared: dict[ir.Value | None, list[ir.Value]] = {}
    for node in _nodes(model):
        if node.name in keep:
            continue
        item, graph = _product(node), model.graph
        if item.activation not in quantized:
            quantized[item.activation] = _quantized(node, item, ranges[item.activation], graph)
        # One DequantizeLinear per product: ONNX Runtime fuses only nodes with a single user.
        activation = insert(
            node,
            "DequantizeLinear",
            quantized[item.activation],
            name=f"{item.name}.activation",
        )
        # Layers may share their weights, as in ALBERT.
        source_weights = node.inputs[1]
        if source_weights not in shared:
            shared[source_weights] = _weights(node, item.name, graph)
        weights = insert(
            node,
            "DequantizeLinear",
            shared[source_weights],
            {"axis": 1},
            name=f"{item.name}.weight",
        )
        node.replace_input_with(0, activation)
        node.replace_input_with(1, weights)
    _quantize_tables(model)
    RemoveUnusedNodesPass()(model)
    save(model, target)


def write_int8_dynamic(source: Path, target: Path) -> None:
    """Write the graph with activation scales that are measured in each batch.

    This common recipe is kept for comparison: a text's vector depends on its batch.

    Args:
        source: The float32 ONNX file.
        target: The path of the int8 file.

    Raises:
        UnsupportedError: ONNX Runtime's quantizer cannot hold the weights in one message.
    """
    model = load(source)
    small = {node.name for node in model.graph if node.op_type == "MatMul"}
    small -= {node.name for node in _nodes(model)}
    _quantize_tables(model)
    RemoveUnusedNodesPass()(model)
    tensors = [value.const_value for value in model.graph.initializers.values()]
    size = sum(tensor.nbytes for tensor in tensors if tensor is not None)
    if size > model_file.MOST_BYTES:
        msg = (
            f"int8-dynamic is for models of up to 2 GB, and this one has {size / 1e9:.1f} GB "
            "beside its tables of tokens: omit it from --precision, and use int8"
        )
        raise UnsupportedError(msg)
    write_dynamic(model, target, operators=["MatMul"], exclude=small)


def write_dynamic(
    model: ir.Model, target: Path, *, operators: list[str], exclude: Collection[str | None] = ()
) -> None:
    """Run ONNX Runtime's `quantize_dynamic`, with signed weights and a scale per column.

    Args:
        model: A float32 graph.
        target: The path of the int8 file.
        operators: The operators to quantize.
        exclude: Names of nodes that stay in float32.
    """
    RemoveUnusedNodesPass()(model)
    # ONNX Runtime transposes the weights of a Gemm, and would fail on types noted before.
    proto = model_file.to_proto(ir.external_data.load_to_model(model))
    with quiet():
        quantize_dynamic(
            proto,
            target,
            op_types_to_quantize=operators,
            nodes_to_exclude=sorted(name for name in exclude if name),
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )


def _nodes(model: ir.Model) -> list[ir.Node]:
    found = []
    for node in model.graph:
        weights = constant(node.inputs[1]) if node.op_type == "MatMul" else None
        is_product = weights is not None and weights.ndim == 2
        if weights is not None and is_product and weights.shape[1] >= _FEWEST_COLUMNS:
            found.append(node)
    return [node for node in found if not _is_answer(node.outputs[0])]


def _is_answer(value: ir.Value) -> bool:
    add = only_consumer(value, "Add")
    return value.is_graph_output() or (add is not None and add.outputs[0].is_graph_output())


def _product(node: ir.Node) -> Product:
    activation, weights = node.inputs[0], constant(node.inputs[1])
    if activation is None or activation.name is None or weights is None or node.name is None:
        raise ValueError(node.op_type)
    return Product(node.name, activation.name, weights.size)


def _quantized(node: ir.Node, item: Product, limits: Range, graph: ir.Graph) -> list[ir.Value]:
    """Return the bytes of a product's activation, their scale and their zero point."""
    scale, zero = (
        add_constant(graph, f"{item.name}.input_{name}", np.asarray(value))
        for name, value in zip(("scale", "zero"), limits.scale_and_zero(), strict=True)
    )
    inputs = [node.inputs[0], scale, zero]
    return [insert(node, "QuantizeLinear", inputs, name=f"{item.name}.input"), scale, zero]


def _weights(node: ir.Node, name: str, graph: ir.Graph) -> list[ir.Value]:
    bytes_, scales = to_signed_bytes(array_of(node.inputs[1]).T)
    unmap(node.inputs[1])
    return [
        add_constant(graph, f"{name}.weight_{part}", values)
        for part, values in (
            ("int8", bytes_.T),
            ("scales", scales),
            ("zeros", np.zeros(len(scales), np.int8)),
        )
    ]


def _quantize_tables(model: ir.Model) -> None:
    graph = model.graph
    for gather in [node for node in graph if node.op_type == "Gather"]:
        table, rows = constant(gather.inputs[0]), gather.inputs[1]
        is_table = table is not None and table.ndim == 2 and table.dtype == np.float32
        is_table = is_table and gather.attributes.get_int("axis", 0) == 0
        if table is None or not is_table or len(table) < _FEWEST_ROWS:
            continue
        name = gather.inputs[0].name if gather.inputs[0] is not None else None
        bytes_, scales = to_signed_bytes(table)
        del table
        unmap(gather.inputs[0])
        looked_up = [
            insert(
                gather,
                "Gather",
                [add_constant(graph, f"{name}_{part}", values), rows],
                name=f"{name}_{part}_of_tokens",
            )
            for part, values in (("int8", bytes_), ("scales", scales[:, None]))
        ]
        # Standard operators that every engine has; in ONNX Runtime they are as fast as one
        # DequantizeLinear with blocks.
        widened = insert(
            gather, "Cast", [looked_up[0]], {"to": ir.DataType.FLOAT}, name=f"{name}_widened"
        )
        vectors = insert(gather, "Mul", [widened, looked_up[1]], name=f"{name}_of_tokens")
        gather.outputs[0].replace_all_uses_with(vectors)

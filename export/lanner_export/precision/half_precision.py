"""fp16 and bf16: a float32 graph rewritten so that it states its precision.

One rule makes both. Products over tokens are computed in the half type, their weights are stored in
it, and operators between them take the type of their inputs. These parts stay float32, with a
Cast at each border:

- sums, which overflow or lose small terms: softmax, powers and reductions, each with the
  elementwise steps before it (the scale and the mask of attention scores). Attention and
  LayerNormalization are one operator each, and have an attribute for this;
- angles of rotary positions, and all values computed from positions and masks alone;
- everything behind the last product over tokens: pooling, its Dense and Normalize, a classifier.

An engine that takes types as written, such as TensorRT's strongly typed networks, needs no further
settings. `onnxruntime.transformers.float16` only knows fp16, silently clips weights that do not
fit, and puts Casts around single operators instead of around groups.
"""

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, ShapeInferencePass

from lanner.artifact.manifest import HALF_PRECISIONS
from lanner.errors import ExportError
from lanner_export.graph.model_file import load, save, unmap

_FLOAT = ir.DataType.FLOAT
_HALF_TYPES = {"fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}
# The sums of torch's autocast, and the mean.
_SUMS = frozenset({"Softmax", "Exp", "Pow", "ReduceL2", "ReduceMean", "ReduceSum"})
_ELEMENTWISE = frozenset({"Add", "Div", "Mul", "Sub", "Where"})
_ANGLES = frozenset({"Cos", "Sin"})
_PRODUCTS = frozenset({"Attention", "LayerNormalization", "MatMul"})


def write_half(source: Path, target: Path, precision: str) -> None:
    """Write a float32 graph in half precision; inputs and outputs keep their types.

    Args:
        source: A float32 ONNX file of `lanner_export.graph.tracing.write_fp32`.
        target: The path of the new ONNX file.
        precision: ``"fp16"`` or ``"bf16"``.

    Raises:
        ExportError: A weight is beyond the range of the type.
    """
    model = load(source)
    ShapeInferencePass()(model)  # torch leaves some types out
    _Conversion(model.graph, precision).run()
    RemoveUnusedNodesPass()(model)
    save(model, target)


class _Conversion:
    """The conversion, which gives each node and all its inputs one float type."""

    def __init__(self, graph: ir.Graph, precision: str) -> None:
        self._graph = graph
        self._precision = precision
        self._half = _HALF_TYPES[precision]
        finfo = ml_dtypes.finfo(self._half.numpy())  # type: ignore[no-untyped-call]
        self._largest = float(finfo.max)
        self._converted: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def run(self) -> None:
        self._cut_constants()
        kept = _float32_nodes(self._graph)
        for node in list(self._graph):
            is_half = node not in kept and (_is_token_product(node) or self._meets_half(node))
            kind = self._half if is_half else _FLOAT
            for index, value in enumerate(node.inputs):
                if value is not None and self._is_float(value):
                    node.replace_input_with(index, self._as(kind, value, node))
            if node.op_type == "Attention":
                node.attributes.add(ir.AttrInt64("softmax_precision", _FLOAT))
            for output in node.outputs:
                if node.op_type != "Cast" and self._is_float(output):
                    output.dtype = kind

    def _cut_constants(self) -> None:
        # Masks add the lowest float32. As infinity it would turn a fully masked token, such as
        # padding in a sliding window, into NaN.
        for value in self._graph.initializers.values():
            tensor = value.const_value
            if tensor is not None and tensor.dtype == _FLOAT and tensor.size == 1:
                value.const_value = ir.tensor(
                    tensor.numpy().clip(-self._largest, self._largest), name=value.name
                )

    def _is_float(self, value: ir.Value) -> bool:
        return value.dtype in (_FLOAT, self._half)

    def _meets_half(self, node: ir.Node) -> bool:
        values = [value for value in node.inputs if value is not None and self._is_float(value)]
        computed = [value for value in values if not value.is_initializer()]
        # Weights do not decide, except alone (an embedding table), where they become half.
        return any(v.dtype == self._half for v in computed) if computed else bool(values)

    def _as(self, kind: ir.DataType, value: ir.Value, user: ir.Node) -> ir.Value:
        if value.dtype == kind:
            return value
        if (value, kind) not in self._converted:
            if value.is_initializer():
                self._converted[value, kind] = self._rounded(value)
            else:
                cast = _cast(value, kind, f"{value.name}_{kind.name.lower()}")
                self._graph.insert_before(user, cast)
                self._converted[value, kind] = cast.outputs[0]
        return self._converted[value, kind]

    def _rounded(self, value: ir.Value) -> ir.Value:
        array = np.asarray(value.const_value)
        largest = float(np.abs(array).max(initial=0))
        if not largest <= self._largest:  # in this form NaN fails
            other = "bf16" if self._precision == "fp16" else "fp32"
            msg = (
                f"the weight {value.name} reaches {largest:g}, and {self._precision} at most "
                f"{self._largest:g}: use --precision {other}"
            )
            raise ExportError(msg)
        del array
        unmap(value)
        tensor = _cast_weight(value, self._half)
        rounded = ir.val(f"{value.name}_{self._precision}", const_value=tensor)
        self._graph.register_initializer(rounded)
        return rounded


def _float32_nodes(graph: ir.Graph) -> set[ir.Node]:
    """Return the nodes that stay float32 whatever their inputs; see the module."""
    products = [node for node in graph if _is_token_product(node)]
    if len(graph.outputs[0].shape or ()) > 2:
        products.pop()  # a tagger's output for each token
    leading = set(products)  # and, below, all nodes before one
    islands: set[ir.Node] = set()
    angles: set[ir.Node] = set()
    for node in reversed(list(graph)):
        behind = node.successors()
        if not leading.isdisjoint(behind):
            leading.add(node)
            feeds = node.op_type in _ELEMENTWISE and not islands.isdisjoint(behind)
            if feeds or node.op_type in _SUMS:
                islands.add(node)
        if node.op_type in _ANGLES or not angles.isdisjoint(behind):
            angles.add(node)
    return islands | angles | (set(graph) - leading)


def _is_token_product(node: ir.Node) -> bool:
    shape = node.outputs[0].shape
    return node.op_type in _PRODUCTS and (shape is None or len(shape) > 2)


def _cast_weight(value: ir.Value, kind: ir.DataType) -> ir.LazyTensor:
    """Return a weight in another type, which is made when it is written: one at a time."""
    weight = value.const_value
    if weight is None:
        raise ValueError(value.name)

    def make() -> ir.TensorProtocol:
        made = ir.tensor(np.asarray(weight).astype(kind.numpy()), kind, name=value.name)
        if isinstance(weight, ir.ExternalTensor):
            weight.release()
        return made

    return ir.LazyTensor(make, kind, ir.Shape(weight.shape.numpy()), name=value.name)


def _cast(value: ir.Value, kind: ir.DataType, name: str | None = None) -> ir.Node:
    return ir.node("Cast", [value], {"to": kind}, outputs=[ir.val(name, kind, value.shape)])


def measurable(path: Path, precision: str, scratch: Path) -> Path:
    """Return the file to measure a variant with on any machine: its own, or an emulation.

    ONNX Runtime 1.31 on a CPU has no bf16, and runs fp16 without rounding between operators, so
    values that overflow on a GPU do not there (300 * 300 * 0.001 is 90 instead of infinity).

    Args:
        path: The variant's ONNX file.
        precision: Its precision.
        scratch: The directory for an emulation.
    """
    if precision not in HALF_PRECISIONS:
        return path
    emulation = scratch / f"{path.stem}.emulation.onnx"
    write_emulation(path, emulation)
    return emulation


def write_emulation(source: Path, target: Path) -> None:
    """Write a float32 graph that emulates a half-precision one.

    A pair of Casts rounds each output in the half type to that type. Within an operator sums are
    float32, as in the matrix units of GPUs.

    Args:
        source: An ONNX file of `write_half`.
        target: The path of the new ONNX file.
    """
    model = load(source)
    for value in model.graph.initializers.values():
        if value.dtype in _HALF_TYPES.values():
            value.const_value = _cast_weight(value, _FLOAT)
            value.dtype = _FLOAT
    for node in list(model.graph):
        for output in node.outputs:
            if output.dtype in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16):
                _round(output, output.dtype, node)
    save(model, target)


def _round(value: ir.Value, half: ir.DataType, node: ir.Node) -> None:
    users = list(value.uses())
    back = _cast(value, _FLOAT)
    node.append(back)
    if node.op_type != "Cast":
        value.dtype = _FLOAT
        there = _cast(value, half)
        node.append(there)
        back.replace_input_with(0, there.outputs[0])
    for user, index in users:
        user.replace_input_with(index, back.outputs[0])

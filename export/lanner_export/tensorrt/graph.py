"""The graph that a TensorRT engine is built from, made from an artifact's float32 graph.

It carries its precision, and uses one old operator set, which the parsers of TensorRT 10.13 and
11.x both accept (`support`). Attention and rotary positions are written as their parts
(`attention`, `rotary`), and integer operators in the form that the parsers accept (`integers`).
"""

import tempfile
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, ShapeInferencePass

from lanner_export.graph.model_file import load, save
from lanner_export.precision.half_precision import write_half
from lanner_export.precision.ranges import Feed
from lanner_export.tensorrt import BASE_PRECISIONS, QUANTIZED_PRECISIONS
from lanner_export.tensorrt.attention import expand_attention, scale_queries
from lanner_export.tensorrt.expansion import expand_norms, expand_rotary
from lanner_export.tensorrt.integers import rewrite_integers
from lanner_export.tensorrt.quantization import quantize_products
from lanner_export.tensorrt.ranges import measure_largest

#: The first operator set with Gelu, and with float8 in QuantizeLinear.
OPSET = 20
#: The IR version of ONNX 1.16: all readers of that operator set read it.
_IR_VERSION = 10


@dataclass(frozen=True)
class TensorRTGraph:
    """A graph that was written for TensorRT.

    Attributes:
        operators: The number of nodes of each operator.
        attentions: The number of attentions that are written as their parts.
        quantized: The names of the products with quantized inputs.
        opset: Version of the ONNX operator set.
    """

    operators: dict[str, int]
    attentions: int
    quantized: list[str]
    opset: int = OPSET


def write_tensorrt_graph(
    source: Path,
    target: Path,
    precision: str,
    *,
    feeds: Sequence[Feed] = (),
    keep: Collection[str] = (),
    quantizes_attention: bool = True,
) -> TensorRTGraph:
    """Write the graph of an engine.

    Args:
        source: The float32 ONNX file of an artifact.
        target: The path of the new ONNX file.
        precision: One of `lanner_export.tensorrt.PRECISIONS`.
        feeds: Calibration inputs for int8 and fp8, int64 [batch, length] each.
        keep: Names of products that int8 and fp8 leave in half precision.
        quantizes_attention: Quantize the two products of each attention, too.

    Raises:
        ExportError: A weight is beyond the range of the type, or an activation is not finite.
        UnsupportedError: An attention, norm or rotary embedding has a form that cannot be expanded.
    """
    base = BASE_PRECISIONS[precision]
    with tempfile.TemporaryDirectory(prefix="lanner-", dir=target.parent) as directory:
        scaled, rounded = Path(directory) / "scaled.onnx", Path(directory) / "rounded.onnx"
        model = _inferred(load(source))
        scale_queries(model)
        RemoveUnusedNodesPass()(model)
        save(model, scaled)
        if base != "fp32":
            write_half(scaled, rounded, base)
            model = _inferred(load(rounded))
        attentions = expand_attention(model)
        quantized: list[str] = []
        if precision in QUANTIZED_PRECISIONS:
            exact = _inferred(load(scaled))
            expand_attention(exact)
            found = measure_largest(_inferred(exact), feeds, precision, Path(directory))
            quantized = quantize_products(
                _inferred(model),
                precision,
                found,
                keep=keep,
                quantizes_attention=quantizes_attention,
            )
        expand_rotary(_inferred(model))
        expand_norms(_inferred(model))
        rewrite_integers(_inferred(model))
        model.opset_imports[""] = OPSET
        model.ir_version = _IR_VERSION
        RemoveUnusedNodesPass()(model)
        save(model, target)
    onnx.checker.check_model(target, full_check=True)
    operators = Counter(node.op_type for node in model.graph)
    return TensorRTGraph(dict(sorted(operators.items())), attentions, quantized)


def _inferred(model: ir.Model) -> ir.Model:
    ShapeInferencePass()(model)
    return model

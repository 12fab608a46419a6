"""The dynamic int8 that ONNX Runtime's BERT optimizer is known for: attention in one operator.

Its QAttention multiplies query, key and value at once and attends, so a single text needs the
fewest operators. ONNX Runtime's fusion no longer finds attention in graphs of torch's exporter. So
the operator is built here, from the float32 graph of a Lanner artifact.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lanner_export.graph.edits import add_constant, biased, constant, insert, producer
from lanner_export.precision.quantization import write_dynamic
from lanner_perf.subjects.subject import SubjectError

_DOMAIN = "com.microsoft"
_OTHER_FORM = "the attention of this model has more than plain projections and padding"


class _Projection(NamedTuple):
    source: ir.Value | None
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


def make_fused(fp32: Path, path: Path) -> None:
    """Write the graph with fused attention, quantized dynamically.

    Args:
        fp32: The float32 file of an artifact.
        path: The int8 ONNX file to write.

    Raises:
        SubjectError: The attention has another form, for example rotary embeddings.
    """
    model = ir.load(fp32)
    attentions = [node for node in model.graph if node.op_type == "Attention"]
    if not attentions or any(not _has_plain_mask(node) for node in attentions):
        raise SubjectError(_OTHER_FORM)
    mask = next(value for value in model.graph.inputs if value.name == "attention_mask")
    short = insert(attentions[0], "Cast", [mask], {"to": ir.DataType.INT32}, name="mask_int32")
    for node in attentions:
        parts = [_projection(value) for value in node.inputs[:3]]
        found = [part for part in parts if part is not None]
        if len(found) < 3 or any(part.source is not found[0].source for part in found):
            raise SubjectError(_OTHER_FORM)
        weights, biases = (
            add_constant(model.graph, f"{node.name}_{name}", np.concatenate(arrays, axis=-1))
            for name, arrays in (
                ("weight", [part.weight for part in found]),
                ("bias", [part.bias for part in found]),
            )
        )
        heads = {"num_heads": node.attributes.get_int("q_num_heads", 0)}
        inputs = [found[0].source, weights, biases, short]
        fused = ir.node("Attention", inputs, heads, domain=_DOMAIN, name=f"{node.name}_fused")
        fused.outputs[0].name = f"{node.name}_attended"
        model.graph.insert_before(node, fused)
        node.outputs[0].replace_all_uses_with(fused.outputs[0])
    model.graph.opset_imports[_DOMAIN] = 1
    write_dynamic(model, path, operators=["MatMul", "Attention"])


def _has_plain_mask(attention: ir.Node) -> bool:
    # A table of floats behind a mask means that it adds more, such as MPNet's bias for each
    # distance.
    ahead, seen = list(attention.inputs[3:4]), set()
    while ahead:
        value = ahead.pop()
        array = constant(value)
        if array is not None and array.size > 1 and array.dtype.kind == "f":
            return False
        node = None if value is None else value.producer()
        if node is not None and node not in seen:
            seen.add(node)
            ahead += node.inputs
    return len(attention.inputs) > 3


def _projection(value: ir.Value | None) -> _Projection | None:
    add = producer(value, "Add")
    parts = biased(add)
    product = producer(value if parts is None else parts[0], "MatMul")
    weight = constant(product.inputs[1]) if product is not None else None
    if product is None or weight is None:
        return None
    bias = constant(parts[1]) if parts is not None else None
    zeros = np.zeros(weight.shape[1], dtype=np.float32)
    return _Projection(product.inputs[0], weight, zeros if bias is None else bias)

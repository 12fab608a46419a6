"""Operators that a parser does not know, written as ONNX itself defines them by others."""

from collections.abc import Collection
from typing import Any

import onnx
import onnx.inliner
import onnx_ir as ir

_DOMAIN = "lanner.expanded"


def expand_functions(model: ir.Model, operators: Collection[str]) -> ir.Model:
    """Replaces nodes by the bodies that ONNX's operator set has for them.

    Args:
        model: A graph whose types are inferred.
        operators: Names of operators of the standard set.

    Returns:
        Another model; what has no body stays as it is.
    """
    proto = ir.to_proto(model)
    opset = next(entry.version for entry in proto.opset_import if not entry.domain)
    types = {info.name: info.type for info in (*proto.graph.value_info, *proto.graph.input)}
    for tensor in proto.graph.initializer:
        types[tensor.name] = onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
    count = 0
    for node in proto.graph.node:
        if node.domain or node.op_type not in operators:
            continue
        body = _body(node, opset, types)
        if body is None:
            continue
        count += 1
        body.domain, body.name = _DOMAIN, f"{node.op_type}_{count}"
        proto.functions.append(body)
        node.domain, node.op_type = body.domain, body.name
    if not count:
        return model
    proto.opset_import.append(onnx.helper.make_opsetid(_DOMAIN, 1))
    inlined = onnx.inliner.inline_local_functions(proto)
    return ir.from_proto(inlined)


def _body(
    node: onnx.NodeProto, opset: int, types: dict[str, onnx.TypeProto]
) -> onnx.FunctionProto | None:
    schema: Any = onnx.defs.get_schema(node.op_type, opset)  # its stubs lack what follows
    body = onnx.FunctionProto()
    if schema.has_context_dependent_function:
        given = [types[name].SerializeToString() if name else b"" for name in node.input]
        body.ParseFromString(schema.get_context_dependent_function(node.SerializeToString(), given))
    elif schema.has_function:
        body.CopyFrom(schema.function_body)
    else:
        return None
    return body

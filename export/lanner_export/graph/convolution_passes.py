"""The rewrite of convolutions over single tokens: they are matrix products."""

import onnx_ir as ir

from lanner_export.graph.edits import add_constant, array_of, constant, insert, producer

_SWAP = [0, 2, 1]


def products_of_convolutions(model: ir.Model) -> int:
    """Multiply matrices where torch convolves over one token at a time, as SqueezeBERT does.

    A group of channels is a product of its own. int8 and the engines know products, and have no
    such convolutions.
    """
    count = 0
    for convolution in [node for node in model.graph if node.op_type == "Conv"]:
        weights = constant(convolution.inputs[1])
        if weights is None or weights.ndim != 3 or weights.shape[2] != 1:
            continue
        if any(convolution.attributes.get_ints("pads", [])) or not _is_step_by_step(convolution):
            continue
        _replace(convolution, model.graph)
        count += 1
    return count


def _is_step_by_step(convolution: ir.Node) -> bool:
    return list(convolution.attributes.get_ints("strides", [1])) == [1]


def _replace(convolution: ir.Node, graph: ir.Graph) -> None:
    """Replace a convolution by products between two transposes, which cancel out in a layer."""
    name, dtype = convolution.name or "convolution", convolution.outputs[0].dtype
    groups = convolution.attributes.get_int("group", 1)
    before = producer(convolution.inputs[0], "Transpose")
    if before is not None and list(before.attributes.get_ints("perm", [])) == _SWAP:
        tokens = before.inputs[0]
    else:
        swap = {"perm": _SWAP}
        source = [convolution.inputs[0]]
        tokens = insert(convolution, "Transpose", source, swap, name=f"{name}.tokens", dtype=dtype)
    parts = [tokens]
    if groups > 1:
        split = ir.node("Split", [tokens], {"axis": 2, "num_outputs": groups}, num_outputs=groups)
        for output in split.outputs:
            output.type = convolution.outputs[0].type
        graph.insert_before(convolution, split)
        parts = list(split.outputs)
    weights = array_of(convolution.inputs[1])[:, :, 0]
    rows = len(weights) // groups
    products = []
    for number, part in enumerate(parts):
        own = name if groups == 1 else f"{name}.{number}"
        matrix = add_constant(
            graph, f"{own}.weight", weights[number * rows : (number + 1) * rows].T
        )
        products.append(insert(convolution, "MatMul", [part, matrix], name=own, dtype=dtype))
    answer = products[0]
    if groups > 1:
        answer = insert(
            convolution, "Concat", products, {"axis": 2}, name=f"{name}.joined", dtype=dtype
        )
    if len(convolution.inputs) > 2:
        bias = [answer, convolution.inputs[2]]
        answer = insert(convolution, "Add", bias, name=f"{name}.biased", dtype=dtype)
    back = insert(
        convolution, "Transpose", [answer], {"perm": _SWAP}, name=f"{name}.channels", dtype=dtype
    )
    convolution.outputs[0].replace_all_uses_with(back)

"""Reading and writing ONNX files without a copy of their weights in memory.

A file is one protobuf message with its weights inside, as other exporters write it. Protobuf would
hold the whole message in memory, more than once: here the weights are written one by one, and when
a file is read they stay in it, mapped.
"""

from pathlib import Path

import onnx
import onnx_ir as ir

from lanner.engines.onnx.file import (
    FEWEST_BYTES,
    GRAPH,
    INITIALIZER,
    RAW_DATA,
    tag,
    without_weights,
)


def load(path: Path) -> ir.Model:
    """Load a graph, whose weights stay in the file.

    Args:
        path: An ONNX file, which must not change while the graph is in use.
    """
    model: ir.Model = ir.from_proto(onnx.ModelProto.FromString(without_weights(path)))
    ir.external_data.set_base_dir(model.graph, path.parent)
    return model


def unmap(value: ir.Value | None) -> None:
    """Let go of the pages of a weight that was read; it is mapped again if it is needed again."""
    if value is not None and isinstance(value.const_value, ir.ExternalTensor):
        value.const_value.release()


def save(model: ir.Model, path: Path) -> None:
    """Write a graph and its weights into one file.

    Args:
        model: The graph. It is as before afterwards.
        path: The new file, not one that weights of the graph lie in.
    """
    initializers = model.graph.initializers
    tensors = {name: value.const_value for name, value in initializers.items()}
    large = {n: t for n, t in tensors.items() if t is not None and t.nbytes >= FEWEST_BYTES}
    try:
        for name, tensor in large.items():
            initializers[name].const_value = ir.ExternalTensor(
                "",
                0,
                tensor.nbytes,
                tensor.dtype,
                shape=ir.Shape(tensor.shape.numpy()),
                name=name,
                base_dir="",
            )
        proto = ir.to_proto(model)
    finally:
        for name, tensor in large.items():
            initializers[name].const_value = tensor
    small = [tensor for tensor in proto.graph.initializer if tensor.name not in large]
    shells = [tensor for tensor in proto.graph.initializer if tensor.name in large]
    headers = [_header(tensor, large[tensor.name].nbytes) for tensor in shells]
    kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in small]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    graph = proto.graph.SerializeToString()
    names = [tensor.name for tensor in shells]
    proto.ClearField("graph")
    size = len(graph) + sum(map(len, headers)) + sum(large[name].nbytes for name in names)
    with path.open("wb") as file:
        file.write(proto.SerializeToString() + tag(GRAPH, size) + graph)
        for name, header in zip(names, headers, strict=True):
            file.write(header)
            file.flush()  # some tensors write past Python's buffer
            large[name].tofile(file)  # type: ignore[attr-defined]  # of every tensor since 0.1.11


def _header(tensor: onnx.TensorProto, size: int) -> bytes:
    """Return the bytes of an initializer before its data, of so many bytes."""
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")
    begin: bytes = tensor.SerializeToString() + tag(RAW_DATA, size)
    return tag(INITIALIZER, len(begin) + size) + begin

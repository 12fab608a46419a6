"""Reading and writing ONNX files without a copy of their weights in memory.

A file is one protobuf message with its weights inside, as other exporters write it. Protobuf would
hold the whole message in memory, more than once: here the weights are written one by one, and when
a file is read they stay in it, mapped. A message holds at most 2 GB: more weights are external data
of ONNX, in one file next to the graph.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

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

#: The most bytes of weights within a graph's file: protobuf's limit, minus room for the graph.
MOST_BYTES = 2**31 - 2**24
#: ONNX's convention for external data: from this size on, weights begin where Windows can map them.
_MAPPED_BYTES, _MAPPING, _ALIGNMENT = 2**20, 2**16, 2**6
_Tensors = dict[str, ir.TensorProtocol]


def data_path(path: Path) -> Path:
    """Return the path of a graph's external weights."""
    return path.with_name(path.name + ".data")


def weights_file(path: Path) -> str | None:
    """Return the name of the file of a graph's external weights; None if it has none."""
    return next((one.name for one in files_of(path)[1:]), None)


def files_of(path: Path) -> list[Path]:
    """Return an ONNX file, and the file of its external weights if it has one."""
    return [one for one in (path, data_path(path)) if one.is_file()]


def remove(path: Path) -> None:
    """Remove an ONNX file, and its weights with it."""
    for one in files_of(path):
        one.unlink()


def load(path: Path) -> ir.Model:
    """Load a graph, whose weights stay in their file.

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
    """Write a graph with its weights into one file, or more than `MOST_BYTES` of them beside it.

    Args:
        model: The graph. It is as before afterwards.
        path: The new file; the weights of the graph lie neither in it nor at its `data_path`.
    """
    tensors = {name: value.const_value for name, value in model.graph.initializers.items()}
    sizes = [tensor.nbytes for tensor in tensors.values() if tensor is not None]
    large = {n: t for n, t in tensors.items() if t is not None and t.nbytes >= FEWEST_BYTES}
    data_path(path).unlink(missing_ok=True)
    if sum(sizes) <= MOST_BYTES:
        _save_whole(model, large, path)
    else:
        _save_apart(model, large, path)


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """Return a graph as a message, which says the type of a weight once, with the weight.

    ONNX lists the types of other values, too. With those of weights the bytes of the same graph
    would depend on the order in which its weights were read.
    """
    proto: onnx.ModelProto = ir.to_proto(model)
    weights = {tensor.name for tensor in proto.graph.initializer}
    noted = [info for info in proto.graph.value_info if info.name not in weights]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(noted)
    return proto


def save_beside(model: ir.Model, path: Path) -> None:
    """Write a graph alone, whose larger weights stay in the files that it was loaded from.

    Args:
        model: A graph of `load`, perhaps changed.
        path: The new file, in the directory of those files.
    """
    path.write_bytes(to_proto(model).SerializeToString())


def _save_apart(model: ir.Model, large: _Tensors, path: Path) -> None:
    """Write the larger weights into a file of their own; the rest stays in the graph's."""
    data, places, end = data_path(path), dict[str, int](), 0
    for name, tensor in large.items():
        step = _MAPPING if tensor.nbytes >= _MAPPED_BYTES else _ALIGNMENT
        places[name] = -(-end // step) * step
        end = places[name] + tensor.nbytes
    with _external(model, large, data.name, places):
        path.write_bytes(to_proto(model).SerializeToString())
    with data.open("wb") as file:
        for name, tensor in large.items():
            file.seek(places[name])
            _write(tensor, file)


def _save_whole(model: ir.Model, large: _Tensors, path: Path) -> None:
    with _external(model, large, "", dict.fromkeys(large, 0)):
        proto = to_proto(model)
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
            _write(large[name], file)


@contextmanager
def _external(
    model: ir.Model, large: _Tensors, location: str, places: dict[str, int]
) -> Iterator[None]:
    """Let the larger weights of a graph be names of places in a file, within the block."""
    initializers = model.graph.initializers
    try:
        for name, tensor in large.items():
            initializers[name].const_value = ir.ExternalTensor(
                location,
                places[name],
                tensor.nbytes,
                tensor.dtype,
                shape=ir.Shape(tensor.shape.numpy()),
                name=name,
                base_dir="",
            )
        yield
    finally:
        for name, tensor in large.items():
            initializers[name].const_value = tensor


def _write(tensor: ir.TensorProtocol, file: BinaryIO) -> None:
    file.flush()  # some tensors write past Python's buffer
    tensor.tofile(file)  # type: ignore[attr-defined]  # of every tensor since 0.1.11


def _header(tensor: onnx.TensorProto, size: int) -> bytes:
    """Return the bytes of an initializer before its data, of so many bytes."""
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")
    begin: bytes = tensor.SerializeToString() + tag(RAW_DATA, size)
    return tag(INITIALIZER, len(begin) + size) + begin

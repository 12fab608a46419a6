import os
import re
from pathlib import Path
from typing import Any

import pytest

from lanner.artifact.manifest import Variant
from lanner.engines import model_file
from lanner.errors import ArtifactError

onnx = pytest.importorskip("onnx", reason="writes the graphs")

VARIANT = Variant("fp32", "fp32", "model.onnx", "onnxruntime", 23, {}, weights_file="a.data")


def write_graph(path: Path, place: str) -> None:
    """Write a graph whose weight is in another file, in place of the graph that is there."""
    weight: Any = onnx.TensorProto(name="weight", data_type=1, dims=[1])
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=place)
    graph = onnx.helper.make_graph([], "graph", [], [], [weight])
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())


def test_weights_of_another_variant_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_graph(path, "a.data")
    model_file.require_own_weights(path, VARIANT)
    # The file has the same length and time as before.
    status = path.stat()
    write_graph(path, "b.data")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    message = (
        f"{path} reads weights from 'b.data', which is not the weights_file of its variant fp32: "
        "do not use it, or export again"
    )
    with pytest.raises(ArtifactError, match=f"^{re.escape(message)}$"):
        model_file.require_own_weights(path, VARIANT)


def test_a_graph_is_looked_through_once(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_graph(path, "a.data")
    before = model_file._external_files.cache_info()
    for _ in range(3):
        model_file.require_own_weights(path, VARIANT)
    after = model_file._external_files.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (1, 2)


def test_what_cannot_be_read_is_left_to_the_engine(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x0f")
    model_file.require_own_weights(path, VARIANT)

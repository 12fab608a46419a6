"""Damaged artifacts whose checksums were made again: an error, or numbers, and nothing else."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import MANIFEST_FILE, FileRecord
from lanner.errors import EngineError
from lanner.loading.load import load

onnx = pytest.importorskip("onnx", reason="needs the export extra")
pytest.importorskip("lanner_native", reason="lanner-native is not built (make native)")

FILE = "model.int8.onnx"


def put(tensor: Any, values: Any) -> None:
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def weight_scales(model: Any) -> Any:
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type == "DequantizeLinear"]
    scales = [tensors[node.input[1]] for node in nodes]
    return next(tensor for tensor in scales if len(tensor.dims) == 1)


def words(model: Any) -> Any:
    return max(model.graph.initializer, key=lambda t: t.dims[0] if len(t.dims) == 2 else 0)


def no_number(model: Any) -> None:
    tensor = weight_scales(model)
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[3] = np.nan
    put(tensor, values)


def fewer_scales(model: Any) -> None:
    tensor = weight_scales(model)
    put(tensor, onnx.numpy_helper.to_array(tensor)[:-1].copy())


def fewer_words(model: Any) -> None:
    tensor = words(model)
    rows = tensor.dims[0]
    for other in model.graph.initializer:  # its scales, too
        if list(other.dims)[:1] == [rows]:
            put(other, onnx.numpy_helper.to_array(other)[: rows // 2].copy())


def bytes_missing(model: Any) -> None:
    tensor = words(model)
    tensor.raw_data = tensor.raw_data[:-7]


def more_bytes_said(model: Any) -> None:
    words(model).dims[0] *= 1_000_000


def redone(artifact: Artifact, directory: Path, content: bytes) -> Path:
    """A copy of an artifact with another model file, and its checksum."""
    shutil.copytree(artifact.directory, directory, dirs_exist_ok=True)
    (directory / FILE).write_bytes(content)
    manifest = Artifact.open(artifact.directory).manifest
    files = {**manifest.files, FILE: FileRecord.of(directory / FILE)}
    (directory / MANIFEST_FILE).write_bytes(replace(manifest, files=files).to_bytes())
    return directory


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_number, "could not load .*not finite|could not load .*finite"),
        (fewer_scales, "could not load|could not read|does not know"),
        (fewer_words, "could not run the batch: token id"),
        (bytes_missing, "could not read"),
        (more_bytes_said, "could not read"),
    ],
    ids=lambda item: item.__name__ if callable(item) else "",
)
def test_damage_is_an_error(
    damage: Callable[[Any], None], message: str, tiny_artifact: Artifact, tmp_path: Path
) -> None:
    model = onnx.load(tiny_artifact.file(FILE))
    damage(model)
    path = redone(tiny_artifact, tmp_path / "damaged.lanner", model.SerializeToString())
    with pytest.raises(EngineError, match=message):
        load(path, engine="native", variant="int8").runner.engine.run(
            {
                "input_ids": np.array([tiny_artifact.manifest.architecture.vocabulary_size - 1])
                .repeat(9)
                .astype(np.int32),
                "token_type_ids": np.zeros(9, np.int32),
                "starts": np.array([0, 9], np.int32),
            }
        )


FLIPS = """
import random, sys
from pathlib import Path
import numpy as np
from lanner.engines.native.engine import NativeEngine
from lanner.errors import EngineError

whole, path, count = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]), int(sys.argv[3])
chance, ran = random.Random(0), 0
feed = {
    "input_ids": np.arange(40, dtype=np.int32),
    "token_type_ids": np.zeros(40, np.int32),
    "starts": np.array([0, 1, 25, 40], np.int32),
}
for number in range(count):
    changed = bytearray(whole)
    for _ in range(chance.choice((1, 5))):
        # Structure is at the front, between tensors and at the end.
        changed[chance.randrange(len(whole))] = chance.randrange(256)
    path.write_bytes(changed[: chance.choice((len(whole), len(whole) - chance.randrange(99)))])
    try:
        ran += NativeEngine(path, threads=2).run(feed, is_alone=True).shape[0] == 3
    except EngineError:
        pass
print("ran", ran, "of", count)
"""


def test_random_damage_is_an_error_or_a_number(tiny_artifact: Artifact, tmp_path: Path) -> None:
    """In a process of its own, which a read beyond a table would end."""
    command = [sys.executable, "-c", FLIPS]
    command += [str(tiny_artifact.file(FILE)), str(tmp_path / FILE), "60"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ran ")

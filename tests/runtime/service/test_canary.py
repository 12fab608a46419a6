"""The canary: an artifact whose int8 scales are 1 % larger is found."""

import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("uvicorn", reason="needs the extra 'service'")
pytest.importorskip("onnx", reason="needs the export extra to change a graph")

import onnx
from tests.support.service import Service, serving
from tests.support.word_artifact import write_word_artifact

from lanner import Artifact
from lanner.artifact.manifest import MANIFEST_FILE
from lanner.artifact.records import FileRecord
from lanner.errors import InputError, UsageError
from lanner.service.core.canary import TEXTS, Known, read_known, to_bytes
from lanner.service.known_answers import write_known_answers
from lanner.service.protection import open_canary
from lanner.service.settings import Settings


def vector(numbers: list[float]) -> NDArray[np.float32]:
    return np.array(numbers, np.float32)


def with_larger_scales(artifact: Path, target: Path, factor: float) -> Path:
    """Copy an artifact, and multiply every scale of int8 weights."""
    shutil.copytree(artifact, target)
    file = target / "model.int8.onnx"
    model = onnx.load(file)
    weights = {one.name for one in model.graph.initializer}
    scales = {
        node.input[1]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in weights
    }
    assert scales
    for one in model.graph.initializer:
        if one.name in scales:
            value = onnx.numpy_helper.to_array(one) * np.float32(factor)
            one.CopyFrom(onnx.numpy_helper.from_array(value.astype(np.float32), one.name))
    onnx.save(model, file)
    manifest = Artifact.open(artifact).manifest
    files = {**manifest.files, file.name: FileRecord.of(file)}
    content = replace(manifest, files=files).to_bytes()
    (target / MANIFEST_FILE).write_bytes(content)
    return target


def gauge(service: Service, name: str) -> float | None:
    found = re.search(rf'^{name}{{model="m"}} (\S+)$', service.get("/metrics").body.decode(), re.M)
    return float(found[1]) if found else None


def difference(service: Service) -> float:
    deadline = time.monotonic() + 30
    while (found := gauge(service, "lanner_canary_difference")) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_scales_that_changed_by_one_percent_are_found(
    tiny_artifact: Artifact, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    known = tmp_path / "canary.json"
    options: dict[str, Any] = {"variant": "int8", "engine": "onnxruntime"}
    write_known_answers(Settings(models={"m": str(tiny_artifact.directory)}, **options), known)
    options |= {"canary": str(known), "probe_s": 0.1}
    with serving({"m": tiny_artifact.directory}, **options) as service:
        assert difference(service) < 1e-6
        assert gauge(service, "lanner_vectors_changed") == 0
        assert gauge(service, "lanner_model_ready") == 1
    assert "answers known texts otherwise" not in capfd.readouterr().err
    changed = with_larger_scales(tiny_artifact.directory, tmp_path / "changed.lanner", 1.01)
    with serving({"m": changed}, **options) as service:
        assert difference(service) > 0.005
        assert gauge(service, "lanner_vectors_changed") == 1
        assert service.get("/ready").status == 200  # an alert decides, not each pod for itself
    assert "the model m answers known texts otherwise: the relative difference is" in (
        capfd.readouterr().err
    )


def test_known_answers_are_compared_by_their_relative_difference() -> None:
    known = Known(["a", "b"], [vector([3, 4]), vector([0, 0])])
    # The difference (0, 1) has the length 1, the known answer 5; to zeros lengths are absolute.
    assert known.difference([vector([3, 5]), vector([0, 0])]) == pytest.approx(0.2)
    assert known.difference([vector([3, 4]), vector([0, 0.5])]) == pytest.approx(0.5)
    assert known.difference([vector([3, 4, 0]), vector([0, 0])]) == float("inf")


def test_a_file_of_known_answers_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "canary.json"
    file.write_bytes(to_bytes({"m": Known(["Ü"], [vector([0.1, -2])])}))
    ((name, read),) = read_known(file).items()
    assert (name, list(read.texts)) == ("m", ["Ü"])
    assert read.answers[0].tolist() == vector([0.1, -2]).tolist()
    file.write_text('{"format": "lanner-canary", "format_version": 1, "models": {"m": {}}}')
    with pytest.raises(InputError, match=r"canary\.json is no file of known answers: make"):
        read_known(file)
    with pytest.raises(InputError, match=r"none cannot be read: No such file or directory$"):
        read_known(tmp_path / "none")
    file.write_bytes(to_bytes({"other": Known(["a"], [vector([1])])}))
    settings = Settings(models={"m": "m"}, canary=str(file))
    with pytest.raises(UsageError, match=r"knows other, and the service has m: name it so$"):
        open_canary(settings)


@pytest.mark.slow
def test_the_command_writes_what_the_service_reads(tmp_path: Path) -> None:
    artifact = write_word_artifact(tmp_path / "m.lanner")
    known = tmp_path / "canary.json"
    command = [sys.executable, "-m", "lanner", "serve", str(artifact), "--write-canary", str(known)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert list(read_known(known)["m"].texts) == list(TEXTS)
    with serving({"m": artifact}, canary=str(known), probe_s=0.1) as service:
        assert difference(service) == 0

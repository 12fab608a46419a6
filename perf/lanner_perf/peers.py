"""What others make of the same checkpoint: the backends of sentence-transformers.

They need an environment of their own, because they hold transformers back at 4.57. `make_peers`
runs this file there, where it writes the model files and says which it could not. It imports
nothing but the standard library until then.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanner_perf.launch import program
from lanner_perf.subjects import Spec, last_line, subject_environment

FRAMEWORK = "sentence-transformers"
#: The kinds of CPU that optimum knows recipes for, with the flag that each needs, best first.
QUANTIZATIONS = (("avx512_vnni", "avx512_vnni"), ("avx512", "avx512f"), ("avx2", "avx2"))
_CALIBRATION_DIRECTORY, _REASONS_FILE = "calibration", "reasons.json"


@dataclass(frozen=True)
class Peer:
    """One backend with one model file.

    Attributes:
        name: What the tables call it, after "sentence-transformers".
        backend: As sentence-transformers calls it.
        file: Its model file, in the directory of all peers.
        precision: Of its weights and matrix products.
        compute: The type that OpenVINO is told to compute in; empty for its own choice.
    """

    name: str
    backend: str
    file: str
    precision: str
    compute: str = ""

    def spec(self, directory: Path, python: str) -> Spec:
        """What measures it."""
        options = {"backend": self.backend, "file": self.file, "precision": self.precision}
        if self.compute:
            options["compute"] = self.compute
        name = f"{FRAMEWORK} {self.name}"
        return Spec(name, FRAMEWORK, str(directory), options, python, is_optional=True)


def peers(quantization: str) -> list[Peer]:
    """All that are measured; `quantization` is one of `QUANTIZATIONS`."""
    openvino = "openvino/openvino_model.xml"
    openvino_int8 = "openvino/openvino_model_qint8_quantized.xml"
    return [
        Peer("onnx fp32", "onnx", "onnx/model.onnx", "fp32"),
        Peer("onnx O3", "onnx", "onnx/model_O3.onnx", "fp32"),
        Peer("onnx qint8", "onnx", f"onnx/model_qint8_{quantization}.onnx", "int8 dynamic"),
        Peer("openvino", "openvino", openvino, "fp32"),
        Peer("openvino f32", "openvino", openvino, "fp32", compute="f32"),
        Peer("openvino qint8", "openvino", openvino_int8, "int8 static"),
    ]


def quantization_for(cpu_flags: Sequence[str]) -> str:
    """The recipe of dynamic quantization that fits the CPU."""
    return next((name for name, flag in QUANTIZATIONS if flag in cpu_flags), "arm64")


def make_peers(
    checkpoint: str, python: Path, directory: Path, *, quantization: str, calibration: list[str]
) -> dict[str, str]:
    """Writes the model files of all peers, in their own environment.

    Args:
        checkpoint: A checkpoint of sentence-transformers.
        python: The interpreter of that environment.
        directory: Where they go; it is there.
        quantization: One of `QUANTIZATIONS`.
        calibration: Texts for the ranges of OpenVINO's int8.

    Returns:
        Why a file could not be made, by its name; empty where all could.
    """
    files = {peer.file for peer in peers(quantization)}
    if not python.exists():
        return dict.fromkeys(files, f"there is no {python}: `make peers` installs it")
    texts = directory / _CALIBRATION_DIRECTORY
    texts.mkdir()
    lines = [json.dumps({"sentence": text}) + "\n" for text in calibration]
    (texts / "train.jsonl").write_text("".join(lines))
    # Without its own, datasets would write into the user's cache.
    environment = {**subject_environment(1), "HF_HOME": str(directory / "cache")}
    code = program("from lanner_perf.peers import main; main()")
    command = [str(python), "-c", code, checkpoint, str(directory), quantization]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        return dict.fromkeys(files, last_line(done.stderr))
    reasons: dict[str, str] = json.loads((directory / _REASONS_FILE).read_text())
    return reasons


def main() -> None:
    """Runs in the peers' environment."""
    checkpoint, directory, quantization = sys.argv[1:]
    target = Path(directory)
    onnx, onnx_o3, onnx_int8, openvino, _, openvino_int8 = peers(quantization)
    reasons = {
        **_make(
            checkpoint,
            "onnx",
            {
                onnx.file: lambda model: model.save_pretrained(directory),
                onnx_o3.file: lambda model: _optimize(model, target),
                onnx_int8.file: lambda model: _quantize_onnx(model, target, quantization),
            },
        ),
        **_make(
            checkpoint,
            "openvino",
            {
                openvino.file: lambda model: model.save_pretrained(directory),
                openvino_int8.file: lambda model: _quantize_openvino(model, target),
            },
        ),
    }
    (target / _REASONS_FILE).write_text(json.dumps(reasons))


def _make(checkpoint: str, backend: str, steps: dict[str, Callable[[Any], None]]) -> dict[str, str]:
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    try:
        model = SentenceTransformer(
            checkpoint, device="cpu", backend=backend, model_kwargs={"export": True}
        )
    except Exception as error:  # noqa: BLE001 (whatever a backend met is the report's to say)
        return dict.fromkeys(steps, _reason(error))
    reasons = {}
    for file, step in steps.items():
        try:
            step(model)
        except Exception as error:  # noqa: BLE001
            reasons[file] = _reason(error)
    return reasons


def _optimize(model: Any, directory: Path) -> None:
    from sentence_transformers import export_optimized_onnx_model  # noqa: PLC0415

    export_optimized_onnx_model(model, "O3", str(directory))


def _quantize_onnx(model: Any, directory: Path, quantization: str) -> None:
    from sentence_transformers import export_dynamic_quantized_onnx_model  # noqa: PLC0415

    export_dynamic_quantized_onnx_model(model, quantization, str(directory))


def _quantize_openvino(model: Any, directory: Path) -> None:
    from sentence_transformers import export_static_quantized_openvino_model  # noqa: PLC0415

    export_static_quantized_openvino_model(
        model,
        None,  # its own defaults
        str(directory),
        dataset_name=str(directory / _CALIBRATION_DIRECTORY),
        dataset_config_name="default",
        dataset_split="train",
        column_name="sentence",
    )


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]

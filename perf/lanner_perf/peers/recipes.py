"""Recipes for the model files of the peers, each made with its runtime's own tools.

`make` runs this module in the environment `ENVIRONMENT`. There it writes the folders of a recipe,
and tells which files could not be made. It imports only the standard library until then.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lanner_perf.loading.plain import Embedding
from lanner_perf.subjects.launch import program
from lanner_perf.subjects.subject import SubjectError, last_line, subject_environment

ENVIRONMENT = "sentence-transformers"
#: The folder that sentence-transformers writes and reads, and the folder for all other runtimes.
FRAMEWORK, PLAIN = "sentence-transformers", "plain"
ONNX, ONNX_O3 = f"{FRAMEWORK}/onnx/model.onnx", f"{FRAMEWORK}/onnx/model_O3.onnx"
OPENVINO = f"{FRAMEWORK}/openvino/openvino_model.xml"
OPENVINO_QINT8 = f"{FRAMEWORK}/openvino/openvino_model_qint8_quantized.xml"
CTRANSLATE2, CTRANSLATE2_INT8 = "float32", "int8"
_CACHE, _CALIBRATION, _SETTINGS, _REASONS = "cache", "calibration", "settings.json", "reasons.json"


def make(
    recipe: str, python: Path, checkpoint: str, directory: Path, settings: Mapping[str, Any]
) -> dict[str, str]:
    """Run a recipe in its environment.

    Args:
        recipe: One of `RECIPES`.
        python: The interpreter of that environment.
        checkpoint: A checkpoint of sentence-transformers.
        directory: An existing directory for the files.
        settings: ``quantization`` for ONNX, and ``calibration`` texts for OpenVINO.

    Returns:
        The reason of each failure, by the name of the file in `directory`; empty if all files were
            made.

    Raises:
        SubjectError: No file could be made.
    """
    (directory / _SETTINGS).write_text(json.dumps(settings))
    # Without a cache here, some tools would write into the user's cache.
    environment = {**subject_environment(1), "HF_HOME": str(directory / _CACHE)}
    code = program("from lanner_perf.peers.recipes import main; main()")
    command = [str(python), "-c", code, recipe, checkpoint, str(directory)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SubjectError(last_line(done.stderr))
    reasons: dict[str, str] = json.loads((directory / _REASONS).read_text())
    for name in (_CACHE, _CALIBRATION):
        shutil.rmtree(directory / name, ignore_errors=True)
    return reasons


def main() -> None:
    """Run a recipe in the peers' environment."""
    recipe, checkpoint, name = sys.argv[1:]
    directory = Path(name)
    settings = json.loads((directory / _SETTINGS).read_text())
    reasons: dict[str, str] = {}
    for file, step in RECIPES[recipe](checkpoint, directory, settings).items():
        try:
            step()
        except Exception as error:  # noqa: BLE001 (the report tells the reason)
            reasons[file] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    (directory / _REASONS).write_text(json.dumps(reasons))


def onnx_qint8(quantization: str) -> str:
    """Return the name of the file that a recipe of dynamic quantization makes."""
    return f"{FRAMEWORK}/onnx/model_qint8_{quantization}.onnx"


Steps = dict[str, Callable[[], object]]


def onnx_steps(checkpoint: str, directory: Path, settings: Mapping[str, Any]) -> Steps:
    """Return the steps that write the files of sentence-transformers' onnx backend, and `PLAIN`."""
    from sentence_transformers import (  # noqa: PLC0415
        export_dynamic_quantized_onnx_model,
        export_optimized_onnx_model,
    )

    model, framework = _exported(checkpoint, "onnx"), str(directory / FRAMEWORK)
    quantization = settings["quantization"]
    return {
        ONNX: lambda: model.save_pretrained(framework),
        ONNX_O3: lambda: export_optimized_onnx_model(model, "O3", framework),
        onnx_qint8(quantization): lambda: export_dynamic_quantized_onnx_model(
            model, quantization, framework
        ),
        PLAIN: lambda: write_plain(model, directory / PLAIN),
    }


def openvino_steps(checkpoint: str, directory: Path, settings: Mapping[str, Any]) -> Steps:
    """Return the steps that write the files of sentence-transformers' openvino backend."""
    from sentence_transformers import export_static_quantized_openvino_model  # noqa: PLC0415

    model = _exported(checkpoint, "openvino")
    framework, texts = str(directory / FRAMEWORK), directory / _CALIBRATION

    def quantize() -> None:
        texts.mkdir()
        lines = [json.dumps({"sentence": text}) + "\n" for text in settings["calibration"]]
        (texts / "train.jsonl").write_text("".join(lines))
        export_static_quantized_openvino_model(
            model,
            None,  # its own defaults
            framework,
            dataset_name=str(texts),
            dataset_config_name="default",
            dataset_split="train",
            column_name="sentence",
        )

    return {
        OPENVINO: lambda: model.save_pretrained(framework),
        OPENVINO_QINT8: quantize,
    }


def ctranslate2_steps(checkpoint: str, directory: Path, settings: Mapping[str, Any]) -> Steps:
    """Return the steps of CTranslate2's converter, each model with a plain folder's tokenizer."""
    from ctranslate2.converters import TransformersConverter  # noqa: PLC0415
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    model = SentenceTransformer(checkpoint, device="cpu")

    def convert(precision: str, quantization: str | None) -> None:
        folder = directory / precision
        TransformersConverter(checkpoint).convert(str(folder), quantization=quantization)
        config = (folder / "config.json").read_bytes()  # transformers' file has the same name
        write_plain(model, folder)
        (folder / "config.json").write_bytes(config)

    return {
        CTRANSLATE2: lambda: convert(CTRANSLATE2, None),
        CTRANSLATE2_INT8: lambda: convert(CTRANSLATE2_INT8, "int8"),
    }


RECIPES: dict[str, Callable[[str, Path, Mapping[str, Any]], Steps]] = {
    "onnx": onnx_steps,
    "openvino": openvino_steps,
    "ctranslate2": ctranslate2_steps,
}


def write_plain(model: Any, directory: Path) -> None:
    """Write the tokenizer and configuration of a `SentenceTransformer` for readers of plain files.

    Raises:
        ValueError: The model has modules that those readers cannot run.
    """
    modules = [type(module).__name__ for module in model]
    pooling = str(model[1].pooling_mode) if modules[1:2] == ["Pooling"] else ""
    if modules[2:] not in ([], ["Normalize"]) or pooling not in ("mean", "cls"):
        has = ", ".join(modules) + (f", with the pooling {pooling}" if pooling else "")
        msg = f"it can run only a Transformer with mean or cls pooling, and this model has {has}"
        raise ValueError(msg)
    directory.mkdir(parents=True, exist_ok=True)
    model.tokenizer.save_pretrained(directory)
    model[0].auto_model.config.save_pretrained(directory)
    # sentence-transformers stores the limit in a file of its own; the other files may have older
    # limits, which other readers would use.
    limit = int(model.max_seq_length)
    edit_json(directory / "tokenizer_config.json", {"max_length": limit, "model_max_length": limit})
    right = {"direction": "Right", "strategy": "LongestFirst", "stride": 0, "max_length": limit}
    edit_json(directory / "tokenizer.json", {"truncation": right, "padding": None})
    dimension = int(model[1].get_config_dict()["embedding_dimension"])
    Embedding(pooling, "Normalize" in modules, dimension, limit).write(directory)


def _exported(checkpoint: str, backend: str) -> Any:
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    export = {"export": True}
    return SentenceTransformer(checkpoint, device="cpu", backend=backend, model_kwargs=export)


def edit_json(file: Path, changes: Mapping[str, Any]) -> None:
    """Set keys of an object in a file."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

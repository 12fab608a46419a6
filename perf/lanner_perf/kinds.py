"""The kinds of subjects: how each is imported and loaded, and what it says of itself.

This module runs in the subject's process, which may be of an environment without Lanner: it
imports nothing but the standard library until a kind is loaded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lanner_perf.resident import resident_mb

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lanner.similarity import Vectors

Encode = Callable[..., "Vectors"]
#: Texts and callers to the milliseconds of each call.
AnswerMany = Callable[[list[str], int], list[float]]
#: Distributions whose versions a report names.
PACKAGES = (
    "lanner",
    "nncf",
    "numpy",
    "onnxruntime",
    "openvino",
    "optimum",
    "optimum-intel",
    "optimum-onnx",
    "sentence-transformers",
    "tokenizers",
    "torch",
    "transformers",
)
#: What a backend of sentence-transformers imports when it loads its first model.
_BACKEND_MODULES = {"torch": (), "onnx": ("optimum.onnxruntime",), "openvino": ("optimum.intel",)}


class Loaded(NamedTuple):
    """A subject that is ready to answer.

    Attributes:
        encode: Texts, or one, to vectors; takes `batch_size`.
        import_s: How long the imports took.
        load_s: How long loading took after them.
        facts: What the report says of it; `model_bytes` is the size of its model's files.
        versions: The distributions of its environment, of `PACKAGES`.
        imported_mb: Resident memory after the imports, where it was read.
        answer_many: Its own way to have so many callers at once, each with one text a call; None
            for threads that call `encode`.
    """

    encode: Encode
    import_s: float
    load_s: float
    facts: dict[str, Any]
    versions: dict[str, str]
    imported_mb: float | None = None
    answer_many: AnswerMany | None = None


def load_lanner(path: str, options: Mapping[str, str], threads: int) -> Loaded:
    """A variant of an artifact; `options` names it as ``variant``."""
    begin = time.perf_counter()
    import lanner  # noqa: PLC0415 (its import is what is timed)

    imported, imported_mb = time.perf_counter(), resident_mb()
    model = lanner.load(path, variant=options["variant"], threads=threads)
    loaded = time.perf_counter()
    variant, files = model.variant, model.manifest.files
    facts = {
        "engine": model.runner.engine.name,
        "precision": variant.precision,
        "token_budget": model.runner.token_budget,
        "model_bytes": sum(files[name].bytes for name in variant.files),
    }
    times = imported - begin, loaded - imported
    return Loaded(model.encode, *times, facts, _versions(), imported_mb)


def load_onnx_file(path: str, options: Mapping[str, str], threads: int) -> Loaded:
    """An ONNX file of someone else in Lanner's place: the same tokenizer, batches and threads.

    `options` names an ``artifact`` of the same checkpoint and the file's ``precision``. The session
    has a thread, as Lanner's have, and else the settings of ONNX Runtime.
    """
    begin = time.perf_counter()
    import onnxruntime as ort  # noqa: PLC0415

    from lanner.artifact import Artifact  # noqa: PLC0415
    from lanner.loading import open_model  # noqa: PLC0415

    class StockEngine:
        name, run_tokens = "onnxruntime", 2

        def __init__(self) -> None:
            settings = ort.SessionOptions()
            settings.intra_op_num_threads = settings.inter_op_num_threads = 1
            self._session = ort.InferenceSession(path, settings, ["CPUExecutionProvider"])

        def run(
            self, inputs: Mapping[str, NDArray[np.int64]], *, is_alone: bool = False
        ) -> NDArray[np.float32]:
            vectors: NDArray[np.float32] = self._session.run(None, dict(inputs))[0]
            return vectors

    imported, imported_mb = time.perf_counter(), resident_mb()
    artifact = Artifact.open(options["artifact"])
    manifest = artifact.manifest
    model = open_model(
        manifest,
        manifest.variants[0],
        tokenizer=artifact.file(manifest.tokenizer.file),
        engine=StockEngine(),
        workers=threads,
    )
    loaded = time.perf_counter()
    facts = {
        "engine": "onnxruntime",
        "precision": options["precision"],
        "token_budget": model.runner.token_budget,
        "model_bytes": Path(path).stat().st_size,
    }
    times = imported - begin, loaded - imported
    return Loaded(model.encode, *times, facts, _versions(), imported_mb)


def load_sentence_transformers(path: str, options: Mapping[str, str], threads: int) -> Loaded:
    """A `SentenceTransformer`, of torch or of what `options` names as ``backend``.

    Of a backend `options` also names the ``file`` within `path`, its ``precision``, and for
    OpenVINO, which computes in bfloat16 where the CPU can unless it is told, the ``compute`` type
    if it is not to choose.
    """
    backend = options.get("backend", "torch")
    begin = time.perf_counter()
    import torch  # noqa: PLC0415
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415

    for module in _BACKEND_MODULES[backend]:
        import_module(module)
    logging.disable_progress_bar()
    imported, imported_mb = time.perf_counter(), resident_mb()
    torch.set_num_threads(threads)  # pooling is torch's in every backend
    settings = _backend_settings(backend, options, threads)
    model = SentenceTransformer(path, device="cpu", backend=backend, model_kwargs=settings)
    loaded = time.perf_counter()
    if backend == "torch":
        precision = str(next(model.parameters()).dtype).removeprefix("torch.")
        files = list(Path(path).rglob("*.safetensors"))
    else:
        precision = options["precision"]
        files = list((Path(path) / options["file"]).parent.glob(f"{Path(options['file']).stem}.*"))
    facts = {
        "engine": backend,
        "precision": precision,
        "model_bytes": sum(file.stat().st_size for file in files),
    }
    if backend == "openvino":
        compiled = model[0].auto_model.request
        hint = compiled.get_property("INFERENCE_PRECISION_HINT")
        facts["compute"] = str(hint.get_type_name())

    def encode(texts: str | list[str], batch_size: int = 32) -> Vectors:
        vectors: Vectors = model.encode(texts, batch_size=batch_size, show_progress_bar=False)
        return vectors

    times = imported - begin, loaded - imported
    return Loaded(encode, *times, facts, _versions(), imported_mb)


def _backend_settings(backend: str, options: Mapping[str, str], threads: int) -> dict[str, Any]:
    if backend == "onnx":
        import onnxruntime as ort  # noqa: PLC0415

        session = ort.SessionOptions()
        session.intra_op_num_threads, session.inter_op_num_threads = threads, 1
        return {
            "file_name": options["file"],
            "provider": "CPUExecutionProvider",
            "session_options": session,
        }
    if backend == "openvino":
        config = {"INFERENCE_NUM_THREADS": str(threads)}
        if "compute" in options:
            config["INFERENCE_PRECISION_HINT"] = options["compute"]
        return {"file_name": options["file"], "ov_config": config}
    return {}


def _versions() -> dict[str, str]:
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


KINDS: dict[str, Callable[[str, Mapping[str, str], int], Loaded]] = {
    "lanner": load_lanner,
    "onnx-file": load_onnx_file,
    "sentence-transformers": load_sentence_transformers,
}

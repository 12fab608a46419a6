"""sentence-transformers with any of its backends."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanner_perf.loading.loaded import Loaded, Start, size_of

if TYPE_CHECKING:
    from lanner.vectors.similarity import Vectors

#: The modules that a backend imports when it loads its first model.
_MODULES = {"torch": (), "onnx": ("optimum.onnxruntime",), "openvino": ("optimum.intel",)}


def load_sentence_transformers(path: str, options: Mapping[str, str], threads: int) -> Loaded:
    """Load a `SentenceTransformer` with torch, or with the ``backend`` that `options` names.

    For torch, `options` may name another ``dtype`` than the checkpoint's. For another backend, it
    names the ``file`` within `path` and its ``precision``. OpenVINO chooses bfloat16 if the CPU has
    it, unless `options` names the ``compute`` type.
    """
    backend = options.get("backend", "torch")
    start = Start(options, threads)
    import torch  # noqa: PLC0415 (its import is what is timed)
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415

    for module in _MODULES[backend]:
        import_module(module)
    logging.disable_progress_bar()
    start.imported()
    torch.set_num_threads(threads)  # every backend pools with torch
    settings = _settings(backend, options, threads)
    model = SentenceTransformer(path, device="cpu", backend=backend, model_kwargs=settings)
    if "dtype" in options:
        model.to(getattr(torch, options["dtype"]))
    start.loaded()
    if backend == "torch":
        precision = str(next(model.parameters()).dtype).removeprefix("torch.")
        files = list(Path(path).rglob("*.safetensors"))
    else:
        precision = options["precision"]
        files = list((Path(path) / options["file"]).parent.glob(f"{Path(options['file']).stem}.*"))
    facts = {"engine": backend, "precision": precision, "model_bytes": size_of(*files)}
    if backend == "openvino":
        compiled = model[0].auto_model.request
        hint = compiled.get_property("INFERENCE_PRECISION_HINT")
        facts["compute"] = str(hint.get_type_name())

    def encode(texts: str | list[str], batch_size: int = 32) -> Vectors:
        vectors: Vectors = model.encode(texts, batch_size=batch_size, show_progress_bar=False)
        return vectors

    return start.done(encode, facts)


def _settings(backend: str, options: Mapping[str, str], threads: int) -> dict[str, Any]:
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

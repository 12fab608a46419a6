"""An ONNX file from another exporter, run in place of Lanner's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lanner_perf.loading.loaded import Loaded, Start, size_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def load_onnx_file(path: str, options: Mapping[str, str], threads: int) -> Loaded:
    """Load it with Lanner's tokenizer, batches and threads, and a session of ONNX Runtime.

    `options` names an ``artifact`` of the same checkpoint and the file's ``precision``. The session
    has one thread, as Lanner's sessions have; its other settings are ONNX Runtime's defaults.
    """
    start = Start(options, threads)
    import onnxruntime as ort  # noqa: PLC0415 (its import is what is timed)

    from lanner.artifact.artifact import Artifact  # noqa: PLC0415
    from lanner.loading.load import open_model  # noqa: PLC0415

    class StockEngine:
        name, run_tokens = "onnxruntime", 2

        def __init__(self) -> None:
            settings = ort.SessionOptions()
            settings.intra_op_num_threads = settings.inter_op_num_threads = 1
            self._session = ort.InferenceSession(path, settings, ["CPUExecutionProvider"])

        def run(
            self,
            inputs: Mapping[str, NDArray[np.int64]],
            *,
            is_alone: bool = False,
            deadline_s: float | None = None,
        ) -> NDArray[np.float32]:
            vectors: NDArray[np.float32] = self._session.run(None, dict(inputs))[0]
            return vectors

    start.imported()
    artifact = Artifact.open(options["artifact"])
    manifest = artifact.manifest
    model = open_model(
        manifest,
        manifest.variants[0],
        tokenizer=artifact.file(manifest.tokenizer.file),
        engine=StockEngine(),
        workers=threads,
    )
    start.loaded()
    facts = {
        "engine": "onnxruntime",
        "precision": options["precision"],
        "token_budget": model.runner.token_budget,
        "model_bytes": size_of(Path(path)),
    }
    return start.done(model.encode, facts)

"""light-embed, with an ONNX file of the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lanner_perf.loading.limits import bound_sessions
from lanner_perf.loading.loaded import Loaded, Start, size_of
from lanner_perf.loading.plain import Embedding

if TYPE_CHECKING:
    from lanner.vectors.similarity import Vectors


def load_light_embed(path: str, options: Mapping[str, str], threads: int) -> Loaded:
    """Load its `TextEmbedding` of a folder; `options` names the ``file`` and ``precision``."""
    start = Start(options, threads)
    bound_sessions(threads)
    import numpy as np  # noqa: PLC0415
    from light_embed import TextEmbedding  # noqa: PLC0415 (its import is what is timed)

    start.imported()
    embedding = Embedding.read(Path(path))
    config = {
        "onnx_file": options["file"],
        "pooling_mode": embedding.pooling,
        "normalize": embedding.is_normalized,
    }
    model = TextEmbedding(path, device="cpu", model_config=config)
    start.loaded()
    facts = {
        "engine": "onnxruntime",
        "precision": options["precision"],
        "model_bytes": size_of(Path(path) / options["file"]),
    }

    def encode(texts: str | list[str], batch_size: int = 32) -> Vectors:
        return np.asarray(model.encode(texts, batch_size=batch_size), np.float32)

    return start.done(encode, facts)

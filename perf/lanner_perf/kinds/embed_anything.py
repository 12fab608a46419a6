"""EmbedAnything: ONNX Runtime from Rust."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lanner_perf.kinds.limits import bound_cores
from lanner_perf.kinds.loaded import Loaded, Start, size_of

if TYPE_CHECKING:
    from lanner.vectors.similarity import Vectors

#: What the model is called in the cache of a hub, and where its only snapshot is.
NAME = "local/model"
SNAPSHOT = Path("hub/models--local--model/snapshots/0")
REFERENCE = Path("hub/models--local--model/refs/main")


def load_embed_anything(path: str, options: Mapping[str, str], threads: int) -> Loaded:
    """Its `EmbeddingModel`, which reads from a hub or, as here, from the cache of one.

    `options` names the ``file`` and ``precision``; `path` is the cache.
    """
    start = Start({**options, "cache": path}, threads)
    bound_cores(threads)
    import embed_anything  # noqa: PLC0415 (its import is what is timed)
    import numpy as np  # noqa: PLC0415

    start.imported()
    model = embed_anything.EmbeddingModel.from_pretrained_onnx(
        embed_anything.WhichModel.Bert, hf_model_id=NAME, path_in_repo=options["file"]
    )
    start.loaded()
    facts = {
        "engine": "onnxruntime",
        "precision": options["precision"],
        "model_bytes": size_of(Path(path) / SNAPSHOT / options["file"]),
    }

    def encode(texts: str | list[str], batch_size: int = 32) -> Vectors:
        many = [texts] if isinstance(texts, str) else texts
        config = embed_anything.TextEmbedConfig(batch_size=batch_size)
        answers = model.embed_query(many, config=config)
        vectors = np.array([answer.embedding for answer in answers], np.float32)
        return vectors[0] if isinstance(texts, str) else vectors

    return start.done(encode, facts)

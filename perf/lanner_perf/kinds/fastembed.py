"""FastEmbed, with an ONNX file of the checkpoint as a custom model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lanner_perf.loading.loaded import Loaded, Start, size_of
from lanner_perf.loading.plain import Embedding

if TYPE_CHECKING:
    from lanner.vectors.similarity import Vectors

_NAME = "local/model"


def load_fastembed(path: str, options: Mapping[str, str], threads: int) -> Loaded:
    """Load its `TextEmbedding` of a folder; `options` names the ``file`` and ``precision``."""
    start = Start(options, threads)
    import numpy as np  # noqa: PLC0415
    from fastembed import TextEmbedding  # noqa: PLC0415 (its import is what is timed)
    from fastembed.common.model_description import ModelSource, PoolingType  # noqa: PLC0415

    start.imported()
    embedding = Embedding.read(Path(path))
    TextEmbedding.add_custom_model(
        _NAME,
        pooling=PoolingType.MEAN if embedding.pooling == "mean" else PoolingType.CLS,
        normalization=embedding.is_normalized,
        sources=ModelSource(url="file:"),  # required, but nothing is fetched when a path is given
        dim=embedding.dimension,
        model_file=options["file"],
    )
    model = TextEmbedding(
        _NAME, cache_dir=options["cache"], threads=threads, specific_model_path=path
    )
    start.loaded()
    facts = {
        "engine": "onnxruntime",
        "precision": options["precision"],
        "model_bytes": size_of(Path(path) / options["file"]),
    }

    def encode(texts: str | list[str], batch_size: int = 32) -> Vectors:
        vectors = np.array(list(model.embed(texts, batch_size=batch_size)))
        return vectors[0] if isinstance(texts, str) else vectors

    return start.done(encode, facts)

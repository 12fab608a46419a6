"""Loading a checkpoint of static vectors for the head `embed`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanner.manifest import Architecture, file_sha256
from lanner_export.checkpoint import Checkpoint, require_similarity, source_of
from lanner_export.static_checkpoint import StaticCheckpoint, read_static_checkpoint
from lanner_export.tensors import EMBEDDING, INPUTS


def load_static_embedder(
    path: Path, checkpoint: str, scratch: Path, *, max_tokens: int | None = None
) -> Checkpoint:
    """Loads a directory or file of static vectors; see `lanner_export.static_checkpoint`.

    Args:
        path: Where it is.
        checkpoint: Its name for people.
        scratch: A directory with room for its vectors.
        max_tokens: A longest input that replaces the checkpoint's own.

    Raises:
        CheckpointError: It is incomplete or unreadable.
        UnsupportedError: A part of it cannot be exported.
    """
    static = read_static_checkpoint(path, scratch / "rows", max_tokens=max_tokens)
    require_similarity(static.similarity, checkpoint)
    rows, dimension = static.table.rows.shape
    return Checkpoint(
        head="embed",
        model=None,
        graph=static.table,
        inputs=INPUTS,
        output=EMBEDDING,
        reference=_Reference(static),
        write_tokenizer=static.write_tokenizer,
        architecture=Architecture(
            model_type=static.kind,
            layers=0,
            heads=0,
            hidden_size=dimension,
            vocabulary_size=static.table.vocabulary_size,
            parameters=rows * dimension,
        ),
        max_tokens=static.max_tokens,
        dimension=dimension,
        similarity=static.similarity,
        prompts=static.prompts,
        default_prompt_name=static.default_prompt_name,
        source=_source(path, checkpoint, static),
    )


class _Reference:
    def __init__(self, static: StaticCheckpoint) -> None:
        self._static = static

    def __call__(self, inputs: Sequence[Any]) -> list[NDArray[np.float32]]:
        return list(self._static.reference(list(inputs)))


def _source(path: Path, checkpoint: str, static: StaticCheckpoint) -> dict[str, Any]:
    if path.is_dir():
        return source_of(path, checkpoint, library=static.library)
    return {
        "checkpoint": checkpoint,
        "library": static.library,
        "weights_sha256": {path.name: file_sha256(path)},
    }

"""Loading a checkpoint of static vectors for the head `embed`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.heads import Head
from lanner.artifact.manifest import Architecture, file_sha256
from lanner.errors import UnsupportedError
from lanner_export.checkpoint.checkpoint import (
    Checkpoint,
    public_name,
    require_similarity,
    source_of,
)
from lanner_export.graph.tensors import EMBEDDING, INPUTS
from lanner_export.static.reading import read_static_checkpoint
from lanner_export.static.static_checkpoint import StaticCheckpoint
from lanner_export.static.vocabulary import trim_static_vocabulary
from lanner_export.static.word_options import NO_WORD_OPTIONS, WordOptions
from lanner_export.trim.trimming import Corpus


def load_static_embedder(
    path: Path,
    checkpoint: str,
    scratch: Path,
    *,
    max_tokens: int | None = None,
    corpus: Corpus | None = None,
    words: WordOptions = NO_WORD_OPTIONS,
) -> Checkpoint:
    """Load a directory or file of static vectors; see `lanner_export.static.reading`.

    Args:
        path: The directory or file.
        checkpoint: The name of the checkpoint, for messages.
        scratch: A directory with room for the vectors.
        max_tokens: A longest input that replaces the checkpoint's own.
        corpus: Texts whose words are enough; None for all words.
        words: The options of a file of word vectors.

    Raises:
        CheckpointError: The checkpoint is incomplete or unreadable, or would lose a special token.
        UnsupportedError: A part of the checkpoint cannot be exported.
        InputError: The checkpoint has no word of the corpus, or of the texts to weigh words by.
        MissingExtraError: jieba was asked for, and is not installed.
        ExportError: The corpus would be split or answered differently.
    """
    static = whole = read_static_checkpoint(
        path, scratch / "rows", max_tokens=max_tokens, words=words
    )
    require_similarity(static.similarity, checkpoint)
    left_out: dict[str, Any] = {}
    if corpus is not None:
        if static.parts is not None:
            msg = (
                f"{checkpoint} makes vectors of the parts of words, and any text may need any part:"
                " leave --vocabulary-from out"
            )
            raise UnsupportedError(msg)
        texts = corpus.with_prompts(static.prompts.values())
        static = trim_static_vocabulary(whole, texts, checkpoint, scratch)
        kept, count = static.table.vocabulary_size, whole.table.vocabulary_size
        if kept < count:
            left_out["tokens"] = {"kept": kept, "of": count, "corpus": corpus.name}
    rows, dimension = static.table.rows.shape
    return Checkpoint(
        head=Head.EMBED,
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
        dimension=static.dimension,
        empty_answer=static.table.empty_answer,
        similarity=static.similarity,
        prompts=static.prompts,
        default_prompt_name=static.default_prompt_name,
        source=_source(path, checkpoint, static),
        trimming=left_out,
        warnings=static.warnings,
        source_reference=_Reference(whole) if left_out else None,
    )


class _Reference:
    def __init__(self, static: StaticCheckpoint) -> None:
        self._static = static

    def __call__(self, inputs: Sequence[Any]) -> list[NDArray[np.float32]]:
        return list(self._static.reference(list(inputs)))


def _source(path: Path, checkpoint: str, static: StaticCheckpoint) -> dict[str, Any]:
    if path.is_dir():
        return source_of(path, checkpoint, library=static.library)
    weighting = {} if static.sif is None else {"sif": static.sif}
    return {
        **weighting,
        "checkpoint": public_name(checkpoint),
        "library": static.library,
        "weights_sha256": {path.name: file_sha256(path)},
    }

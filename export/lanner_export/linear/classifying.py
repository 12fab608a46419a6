"""A checkpoint of sentence vectors with a classifier on top: one graph, from texts to labels."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.heads import Head
from lanner.artifact.manifest import file_sha256
from lanner.errors import UnsupportedError
from lanner_export.checkpoint.checkpoint import Checkpoint, Reference
from lanner_export.graph.layers import through_layers
from lanner_export.graph.lookup import LookupTable
from lanner_export.graph.tensors import LOGITS
from lanner_export.graph.tracing import ClassifierGraph
from lanner_export.linear.files import read_head
from lanner_export.linear.head import LinearHead


def classified(loaded: Checkpoint, path: Path, checkpoint: str) -> Checkpoint:
    """Return a checkpoint of vectors as one with the head `classify`.

    Args:
        loaded: The checkpoint of the head `embed`.
        path: The file of its classifier.
        checkpoint: The name of the checkpoint, for messages.

    Raises:
        CheckpointError: The classifier is damaged, or does not fit the vectors.
        UnsupportedError: It is not linear, or the vectors have a prompt by default.
        MissingExtraError: The library that reads it safely is not installed.
    """
    head = read_head(path)
    head.require_fits(loaded.dimension, checkpoint)
    if loaded.prompts.get(loaded.default_prompt_name or ""):
        msg = (
            f"{checkpoint} puts its prompt {loaded.default_prompt_name!r} before every text, which "
            "a classifier of Lanner does not: remove default_prompt_name from its "
            "config_sentence_transformers.json, and put the prompt before the texts yourself"
        )
        raise UnsupportedError(msg)
    graph = _graph(loaded, head)
    weights = {**loaded.source.get("weights_sha256", {}), path.name: file_sha256(path)}
    return replace(
        loaded,
        head=Head.CLASSIFY,
        graph=graph,
        output=LOGITS,
        reference=_Reference(loaded.reference, head),
        dimension=len(head.labels),
        source={**loaded.source, "weights_sha256": weights},
        similarity="",
        prompts={},
        default_prompt_name=None,
        labels=head.labels,
        activation=head.activation,
        takes_pairs=False,
        empty_answer=graph.empty_answer if isinstance(graph, LookupTable) else (),
    )


def _graph(loaded: Checkpoint, head: LinearHead) -> LookupTable | ClassifierGraph:
    if isinstance(loaded.graph, LookupTable):
        normalizes = loaded.graph.normalize or head.normalizes
        return replace(loaded.graph, layers=head.layers, normalize=normalizes)
    return ClassifierGraph(
        loaded.model, dimension=loaded.dimension, layers=head.layers, normalizes=head.normalizes
    )


class _Reference:
    """The logits of a classifier in numpy, of vectors of the checkpoint's own framework."""

    def __init__(self, vectors: Reference, head: LinearHead) -> None:
        self._vectors, self._head = vectors, head

    def __call__(self, inputs: Sequence[Any]) -> list[NDArray[np.float32]]:
        vectors = np.stack(self._vectors(inputs)).astype(np.float64)
        if self._head.normalizes:
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors /= np.where(lengths == 0, 1, lengths)
        return list(through_layers(vectors, self._head.layers).astype(np.float32))

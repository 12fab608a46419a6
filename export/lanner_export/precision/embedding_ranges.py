"""The ranges of int8 and uint8 vectors, measured during the export."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from lanner.artifact.manifest import RangesRecord
from lanner.models.base import Model
from lanner.models.embedding import EmbeddingModel
from lanner.vectors.ranges import EmbeddingRanges
from lanner_export.texts.calibration import CalibrationTexts

RANGES_FILE = "embedding_ranges.npy"
#: With fewer vectors, other texts exceed the ranges; sentence-transformers warns there, too.
_FEWEST_VECTORS = 100


def write_embedding_ranges(
    ways: Sequence[Mapping[str, Model]],
    texts: CalibrationTexts,
    directory: Path,
    warn: Callable[[str], object],
) -> RangesRecord | None:
    """Measure the vectors of texts, without and with each prompt, and write their ranges.

    All variants share the ranges, which are measured with fp32 if it exists.

    Args:
        ways: The variants of each way by name; vectors of all ways are compared.
        texts: The texts to measure.
        directory: The directory for the file.
        warn: Called with a sentence if there are few vectors.

    Returns:
        The entry for the manifest; None for another head, or if no text has a known word.
    """
    models = [models.get("fp32") or next(iter(models.values())) for models in ways]
    embedders = [model for model in models if isinstance(model, EmbeddingModel)]
    if not embedders:
        return None
    prompts = dict.fromkeys(["", *embedders[0].prompts.values()])
    vectors = np.concatenate(
        [model.encode(texts.texts, prompt=prompt) for model in embedders for prompt in prompts]
    )
    vectors = vectors[vectors.any(axis=1)]
    if len(vectors) < _FEWEST_VECTORS:
        warn(
            f"{texts.source} gave only {len(vectors)} vectors, so int8 and uint8 vectors of other "
            "texts may be clipped: pass a few hundred texts with --calibration"
        )
    if not len(vectors):
        return None
    EmbeddingRanges.measure(vectors).write(directory / RANGES_FILE)
    return RangesRecord(RANGES_FILE, texts.source, len(vectors))

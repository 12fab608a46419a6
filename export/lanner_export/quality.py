"""What an artifact's `quality.json` says: how each variant compares with the checkpoint."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy.stats import spearmanr

from lanner.errors import InputError
from lanner.machine import this_machine
from lanner.model import EmbeddingModel
from lanner.similarity import Vectors
from lanner.text_files import LabelledPairs, read_labelled_pairs, shipped_sentences
from lanner_export.parity import ADVERSARIAL_TEXTS, Tolerance, measure_parity

#: Enough to cover the kinds of the shipped sentences; each variant encodes each of them twice.
_SHIPPED_TEXTS = 48


@dataclass(frozen=True)
class QualityData:
    """Labelled pairs, and the name that the report gives them."""

    name: str
    pairs: LabelledPairs

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads ``sentence1,sentence2,score``.

        Raises:
            InputError: A row is bad, or all scores are the same, so there are no ranks.
        """
        pairs = read_labelled_pairs(path)
        if len(set(pairs.scores)) < 2:
            msg = f"{path} has no two differing scores, so Spearman's correlation has no meaning"
            raise InputError(msg)
        return cls(path.name, pairs)


def parity_texts() -> list[str]:
    """Real and adversarial texts of unequal lengths, in a mixed order."""
    shipped = shipped_sentences()
    step = max(1, len(shipped) // _SHIPPED_TEXTS)
    return [*shipped[::step][:_SHIPPED_TEXTS], *ADVERSARIAL_TEXTS]


def measure_quality(
    reference: Any,
    models: Mapping[str, EmbeddingModel],
    labelled: QualityData | None,
    tolerances: Mapping[str, Tolerance],
    progress: Callable[[str], object],
) -> dict[str, Any]:
    """Measures every variant against the checkpoint.

    Args:
        reference: The checkpoint in its own framework.
        models: The variants by name.
        labelled: Pairs for Spearman's correlation, or None.
        tolerances: What each variant may differ.
        progress: Called when a step begins.

    Returns:
        The content of `quality.json`.

    Raises:
        ParityError: A variant differs more than its tolerance.
    """
    texts = parity_texts()
    progress(f"parity: {len(texts)} texts in the checkpoint's framework")
    expected = encode_reference(reference, texts)
    measured = {}
    for name, model in models.items():
        progress(f"parity of {name}")
        parity = measure_parity(expected, model, texts)
        parity.require(tolerances[name], name)
        measured[name] = parity.to_json()
    content: dict[str, Any] = {
        "texts": len(texts),
        "data": "sentences shipped with Lanner, and adversarial texts",
        "machine": this_machine().to_json(),
        "variants": measured,
    }
    if labelled is not None:
        progress(f"Spearman on {len(labelled.pairs.scores):,} pairs")
        content["spearman"] = {
            "data": labelled.name,
            "pairs": len(labelled.pairs.scores),
            "checkpoint": spearman(partial(encode_reference, reference), labelled.pairs),
            "variants": {
                name: spearman(partial(model.encode, prompt=""), labelled.pairs)
                for name, model in models.items()
            },
        }
    return content


def encode_reference(model: Any, texts: list[str]) -> Vectors:
    """The vectors of the checkpoint in its own framework, float32 [n, dim]."""
    vectors: Vectors = model.encode(
        texts, prompt="", convert_to_numpy=True, show_progress_bar=False
    )
    return vectors


def spearman(encode: Callable[[list[str]], Vectors], pairs: LabelledPairs) -> float:
    """Spearman's rank correlation x100 between cosine and gold score, as STS-B reports it.

    0 where the model finds all pairs equally near, which no correlation is defined for.
    """
    left, right = encode(pairs.left), encode(pairs.right)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosines = (left * right).sum(axis=1) / np.maximum(lengths, 1e-12)
    if np.ptp(cosines) == 0:
        return 0.0
    return float(100 * spearmanr(cosines, pairs.scores).statistic)

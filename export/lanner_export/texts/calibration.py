"""The texts that the activation ranges of int8 are measured on."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from lanner.artifact.heads import HEADS, InputKind
from lanner.errors import InputError
from lanner.files.texts import read_texts, shipped_sentences
from lanner.text.tokenization import Pair

#: More texts widen the ranges by little and take longer.
MOST_TEXTS = 512
_JOINED_SENTENCES = (2, 4, 8, 16, 32)
_SEED = 0


@dataclass(frozen=True)
class CalibrationTexts:
    """Texts with their description for the manifest."""

    texts: list[str]
    source: str

    def inputs(self, head: str, *, takes_pairs: bool = True) -> list[str | Pair]:
        """Return inputs for a head: texts, pairs of neighbours, or both alternating.

        Args:
            head: The head.
            takes_pairs: False for texts alone, whatever the head takes.
        """
        takes = HEADS[head].inputs if takes_pairs else InputKind.TEXTS
        if takes is InputKind.TEXTS:
            return list(self.texts)
        pairs = list(pairwise([*self.texts, self.texts[0]]))
        if takes is InputKind.PAIRS:
            return list(pairs)
        return [text if row % 2 else pairs[row] for row, text in enumerate(self.texts)]

    def to_json(self) -> dict[str, Any]:
        """Return the source and number of the texts, for the manifest."""
        return {"data": self.source, "texts": len(self.texts)}


def calibration_texts(path: Path | None) -> CalibrationTexts:
    """Return the user's texts, or the shipped sentences, and longer texts joined from them.

    A model is calibrated with short and long inputs, because activations depend on positions.

    Args:
        path: A .txt, .csv or .jsonl file, or None for the shipped sentences.

    Raises:
        InputError: The file cannot be read, or holds no text.
    """
    texts = shipped_sentences() if path is None else read_texts(path)
    texts = [text for text in texts if text.strip()]
    if not texts:
        msg = f"{path} holds no text to calibrate with: give a file of a few hundred sentences"
        raise InputError(msg)
    generator = np.random.default_rng(_SEED)
    if len(texts) > MOST_TEXTS:
        chosen = np.sort(generator.choice(len(texts), MOST_TEXTS, replace=False))
        texts = [texts[i] for i in chosen]
    joined = [
        " ".join(texts[i] for i in generator.integers(0, len(texts), count))
        for count in _JOINED_SENTENCES
    ]
    return CalibrationTexts(texts + joined, path.name if path else "sentences shipped with Lanner")

"""Texts with an exact number of tokens, made of the words of natural texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lanner.text.tokenization import TextTokenizer
from lanner_perf.subjects.workloads import SEED

LENGTHS = (8, 16, 32, 64, 128, 256, 512)
#: Different texts of one length; more of them show nothing new.
_TEXTS = 64
_MOST_TRIES = 4_000


@dataclass(frozen=True)
class LengthTexts:
    """Texts by their number of tokens, special tokens included.

    Attributes:
        texts: The texts, by the number of tokens.
        left_out: The reason for having no texts, by the number of tokens.
    """

    texts: dict[int, list[str]]
    left_out: dict[int, str]


def make_length_texts(
    sentences: Sequence[str],
    tokenizer: TextTokenizer,
    max_tokens: int | None,
    lengths: Sequence[int] = LENGTHS,
) -> LengthTexts:
    """Return texts of each length, `_TEXTS` of each where the words allow it.

    Args:
        sentences: The source of the words.
        tokenizer: The tokenizer of the artifact.
        max_tokens: The model's limit, or None for no limit.
        lengths: The numbers of tokens.
    """
    words = _Words(sentences, tokenizer)
    texts, left_out = {}, {}
    for tokens in lengths:
        if max_tokens is not None and tokens > max_tokens:
            left_out[tokens] = f"the model cuts at {max_tokens} tokens"
        elif found := words.texts_of(tokens):
            texts[tokens] = found
        else:
            left_out[tokens] = "the words of the workload make no text of that length"
    return LengthTexts(texts, left_out)


class _Words:
    """The words of some sentences, with the number of tokens of each."""

    def __init__(self, sentences: Sequence[str], tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._special = len(tokenizer.encode([""])[0])
        words = list(dict.fromkeys(word for text in sentences for word in text.split()))
        counts = [len(ids) - self._special for ids in tokenizer.encode(words)] if words else []
        known = [(word, count) for word, count in zip(words, counts, strict=True) if count > 0]
        self._words = [word for word, _ in known]
        self._counts = np.array([count for _, count in known], dtype=np.int64)

    def texts_of(self, tokens: int) -> list[str]:
        """Return up to `_TEXTS` texts with that number of tokens."""
        room = tokens - self._special
        if room < 1 or not self._words:
            return []
        generator = np.random.default_rng(SEED + tokens)
        found: list[str] = []
        for _ in range(_MOST_TRIES // _TEXTS):
            texts = [self._draw(generator, room) for _ in range(_TEXTS)]
            # A tokenizer may join neighboring words, so count the tokens of each text again.
            made = self._tokenizer.encode(texts)
            found += [t for t, ids in zip(texts, made, strict=True) if len(ids) == tokens]
            if len(found) >= _TEXTS:
                break
        return found[:_TEXTS]

    def _draw(self, generator: np.random.Generator, room: int) -> str:
        """Draw random words that fill the room; the last ones are chosen to fit."""
        rows = generator.integers(0, len(self._words), room)
        filled = np.cumsum(self._counts[rows])
        kept = int(np.searchsorted(filled, room, side="right"))
        chosen = rows[:kept].tolist()
        left = room - (int(filled[kept - 1]) if kept else 0)
        fitting = np.flatnonzero(self._counts <= left)
        while left and len(fitting):
            row = int(generator.choice(fitting))
            chosen.append(row)
            left -= int(self._counts[row])
            fitting = np.flatnonzero(self._counts <= left)
        return " ".join(self._words[row] for row in chosen)

"""The answers of a tagger for the first window of each text, all that its checkpoint reads."""

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from lanner.models.tagging import TaggingModel, join_windows
from lanner.text.entities import join_entities, parse_tags
from lanner.text.tokenization import Tokenizer
from lanner_export.quality.statistic import Items
from lanner_export.texts.quality_data import OUTSIDE, Span

#: For each text float32 [tokens, labels], special tokens included.
Logits = Sequence[NDArray[np.float32]]


class FirstWindows:
    """The first window of each text: all that the checkpoint reads.

    A variant reads beyond it, where a comparison would be unfair.

    Args:
        model: Any variant: for its labels and tokenizer.
        texts: The texts.
    """

    def __init__(self, model: TaggingModel, texts: Sequence[str]) -> None:
        self._texts = texts
        self._tokenizer = cast("Tokenizer", model.tokenizer)
        self._windows = self._tokenizer.windows(texts)
        self._tags = parse_tags(model.manifest.labels)
        self._is_text = [
            np.array(of_text[0].special_tokens_mask, dtype=np.int64) == 0
            for of_text in self._windows
        ]

    def seen(self, entities: Sequence[frozenset[Span]]) -> list[frozenset[Span]]:
        """Return the entities of each text that lie in its first window."""
        rows = zip(entities, self._windows, self._is_text, strict=True)
        return [
            _within(spans, np.array(windows[0].offsets)[is_text]) if len(windows) > 1 else spans
            for spans, windows, is_text in rows
        ]

    def entities(self, logits: Logits) -> list[frozenset[Span]]:
        """Return the entities of `tag` in each text, joined by its default strategy."""
        found = []
        for text, windows, rows in zip(self._texts, self._windows, logits, strict=True):
            tokens = join_windows(text, windows[:1], [rows], self._tokenizer)
            entities = join_entities(text, tokens, self._tags, ignored=(OUTSIDE,))
            found.append(frozenset(Span(e.label, e.start, e.end) for e in entities))
        return found

    def same_tokens(self, ours: Logits, theirs: Logits) -> Items:
        """Count the tokens of each text with the same label, and all its tokens, [texts, 2]."""
        pairs = zip(ours, theirs, self._is_text, strict=True)
        counts = [
            ((a.argmax(axis=1) == b.argmax(axis=1))[is_text].sum(), is_text.sum())
            for a, b, is_text in pairs
        ]
        return np.array(counts, dtype=np.float64)


def _within(spans: frozenset[Span], offsets: NDArray[np.int64]) -> frozenset[Span]:
    first, last = offsets.min(), offsets.max()
    return frozenset(span for span in spans if first <= span.start and span.end <= last)

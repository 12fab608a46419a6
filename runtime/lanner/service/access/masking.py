"""Masking: placeholders such as ``[EMAIL]`` replace personal data in texts.

Masking happens before a text is tokenized, so no model, server or cache behind it sees the
original. Masked data is counted by its kind and not kept.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from lanner.errors import DeadlineError, InputError
from lanner.service.access import personal_data
from lanner.service.access.personal_data import KINDS, Recogniser, Recognisers
from lanner.service.access.phones import DEFAULT_REGIONS, phones
from lanner.text.entities import Entity

_RECOGNISERS: dict[str, Recogniser] = {
    "email": personal_data.emails,
    "ip": personal_data.addresses,
    "iban": personal_data.accounts,
    "id": personal_data.ids,
    "card": personal_data.cards,
}


class Tagger(Protocol):
    """The part of a model with the head `tag` that masking needs."""

    def tag(self, texts: Sequence[str], /) -> list[list[Entity]]:
        """Return the entities of each text."""


class Span(NamedTuple):
    """A part of a text that was masked.

    Attributes:
        start: Its first character in the original text.
        end: The character after its last one.
        kind: Its kind.
    """

    start: int
    end: int
    kind: str

    @property
    def placeholder(self) -> str:
        """Return the text in its place."""
        return f"[{self.kind.upper()}]"


@dataclass(frozen=True)
class Masked:
    """A text after masking.

    Attributes:
        text: The text with placeholders.
        spans: The parts of the original that they stand for, in their order.
    """

    text: str
    spans: tuple[Span, ...] = ()

    def original(self, start: int, end: int) -> tuple[int, int]:
        """Return the span of the original text for a span of the masked one.

        A span that touches a placeholder takes all that it stands for.
        """
        found_start, found_end, shift = start, end, 0
        for span in self.spans:
            begin = span.start - shift  # in the masked text
            after = begin + len(span.placeholder)
            shift += span.end - span.start - len(span.placeholder)
            if start >= begin:
                found_start = span.start if start < after else start + shift
            if end > begin:
                found_end = span.end if end < after else end + shift
        return found_start, found_end


def counted(texts: Iterable[Masked]) -> dict[str, int]:
    """Return how often each kind was masked."""
    return dict(Counter(span.kind for masked in texts for span in masked.spans))


class Masker:
    """Masks texts.

    Args:
        kinds: Names of `KINDS`.
        patterns: The operator's own recognisers, from `read_patterns`.
        tagger: A model of the head `tag` whose entities are masked too, by their labels.
        regions: Countries of local telephone numbers; see `lanner.service.access.phones`.

    Raises:
        InputError: There is no such kind.
        MissingExtraError: A kind needs a package that is not installed.
    """

    def __init__(
        self,
        kinds: Iterable[str] = (),
        patterns: Recognisers | None = None,
        tagger: Tagger | None = None,
        regions: Sequence[str] = DEFAULT_REGIONS,
    ) -> None:
        asked = tuple(kinds)
        if unknown := [kind for kind in asked if kind not in KINDS]:
            msg = f"{unknown[0]!r} is nothing that can be masked: use {', '.join(KINDS)}"
            raise InputError(msg)
        built = {kind: _RECOGNISERS[kind] for kind in KINDS if kind in asked and kind != "phone"}
        if "phone" in asked:
            built["phone"] = phones(regions)
        #: The operator's own patterns win over the built-in ones.
        self._recognisers: Recognisers = {**(patterns or {}), **built}
        self._tagger = tagger

    @property
    def is_slow(self) -> bool:
        """True if masking may take long enough to hold up an event loop: run it in a thread."""
        return self._tagger is not None or "phone" in self._recognisers

    def mask(self, texts: Sequence[str], *, deadline_s: float | None = None) -> list[Masked]:
        """Return texts with placeholders.

        Args:
            texts: The texts, valid Unicode.
            deadline_s: The time by `time.monotonic` at which to give up, or None.

        Raises:
            DeadlineError: The time is up.
        """
        entities = self._tagger.tag(texts) if self._tagger is not None else [()] * len(texts)
        return [
            _replaced(text, _merged(self._spans(text, found, deadline_s)))
            for text, found in zip(texts, entities, strict=True)
        ]

    def _spans(
        self, text: str, entities: Sequence[Entity], deadline_s: float | None
    ) -> Iterator[tuple[int, Span]]:
        """Yield spans with their ranks; of two that overlap, the lower rank names the kind."""
        for rank, (kind, find) in enumerate(self._recognisers.items()):
            for start, end in find(text):
                if deadline_s is not None and time.monotonic() > deadline_s:
                    msg = "the time for this request is up while it was masked"
                    raise DeadlineError(msg)
                yield rank, Span(start, end, kind)
        for entity in entities:
            yield len(self._recognisers), Span(entity.start, entity.end, entity.label.lower())


def _merged(ranked: Iterable[tuple[int, Span]]) -> Iterator[Span]:
    """Yield spans that do not overlap and cover everything that was found."""
    current: tuple[int, Span] | None = None
    for rank, span in sorted(ranked, key=lambda one: one[1]):
        if span.start >= span.end:
            continue
        if current is None or span.start >= current[1].end:
            if current is not None:
                yield current[1]
            current = rank, span
        else:
            best, before = current
            kind = before.kind if best <= rank else span.kind
            current = min(best, rank), Span(before.start, max(before.end, span.end), kind)
    if current is not None:
        yield current[1]


def _replaced(text: str, found: Iterable[Span]) -> Masked:
    spans = tuple(found)
    if not spans:
        return Masked(text)
    parts, end = [], 0
    for span in spans:
        parts += [text[end : span.start], span.placeholder]
        end = span.end
    return Masked("".join(parts) + text[end:], spans)

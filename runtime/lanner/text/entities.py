"""Labels of tokens joined to entities.

The strategies are those of transformers' token-classification pipeline
(https://huggingface.co/docs/transformers/main_classes/pipelines, `aggregation_strategy`), and so
are the entities, with four differences. `E-` and `S-` (BIOES) or `L-` and `U-` (BILOU) end an
entity, where a model's labels have them. Only such a prefix is removed from a label, not everything
before any hyphen. An entity begins and ends at whole characters as people see them: not with white
space, nor before a combining mark. And where a tokenizer does not mark the parts of words, any
white space and punctuation ends a word, not a blank alone (`lanner.text.word_boundaries`).
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.activation import Scores

AggregationStrategy = Literal["simple", "first", "average", "max"]
AGGREGATION_STRATEGIES: tuple[str, ...] = get_args(AggregationStrategy)

_STARTS, _ENDS = ("B", "S", "U"), ("E", "L", "S", "U")


@dataclass(frozen=True)
class Entity:
    """A span of a text with one label.

    Attributes:
        text: The characters from `start` to `end`.
        label: The label without the prefix of its scheme.
        start: The index of its first character in the text.
        end: The index after its last character.
        score: The mean probability of its tokens or, depending on the strategy, its words.
    """

    text: str
    label: str
    start: int
    end: int
    score: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class TokenScores:
    """The tokens of one text, special ones left out.

    Attributes:
        offsets: Start and end of each token in characters, int64 [tokens, 2].
        scores: Probabilities of the labels, float32 [tokens, labels].
        continues: True for a token of the same word as the token before it, bool [tokens].
    """

    offsets: NDArray[np.int64]
    scores: Scores
    continues: NDArray[np.bool_]


class Tag(NamedTuple):
    """A label such as ``B-PER``, split into its place in an entity and its kind."""

    place: str
    kind: str


class _Part(NamedTuple):
    """A token or word with its label."""

    tag: Tag
    score: float
    start: int
    end: int


def parse_tags(labels: Sequence[str]) -> list[Tag]:
    """Split labels into prefix and kind.

    `B-` and `I-` are always prefixes. `E-`, `S-`, `L-` and `U-` are prefixes only of a kind that
    has `B-` or `I-` too, so that a label like ``S-Bahn`` stays whole. A label without a prefix
    continues an entity.
    """
    kinds = {label[2:] for label in labels if label[:2] in ("B-", "I-")}
    tags = []
    for label in labels:
        place, kind = label[:1], label[2:]
        has_prefix = label[1:2] == "-" and kind in kinds and place in "BIESLU"
        tags.append(Tag(place, kind) if has_prefix else Tag("I", label))
    return tags


def join_entities(
    text: str,
    tokens: TokenScores,
    tags: Sequence[Tag],
    *,
    strategy: str = "simple",
    ignored: Sequence[str] = ("O",),
) -> list[Entity]:
    """Return the entities of one text, in their order.

    Args:
        text: The text.
        tokens: Its tokens.
        tags: The split labels, in the order of the scores.
        strategy: ``"simple"`` gives each token its own label. The others give all tokens of a word
            one label: that of its ``"first"`` token, of the token with the highest score
            (``"max"``), or the best of their mean scores (``"average"``). In a script without
            blanks between words every token is a word.
        ignored: Kinds that are not entities.
    """
    entities = []
    for parts in _groups(_parts(tokens, tags, strategy)):
        kind = parts[0].tag.kind
        start, end = _whole_characters(text, parts[0].start, parts[-1].end)
        if kind not in ignored and start < end:
            score = float(np.mean([part.score for part in parts]))
            entities.append(Entity(text[start:end], kind, start, end, score))
    return entities


def _parts(tokens: TokenScores, tags: Sequence[Tag], strategy: str) -> Iterator[_Part]:
    count = len(tokens.offsets)
    is_first = np.ones(count, dtype=bool) if strategy == "simple" else ~tokens.continues
    is_first[:1] = True
    edges = [*np.flatnonzero(is_first), count]
    for start, stop in pairwise(edges):
        scores = tokens.scores[start:stop]
        if strategy == "average":
            word = scores.mean(axis=0)
        elif strategy == "max":
            word = scores[scores.max(axis=1).argmax()]
        else:
            word = scores[0]
        best = int(word.argmax())
        first, last = int(tokens.offsets[start, 0]), int(tokens.offsets[stop - 1, 1])
        yield _Part(tags[best], float(word[best]), first, last)


def _groups(parts: Iterator[_Part]) -> Iterator[list[_Part]]:
    group: list[_Part] = []
    for part in parts:
        if group:
            last = group[-1].tag
            continues = part.tag.kind == last.kind and part.tag.place not in _STARTS
            if not continues or last.place in _ENDS:
                yield group
                group = []
        group.append(part)
    if group:
        yield group


def _whole_characters(text: str, start: int, end: int) -> tuple[int, int]:
    # Some tokenizers include a word's leading space, and many drop combining marks.
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    while end < len(text) and end > start and unicodedata.category(text[end]).startswith("M"):
        end += 1
    return start, end

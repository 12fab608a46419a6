"""The joining of tokens, by hand; test_tagging compares it with transformers' pipeline."""

import numpy as np
import pytest

from lanner.text.entities import Entity, Tag, TokenScores, join_entities, parse_tags

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def tokens_of(
    spans: list[tuple[int, int]],
    best: list[str],
    scores: list[float] | None = None,
    *,
    labels: tuple[str, ...] = LABELS,
    continues: list[bool] | None = None,
) -> TokenScores:
    rows = np.zeros((len(spans), len(labels)), np.float32)
    for row, (label, score) in enumerate(zip(best, scores or [0.9] * len(best), strict=True)):
        rows[row] = (1 - score) / (len(labels) - 1)
        rows[row, labels.index(label)] = score
    return TokenScores(
        np.array(spans, np.int64).reshape(-1, 2),
        rows,
        np.array(continues or [False] * len(spans), dtype=bool),
    )


def joined(text: str, tokens: TokenScores, labels: tuple[str, ...] = LABELS) -> list[tuple]:  # type: ignore[type-arg]
    found = join_entities(text, tokens, parse_tags(labels))
    return [(entity.text, entity.label, entity.start, entity.end) for entity in found]


def test_tokens_of_one_entity_are_joined_and_their_scores_averaged() -> None:
    tokens = tokens_of([(0, 3), (4, 12), (13, 18)], ["B-PER", "I-PER", "O"], [0.5, 1.0, 1.0])
    assert join_entities("Ada Lovelace wrote", tokens, parse_tags(LABELS)) == [
        Entity("Ada Lovelace", "PER", 0, 12, 0.75)
    ]


@pytest.mark.parametrize(
    ("best", "expected"),
    [
        (["B-PER", "B-PER"], [("ab", "PER", 0, 2), ("cd", "PER", 3, 5)]),
        (["B-PER", "I-PER"], [("ab cd", "PER", 0, 5)]),
        (["B-PER", "I-LOC"], [("ab", "PER", 0, 2), ("cd", "LOC", 3, 5)]),
        (["I-PER", "I-PER"], [("ab cd", "PER", 0, 5)]),
        (["I-PER", "B-PER"], [("ab", "PER", 0, 2), ("cd", "PER", 3, 5)]),
        (["O", "I-LOC"], [("cd", "LOC", 3, 5)]),
        (["O", "O"], []),
    ],
)
def test_b_and_i(best: list[str], expected: list[object]) -> None:
    assert joined("ab cd", tokens_of([(0, 2), (3, 5)], best)) == expected


@pytest.mark.parametrize(
    ("labels", "best", "expected"),
    [
        (("O", "B-X", "I-X", "E-X", "S-X"), ["S-X", "S-X", "B-X", "E-X"], ["a", "b", "c d"]),
        (("O", "B-X", "I-X", "E-X", "S-X"), ["B-X", "I-X", "E-X", "I-X"], ["a b c", "d"]),
        (("O", "B-X", "I-X", "L-X", "U-X"), ["U-X", "B-X", "L-X", "O"], ["a", "b c"]),
        (("O", "B-X", "I-X", "E-X", "S-X"), ["I-X", "S-X", "I-X", "O"], ["a", "b", "c"]),
        (("O", "X"), ["X", "X", "O", "X"], ["a b", "d"]),
    ],
    ids=["BIOES", "an end ends", "BILOU", "a single stands alone", "no scheme"],
)
def test_other_schemes(labels: tuple[str, ...], best: list[str], expected: list[str]) -> None:
    spans = [(0, 1), (2, 3), (4, 5), (6, 7)]
    found = joined("a b c d", tokens_of(spans, best, labels=labels), labels)
    assert [text for text, *_ in found] == expected
    assert {label for _, label, *_ in found} == {"X"}


def test_a_hyphen_alone_makes_no_prefix() -> None:
    assert parse_tags(("O", "S-Bahn", "E-MAIL", "B-DATE-TIME", "I-DATE-TIME")) == [
        Tag("I", "O"),
        Tag("I", "S-Bahn"),
        Tag("I", "E-MAIL"),
        Tag("B", "DATE-TIME"),
        Tag("I", "DATE-TIME"),
    ]


@pytest.mark.parametrize(
    ("strategy", "label", "score"),
    # The word's tokens: PER 0.6 / LOC 0.4, then PER 0.1 / LOC 0.9.
    [("first", "PER", 0.6), ("max", "LOC", 0.9), ("average", "LOC", 0.65)],
)
def test_strategies_give_a_word_one_label(strategy: str, label: str, score: float) -> None:
    scores = np.array([[0, 0.6, 0, 0.4, 0], [0, 0.1, 0, 0.9, 0]], np.float32)
    tokens = TokenScores(np.array([[0, 2], [2, 5]]), scores, np.array([False, True]))
    (entity,) = join_entities("Paris", tokens, parse_tags(LABELS), strategy=strategy)
    assert (entity.text, entity.label) == ("Paris", label)
    assert entity.score == pytest.approx(score)


def test_simple_may_split_a_word() -> None:
    tokens = tokens_of([(0, 2), (2, 5)], ["B-PER", "B-LOC"], continues=[False, True])
    assert joined("Paris", tokens) == [("Pa", "PER", 0, 2), ("ris", "LOC", 2, 5)]


@pytest.mark.parametrize(
    ("text", "span", "expected"),
    [
        ("in Paris now", (2, 8), "Paris"),
        ("in Paris now", (3, 9), "Paris"),
        ("Rene\u0301 sang", (0, 4), "Rene\u0301"),
        ("\u0928\u093f\u0936\u093e x", (0, 3), "\u0928\u093f\u0936\u093e"),
        ("I \u2764\ufe0f x", (2, 3), "\u2764\ufe0f"),
    ],
    ids=["space before", "space after", "accent", "vowel sign", "variation selector"],
)
def test_an_entity_is_whole_characters(text: str, span: tuple[int, int], expected: str) -> None:
    ((found, _, start, end),) = joined(text, tokens_of([span], ["B-LOC"]))
    assert found == expected == text[start:end]


def test_white_space_alone_is_no_entity() -> None:
    assert joined("a   b", tokens_of([(1, 4)], ["B-LOC"])) == []


def test_no_tokens_have_no_entities() -> None:
    for strategy in ("simple", "first", "average", "max"):
        assert join_entities("", tokens_of([], []), parse_tags(LABELS), strategy=strategy) == []


def test_what_is_ignored_is_asked_for() -> None:
    tokens = tokens_of([(0, 2), (3, 5)], ["O", "B-PER"])
    found = join_entities("ab cd", tokens, parse_tags(LABELS), ignored=("PER",))
    assert [(entity.text, entity.label) for entity in found] == [("ab", "O")]


def test_an_entity_is_plain_json() -> None:
    assert Entity("Ada", "PER", 0, 3, 0.5).to_json() == {
        "text": "Ada",
        "label": "PER",
        "start": 0,
        "end": 3,
        "score": 0.5,
    }

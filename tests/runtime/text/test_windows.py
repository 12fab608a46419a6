"""Windows of long texts are those that the `tokenizers` library makes of the whole."""

import random
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runtime.text.test_long_texts import KINDS, LIMIT, WORDS, texts

from lanner.artifact.manifest import TokenizerRecord
from lanner.errors import DeadlineError, InputError
from lanner.models.tagging import join_windows
from lanner.text import tokenization, windows
from lanner.text.tokenization import Tokenizer
from lanner.text.windows import Window, tokens_of

OVERLAP = 4


def given() -> list[str]:
    rng = random.Random(20)  # noqa: S311 (the same each time)
    prose = [rng.choice(WORDS) + rng.choice(["", "", ".", " "]) for _ in range(1_500)]
    of_all_kinds = [text for text in texts() if 4_000 < len(text) < 8_000][:5]
    return [" ".join(prose), "." * 9_000, "a" * 5_000, " " * 5_000, "a man", "", *of_all_kinds]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_windows_as_of_the_whole(
    kind: str, side: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenization, "_CHARACTERS_AT_ONCE", 2_000)
    monkeypatch.setattr(windows, "_PIECE", 3_000)
    monkeypatch.setattr(windows, "_SHARED", 800)
    reference = KINDS[kind]()
    reference.enable_truncation(LIMIT, stride=OVERLAP, direction=side)
    path = tmp_path / "tokenizer.json"
    reference.save(str(path))
    tokenizer = Tokenizer(path, TokenizerRecord(path.name, LIMIT, 0), overlap_tokens=OVERLAP)
    scores = np.random.default_rng(20).random((400, 3), np.float32)
    found = tokenizer.windows(given())
    assert len(found[0]) > 100
    for text, ours in zip(given(), found, strict=True):
        whole = reference.encode(text)
        expected: list[Window] = [whole, *whole.overflowing]
        assert [list(one.ids) for one in ours] == [list(one.ids) for one in expected]
        masks = [list(one.special_tokens_mask) for one in ours]
        assert masks == [list(one.special_tokens_mask) for one in expected]
        # The library moves the first offsets of a window, which the one before it has, too.
        tokens, wanted = (
            join_windows(text, of, [scores[np.array(one.ids, np.int32)] for one in of], tokenizer)
            for of in (ours, expected)
        )
        for name, values in vars(wanted).items():
            np.testing.assert_array_equal(vars(tokens)[name], values)


def test_pieces_are_small(tmp_path: Path) -> None:
    tokenizer = KINDS["bert"]()
    read: list[int] = []

    def split(piece: str) -> Any:
        read.append(len(piece))
        return tokenizer.encode(piece, add_special_tokens=False)

    tokens = tokens_of("a man is " * 60_000, split)
    assert len(tokens.ids) == 180_000
    assert max(read) == 50_000
    assert sum(read) < 540_000 * 1.1
    read.clear()
    # One word, whose end nobody has seen.
    tokens = tokens_of("a" * 500_000, split, by_words=True)
    assert (tokens.ids.tolist(), tokens.offsets.tolist()) == ([1], [[0, 500_000]])
    assert max(read) == 50_000


LETTERS = random.Random(20).choices("abinmt", k=9_000)  # noqa: S311 (the same each time)
#: Words that go on and on, between others.
ENDLESS = {
    "one letter": "a man " + "a" * 9_001 + " is playing",
    "two letters": "abab" * 2_250 + " man",
    "letters": "a man " + "".join(LETTERS) + " is",
    "letters alone": "".join(LETTERS),
    "digits": "1234567890" * 900,
    "dashes": "man" + "-" * 9_000 + "is",
    "unknown characters": "a man \U0001f600" + "\U0001f600" * 9_000 + " is",
    "unknown characters of two kinds": "\U0001f600\U0001f680" * 4_500 + "man is",
    "Chinese": "\u5317\u4eac" * 4_500,
    "accents": "e\u0301" * 4_500 + " man",
    "lines": "a man" + "\n" * 9_000 + "is",
    "blanks": "a man" + " " * 9_000 + "is",
    "blanks behind": "a man" + " " * 9_000,
}
#: One whose normalizer makes one blank of many, which may be part of the word behind them.
JOINED = [("unigram of one word", "blanks"), ("unigram of one word", "blanks behind")]


@pytest.mark.parametrize(
    ("kind", "text"), [one for one in product(KINDS, ENDLESS) if one not in JOINED]
)
def test_a_word_without_an_end_is_read_piece_by_piece(
    kind: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "_PIECE", 2_000)
    monkeypatch.setattr(windows, "_SHARED", 800)
    monkeypatch.setattr(windows, "_ENDLESS", 100)
    monkeypatch.setattr(windows, "_MOST_CHARACTERS", 2_000)
    tokenizer, read = KINDS[kind](), list[int]()

    def split(piece: str) -> Any:
        read.append(len(piece))
        return tokenizer.encode(piece, add_special_tokens=False)

    found = tokens_of(ENDLESS[text], split, by_words=kind == "bert")
    whole = tokenizer.encode(ENDLESS[text], add_special_tokens=False)
    assert found.ids.tolist() == whole.ids
    assert [tuple(one) for one in found.offsets.tolist()] == whole.offsets
    assert max(read) == 2_000


@pytest.mark.parametrize(
    ("kind", "text"),
    [("bert", "e" + "\u0301" * 900_000), ("unigram of one word", "e" + " " * 900_000)],
)
def test_a_word_whose_tokens_depend_on_all_of_it_ends_somewhere(kind: str, text: str) -> None:
    tokenizer = KINDS[kind]()

    def split(piece: str) -> Any:
        return tokenizer.encode(piece, add_special_tokens=False)

    with pytest.raises(
        InputError,
        match=r"^the text at index 3 has 900,001 characters, and more than 800,000 of them are "
        r"one word: split it, or remove what is no text$",
    ):
        tokens_of(text, split, by_words=kind == "bert", index=3)


def test_the_deadline_counts_between_pieces(tmp_path: Path) -> None:
    KINDS["bert"]().save(str(tmp_path / "tokenizer.json"))
    record = TokenizerRecord("x", LIMIT, 0)
    tokenizer = Tokenizer(tmp_path / "tokenizer.json", record, overlap_tokens=OVERLAP)
    with pytest.raises(DeadlineError, match=r"^the deadline passed while a long text was split"):
        tokenizer.windows(["a man is " * 500_000], deadline_s=time.monotonic() + 0.05)

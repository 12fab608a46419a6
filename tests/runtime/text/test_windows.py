"""Windows of long texts are those that the `tokenizers` library makes of the whole."""

import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runtime.text.test_long_texts import KINDS, LIMIT, WORDS, texts

from lanner.artifact.manifest import TokenizerRecord
from lanner.errors import DeadlineError
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
    assert max(read) == 200_000
    assert sum(read) < 540_000 * 1.05
    read.clear()
    assert len(tokens_of("a" * 500_000, split).ids) == 1  # one word, which no piece settles
    assert max(read) == 500_000


def test_the_deadline_counts_between_pieces(tmp_path: Path) -> None:
    KINDS["bert"]().save(str(tmp_path / "tokenizer.json"))
    record = TokenizerRecord("x", LIMIT, 0)
    tokenizer = Tokenizer(tmp_path / "tokenizer.json", record, overlap_tokens=OVERLAP)
    begin = time.monotonic()
    with pytest.raises(DeadlineError, match=r"^the deadline passed while a long text was split"):
        tokenizer.windows(["a man is " * 500_000], deadline_s=begin + 0.05)
    assert time.monotonic() - begin < 2

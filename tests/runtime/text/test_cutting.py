"""Texts cut to a limit, and what was cut."""

from pathlib import Path

import pytest
from tests.support.word_artifact import MAX_TOKENS, VOCABULARY
from tokenizers import Tokenizer as Library
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from lanner.artifact.manifest import TokenizerRecord
from lanner.errors import InputError, UnsupportedError
from lanner.text.cutting import Cut, Cutter, TooLongError
from lanner.text.tokenization import Tokenizer
from lanner.text.words import WordTokenizer

A, B, C, D, E, F = (VOCABULARY[letter] for letter in "abcdef")


@pytest.fixture
def cutter(tmp_path: Path) -> Cutter:
    library = Library(WordLevel(VOCABULARY, unk_token="[UNK]"))  # noqa: S106 (no secret)
    library.pre_tokenizer = Whitespace()
    library.save(str(tmp_path / "tokenizer.json"))
    return Cutter(Tokenizer(tmp_path / "tokenizer.json", TokenizerRecord("", MAX_TOKENS, 0)))


@pytest.mark.parametrize(
    ("end", "expected"),
    [(None, [A, B, C, D]), ("right", [A, B, C, D]), ("left", [C, D, E, F])],
)
def test_a_long_text_loses_the_end_that_is_asked_for(
    cutter: Cutter, end: Cut, expected: list[int]
) -> None:
    found = cutter.cut(["a b", "a b c d e f", "a b c d", ""], end=end)
    assert found.token_ids == [[A, B], expected, [A, B, C, D], []]
    assert found.cut == [1]
    assert found.type_ids is None


def test_a_text_that_must_not_be_cut_is_named_with_its_tokens(cutter: Cutter) -> None:
    assert cutter.cut(["a b c d"], end="no").cut == []
    with pytest.raises(TooLongError, match="index 1 has 6 tokens, and the model reads at most 4:"):
        cutter.cut(["a", "a b c d e f"], end="no")
    # Of a very long one only a piece is read.
    with pytest.raises(TooLongError, match=r"index 0 has at least \d+ tokens"):
        cutter.cut(["a b c " * 10_000], end="no")


def test_very_long_texts_are_cut_at_either_end(cutter: Cutter) -> None:
    text = "a b " + "c " * 100_000 + "e f"
    assert cutter.cut([text], end="left").token_ids == [[C, C, E, F]]
    assert cutter.cut([text], end="right").token_ids == [[A, B, C, C]]


def test_special_tokens_count(tmp_path: Path) -> None:
    library = Library(WordLevel(VOCABULARY, unk_token="[UNK]"))  # noqa: S106
    library.pre_tokenizer = Whitespace()
    library.post_processor = TemplateProcessing(
        single="[UNK] $A [UNK]", special_tokens=[("[UNK]", 1)]
    )
    library.save(str(tmp_path / "tokenizer.json"))
    cutter = Cutter(Tokenizer(tmp_path / "tokenizer.json", TokenizerRecord("", MAX_TOKENS, 0)))
    assert cutter.cut(["a b c d e"], end="left").token_ids == [[1, D, E, 1]]
    with pytest.raises(TooLongError, match="has 7 tokens"):
        cutter.cut(["a b c d e"], end="no")


def test_a_looked_up_word_is_a_token(tmp_path: Path) -> None:
    path = tmp_path / "words.json"
    path.write_text(
        '{"type": "lanner-words", "words": ["a", "b"], "stop_words": [], "do_lower_case": false}'
    )
    cutter = Cutter(WordTokenizer(path, 2))
    found = cutter.cut(["a b", "a b x a", "x"])
    assert (found.token_ids, found.cut) == ([[0, 1], [0, 1], []], [1])
    with pytest.raises(TooLongError, match="index 1 has at least 3 tokens"):
        cutter.cut(["a b", "a b x a"], end="no")
    with pytest.raises(UnsupportedError, match="can lose their end only"):
        cutter.cut(["a"], end="left")
    with pytest.raises(InputError, match="takes texts, not pairs"):
        cutter.cut([("a", "b")])

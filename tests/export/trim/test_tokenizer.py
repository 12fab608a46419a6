from collections.abc import Callable
from typing import Any

import pytest
from tests.support.checkpoints import (
    SENTENCES,
    byte_level_tokenizer,
    unigram_tokenizer,
    word_level_tokenizer,
    word_piece_tokenizer,
)
from tokenizers import Tokenizer, models, pre_tokenizers

from lanner.errors import CheckpointError, ExportError, UnsupportedError
from lanner.files.texts import shipped_sentences

pytest.importorskip("transformers", reason="needs the export extra")

from lanner_export.trim.tokenizer import trim_tokenizer

#: Known and unknown words, and texts that break careless code.
CORPUS = [
    *SENTENCES[:2],
    "the trains ☃ train☃",
    "naïve 猫\u0301 e\u0301",
    "x" * 500,
    "[MASK] <mask>",
]


def numbered(pieces: str) -> dict[str, int]:
    return {piece: number for number, piece in enumerate(pieces.split())}


def word_piece(pieces: str) -> Any:
    model = models.WordPiece(numbered(pieces), unk_token="?")  # noqa: S106 (no secret)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


@pytest.mark.parametrize(
    "make",
    [word_piece_tokenizer, byte_level_tokenizer, unigram_tokenizer],
    ids=["word-piece", "byte-level", "unigram"],
)
def test_the_corpus_is_split_as_before(make: Callable[[], Any]) -> None:
    whole = make().backend_tokenizer
    before = whole.to_str()
    trimmed, old_ids = trim_tokenizer(whole, CORPUS, "it")
    for text in CORPUS:
        assert trimmed.encode(text).tokens == whole.encode(text).tokens
        assert old_ids[trimmed.encode(text, text).ids].tolist() == whole.encode(text, text).ids
    assert trimmed.get_vocab_size() == len(old_ids) < whole.get_vocab_size()
    tokens = [trimmed.id_to_token(number) for number in range(len(old_ids))]
    assert tokens == [whole.id_to_token(number) for number in old_ids.tolist()]
    assert whole.to_str() == before


@pytest.mark.parametrize("size", [1, 10])
@pytest.mark.parametrize(
    "make",
    [word_piece_tokenizer, byte_level_tokenizer, unigram_tokenizer],
    ids=["word-piece", "byte-level", "unigram"],
)
def test_other_texts_are_split_into_characters(make: Callable[[], Any], size: int) -> None:
    whole = make().backend_tokenizer
    trimmed, _ = trim_tokenizer(whole, shipped_sentences()[:size], "it")
    unknown = {whole.token_to_id(token) for token in ("[UNK]", "<unk>")}
    other = "reset leaves instrument"
    assert not unknown & set(whole.encode(other).ids)
    ids = trimmed.encode(other).ids
    assert not {trimmed.token_to_id(token) for token in ("[UNK]", "<unk>")} & set(ids)
    assert len(ids) > len(whole.encode(other).ids)


def test_what_was_taken_of_a_word_before_it_was_given_up() -> None:
    # "abc" is unknown because nothing fits after "ab". Without "ab", "a" and "##bc" would fit.
    whole = word_piece("? a x ab ##bc abx")
    trimmed, old_ids = trim_tokenizer(whole, ["abc", "xbc"], "it")
    assert trimmed.encode("abc xbc").tokens == ["?", "x", "##bc"]
    assert old_ids.tolist() == [0, 1, 2, 3, 4]


def test_a_word_that_is_too_long_is_not_looked_into() -> None:
    whole = word_piece("? a aa ##a ##aa")
    trimmed, old_ids = trim_tokenizer(whole, ["a" * 101], "it")
    assert trimmed.encode("a" * 101).tokens == ["?"]
    assert old_ids.tolist() == [0, 1, 3]


def test_the_parts_of_what_is_joined() -> None:
    pieces = numbered("a b c d ab cd abcd dd")
    merges = [("d", "d"), ("a", "b"), ("c", "d"), ("ab", "cd")]
    whole = Tokenizer(models.BPE(pieces, merges))
    trimmed, old_ids = trim_tokenizer(whole, ["abcd"], "it")
    assert trimmed.encode("abcddd").tokens == ["abcd", "d", "d"]
    assert old_ids.tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_the_cost_of_an_unknown_character_stays() -> None:
    # An unknown costs 10 more than the least likely piece: -30 - 1 against -12 - 12. Without "zz"
    # it would be -22 - 1, and the unknown would win.
    scores = [
        ("<unk>", 0.0),
        ("☃a", -12.0),
        ("b", -12.0),
        ("ab", -1.0),
        ("zz", -20.0),
        ("yy", -3.0),
    ]
    whole = Tokenizer(models.Unigram(scores, unk_id=0))
    trimmed, old_ids = trim_tokenizer(whole, ["☃ab", "ab"], "it")
    assert trimmed.encode("☃ab").tokens == ["☃a", "b"]
    assert old_ids.tolist() == [0, 1, 2, 3, 4]


def test_bytes_stand_for_unknown_characters() -> None:
    pieces = [("<unk>", 0.0), ("word", -1.0), ("other", -1.0)]
    every_byte = [(f"<0x{number:02X}>", -9.0) for number in range(256)]
    model = models.Unigram(pieces + every_byte, unk_id=0, byte_fallback=True)
    trimmed, old_ids = trim_tokenizer(Tokenizer(model), ["word"], "it")
    assert trimmed.encode("é").tokens == ["<0xC3>", "<0xA9>"]
    assert old_ids.tolist() == [0, 1, *range(3, 259)]


def test_whole_words_have_no_parts() -> None:
    whole = word_level_tokenizer(["a", "cat", "sat"])
    trimmed, old_ids = trim_tokenizer(whole, ["the cat"], "it")
    assert trimmed.encode("a cat sat").tokens == ["[UNK]", "cat", "[UNK]"]
    assert old_ids.tolist() == [0, 2]


def test_added_tokens_beyond_the_vocabulary_follow_it() -> None:
    whole = word_piece("? a b c")
    whole.add_special_tokens(["<x>"])
    whole.add_tokens(["two words"])
    trimmed, old_ids = trim_tokenizer(whole, ["a b"], "it")
    assert old_ids.tolist() == [0, 1, 2, 3, 4, 5]
    assert trimmed.encode("b <x> two words").ids == [2, 4, 5]


def test_the_first_ids_stay_where_positions_hang_on_them() -> None:
    whole = word_piece("unused ? <pad> a word cat")
    assert trim_tokenizer(whole, ["cat"], "it").old_ids.tolist() == [1, 3, 5]
    assert trim_tokenizer(whole, ["cat"], "it", pinned=3).old_ids.tolist() == [0, 1, 2, 3, 5]
    model = models.WordPiece({"?": 0, "<pad>": 2, "a": 1000}, unk_token="?")  # noqa: S106
    with pytest.raises(
        UnsupportedError, match=r"^the tokenizer of it lacks some of its first 3 id"
    ):
        trim_tokenizer(Tokenizer(model), ["a"], "it", pinned=3)


def test_a_special_token_that_would_be_dropped() -> None:
    model = models.WordPiece(numbered("a b"), unk_token="[UNK]")  # noqa: S106
    with pytest.raises(
        CheckpointError,
        match=r"^trimming the vocabulary of it would drop its special token '\[UNK\]', which",
    ):
        trim_tokenizer(Tokenizer(model), ["a"], "it")


def test_a_corpus_that_would_be_split_differently() -> None:
    # If an added token ends a word, the pieces that were tried are not recorded: here "ab".
    whole = word_piece("? a x ab ##bc abc|")
    whole.add_tokens(["|"])
    with pytest.raises(
        ExportError, match=r"^the tokenizer of it would split 'abc\|' differently with the vocabu"
    ):
        trim_tokenizer(whole, ["xbc"] * 2000 + ["abc|"], "it")

from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from lanner_export.checkpoint.tokenizer_json import TokenizerJson


def word_level(words: str) -> Any:
    vocabulary = {word: number for number, word in enumerate(words.split())}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))  # noqa: S106 (no secret)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def test_the_tokens_that_are_kept_are_numbered_anew() -> None:
    tokenizer = word_level("p ? ( ) a b c")
    tokenizer.add_special_tokens(["p", "<x>"])
    tokenizer.add_tokens(["two words"])
    tokenizer.enable_padding(pad_id=0, pad_token="p")  # noqa: S106
    content = TokenizerJson(tokenizer)
    assert content.pieces == dict(enumerate(["p", "?", "(", ")", "a", "b", "c"]))
    assert content.added == {0: "p", 7: "<x>", 8: "two words"}
    assert content.keep({0, 1, 5, 6, 8, 7, 99}) == [0, 1, 5, 6, 7, 8]
    left = content.tokenizer()
    assert left.encode("b <x> two words c a p").ids == [2, 4, 5, 3, 1, 0]
    assert left.padding is None
    assert left.get_vocab_size() == 6


@pytest.mark.parametrize(
    "processor",
    [
        processors.TemplateProcessing(
            single="( $A )",
            pair="( $A ) $B )",
            special_tokens=[("(", 2), (")", 3)],
        ),
        processors.BertProcessing((")", 3), ("(", 2)),
        processors.RobertaProcessing((")", 3), ("(", 2)),
        processors.Sequence(
            [processors.ByteLevel(), processors.BertProcessing((")", 3), ("(", 2))]
        ),
    ],
    ids=["template", "bert", "roberta", "sequence"],
)
def test_special_tokens_around_a_text_are_renumbered(processor: Any) -> None:
    tokenizer = word_level("a ? ( ) b")
    tokenizer.post_processor = processor
    content = TokenizerJson(tokenizer)
    assert sorted(set(content.special_tokens())) == [("(", 2), (")", 3), ("?", 1)]
    assert content.keep({1, 2, 3, 4}) == [1, 2, 3, 4]
    encoding = content.tokenizer().encode("b a")
    assert (encoding.ids, encoding.tokens) == ([1, 3, 0, 2], ["(", "b", "?", ")"])


def test_joins_are_kept_with_all_their_parts() -> None:
    vocabulary = {"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4, "bc": 5}
    merges = [("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc")]
    content = TokenizerJson(Tokenizer(models.BPE(vocabulary, merges)))
    assert content.keep({0, 1, 2, 3, 4}) == [0, 1, 2, 3, 4]
    assert content.model["merges"] == [["a", "b"], ["ab", "c"]]
    assert content.tokenizer().encode("abcbc").tokens == ["abc", "b", "c"]


def test_a_mark_inside_a_word_is_joined_away() -> None:
    vocabulary = {"a": 0, "##b": 1, "ab": 2}
    model = models.BPE(vocabulary, [("a", "##b")], continuing_subword_prefix="##")
    content = TokenizerJson(Tokenizer(model))
    assert content.joined("a", "##b") == "ab"
    assert content.keep({0, 1, 2}) == [0, 1, 2]
    assert content.tokenizer().encode("ab").tokens == ["ab"]


def test_unigram_s_unknown_is_renumbered() -> None:
    model = models.Unigram([("x", -1.0), ("<unk>", 0.0), ("y", -2.0)], unk_id=1)
    content = TokenizerJson(Tokenizer(model))
    assert content.special_tokens() == [("<unk>", 1)]
    assert content.keep({1, 2}) == [1, 2]
    assert content.tokenizer().encode("yx").ids == [1, 0]


def test_special_tokens_that_are_not_there_have_no_id() -> None:
    tokenizer = word_level("a b")
    tokenizer.post_processor = processors.BertProcessing((")", 9), ("(", 8))
    found = TokenizerJson(tokenizer).special_tokens()
    assert found == [("(", None), (")", None), ("?", None)]


def test_bpe_may_have_its_unknown_beside_its_pieces() -> None:
    for model, number in (
        (models.BPE({"a": 0}, [], unk_token="?"), 1),  # noqa: S106
        (models.WordPiece({"a": 0}, unk_token="?"), None),  # noqa: S106
    ):
        tokenizer = Tokenizer(model)
        tokenizer.add_special_tokens(["?"])
        assert TokenizerJson(tokenizer).special_tokens() == [("?", 1), ("?", number)]

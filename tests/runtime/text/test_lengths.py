"""Lengths of texts in tokens, what is cut, and chunks."""

import re
from pathlib import Path

import numpy as np
import pytest
from tests.support.manifests import manifest
from tests.support.word_artifact import VOCABULARY
from tokenizers import Tokenizer as Library
from tokenizers import models, pre_tokenizers, processors

from lanner.artifact.manifest import TokenizerRecord
from lanner.errors import InputError, InputTypeError, UnsupportedError
from lanner.text.cutting import TooLongError
from lanner.text.lengths import (
    chunks_of,
    count_tokens,
    cut_indices,
    require_on_long,
    tell_long,
)
from lanner.text.tokenization import Tokenizer
from lanner.text.words import Vocabulary, WordTokenizer
from lanner.triton.client.text_requests import ServerTokenizer

CLS, SEP = 8, 9
A, B, C, D = (VOCABULARY[letter] for letter in "abcd")


def tokenizer(path: Path, *, max_tokens: int | None = 6, side: str = "right") -> Tokenizer:
    """Words of one letter between [CLS] and [SEP]."""
    vocabulary = {**VOCABULARY, "[CLS]": CLS, "[SEP]": SEP}
    library = Library(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106 (no secret)
    library.pre_tokenizer = pre_tokenizers.Whitespace()
    library.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    library.enable_truncation(max_tokens or 6, direction=side)
    library.save(str(path / "tokenizer.json"))
    return Tokenizer(path / "tokenizer.json", TokenizerRecord("tokenizer.json", max_tokens, 0))


def words(path: Path, max_tokens: int | None) -> WordTokenizer:
    Vocabulary(list("abcd")).write(path / "words.json")
    return WordTokenizer(path / "words.json", max_tokens)


def test_all_tokens_are_counted(tmp_path: Path) -> None:
    own = tokenizer(tmp_path)
    assert count_tokens(own, ["a b", "", "a b c d a b c", ("a", "b c")]) == [4, 2, 9, 6]
    assert count_tokens(words(tmp_path, 2), ["a b c x", ""]) == [3, 0]


def test_a_very_long_text_is_counted_in_pieces(tmp_path: Path) -> None:
    assert count_tokens(tokenizer(tmp_path), ["a b " * 100_000, "a"]) == [200_002, 3]


def test_what_is_cut(tmp_path: Path) -> None:
    own = tokenizer(tmp_path)
    inputs: list[str | tuple[str, str]] = ["a b c d", "a b c d a", "", ("a b", "c d"), ("a", "b c")]
    assert cut_indices(own, inputs) == [1, 3]
    assert cut_indices(own, ["é b c d", "é b c d a"]) == [1]
    assert cut_indices(tokenizer(tmp_path, side="left"), inputs) == [1, 3]
    assert cut_indices(tokenizer(tmp_path, max_tokens=None), inputs) == []
    assert cut_indices(words(tmp_path, 2), ["a b", "a b c", "a x b"]) == [1]
    # Each is cut, whatever group of inputs it is tokenised in.
    assert cut_indices(own, ["a b c d a"] * 3_000) == list(range(3_000))


def test_texts_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputTypeError, match=r"the item at index 1 is None$"):
        count_tokens(tokenizer(tmp_path), ["a", None])  # type: ignore[list-item]


def test_long_texts_are_refused_or_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    own = tokenizer(tmp_path)
    texts = ["a", "a b c d a", "b", "a b c d a b c"]
    message = (
        "the text at index 1 has 7 tokens, and the model reads at most 6: shorten it, or allow "
        "that it is cut"
    )
    with pytest.raises(TooLongError, match=f"^{re.escape(message)}$"):
        tell_long("m", own, texts, "error")
    tell_long("m", own, texts, "warn")
    assert caplog.messages == [
        "m reads at most 6 tokens, and cuts 2 of 4 texts, the first at index 1"
    ]
    caplog.clear()
    tell_long("m", own, texts, "truncate")
    tell_long("m", own, ["a", "b"], "error")
    tell_long("m", own, ["a", "b"], "warn")
    assert not caplog.messages


def test_what_may_be_asked() -> None:
    with pytest.raises(
        InputError, match=r"^on_long must be one of truncate, error, warn, chunk, no"
    ):
        require_on_long("cut")


def test_a_server_that_tokenises_knows_alone() -> None:
    message = r"^the server tokenises the texts of this model: connect to its token model$"
    for ask in (count_tokens, cut_indices):
        with pytest.raises(UnsupportedError, match=message):
            ask(ServerTokenizer(manifest()), ["a"])


def test_chunks_overlap(tmp_path: Path) -> None:
    own = tokenizer(tmp_path)  # room for four words
    found = chunks_of(own, ["a b c d a", "a b", ""], "", 1)
    assert found.token_ids == [
        [CLS, A, B, C, D, SEP],
        [CLS, D, A, SEP],
        [CLS, A, B, SEP],
        [CLS, SEP],
    ]
    np.testing.assert_array_equal(found.counts, [2, 1, 1])
    assert chunks_of(own, ["a b c d a"], "", 0).token_ids[1] == [CLS, A, SEP]
    # An eighth of four is nothing.
    assert chunks_of(own, ["a b c d a"], "", None) == chunks_of(own, ["a b c d a"], "", 0)


def test_each_chunk_has_the_prompt(tmp_path: Path) -> None:
    found = chunks_of(tokenizer(tmp_path), ["a b c", "a"], "d ", 0)
    assert found.token_ids == [[CLS, D, A, B, C, SEP], [CLS, D, A, SEP]]
    found = chunks_of(tokenizer(tmp_path), ["a b c a"], "d ", 2)
    assert found.token_ids == [[CLS, D, A, B, C, SEP], [CLS, D, B, C, A, SEP]]


def test_chunks_of_words(tmp_path: Path) -> None:
    found = chunks_of(words(tmp_path, 2), ["a b c", ""], "", 1)
    assert found.token_ids == [[0, 1], [1, 2], []]
    assert chunks_of(words(tmp_path, None), ["a b c"], "", None).token_ids == [[0, 1, 2]]


def test_an_overlap_that_leaves_no_step(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^chunk_overlap must be from 0 to 3, not 4$"):
        chunks_of(tokenizer(tmp_path), ["a"], "", 4)
    with pytest.raises(InputError, match=r"^chunk_overlap must be from 0 to 3, not -1$"):
        chunks_of(tokenizer(tmp_path), ["a"], "", -1)

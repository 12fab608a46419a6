"""The words that `tag` joins tokens to, by the tokenizer's marks or by the characters."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.manifests import FP32, manifest
from tokenizers import Tokenizer as LibraryTokenizer
from tokenizers import models, normalizers, pre_tokenizers

from lanner.artifact.manifest import TokenizerRecord
from lanner.models.tagging import TaggingModel, join_windows
from lanner.text.entities import TokenScores
from lanner.text.tokenization import Tokenizer

CHINESE, THAI = "\u5317\u4eac\u7537\u4eba", "\u0e23\u0e16\u0e44\u0e1f\u0e04\u0e19"


def word_pieces() -> LibraryTokenizer:
    """BERT's kind: the mark "##" says what continues a word."""
    pieces = ["[UNK]", "train", "man", "##s", "##man", ",", THAI[:4], "##" + THAI[4:], *CHINESE]
    tokenizer = LibraryTokenizer(
        models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]")  # noqa: S106
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def unigram() -> LibraryTokenizer:
    """XLM-RoBERTa's kind: pieces with the blank before them."""
    pieces = ["<unk>", "\u2581train", "train", "man", "s", ",", "(", ")", CHINESE[:2], CHINESE[2:]]
    pieces += [
        "\u2581" + CHINESE[:2],
        THAI[:4],
        THAI[4:],
        "\u2581man",
        "\u2581",
        "ma",
        "n",
        "\u0301",
        "-",
    ]
    tokenizer = LibraryTokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


def words_of(made: LibraryTokenizer, text: str, directory: Path) -> list[str]:
    made.save(str(directory / "tokenizer.json"))
    record = TokenizerRecord("tokenizer.json", 64, 0, unknown_token_id=0)
    tokenizer = Tokenizer(directory / "tokenizer.json", record, overlap_tokens=16)
    (windows,) = tokenizer.windows([text])
    tokens = join_windows(
        text, windows, [np.zeros((len(windows[0].ids), 2), np.float32)], tokenizer
    )
    spans: list[list[int]] = []
    for (start, end), continues in zip(tokens.offsets.tolist(), tokens.continues, strict=True):
        if continues:
            spans[-1][1] = end
        elif text[start:end].strip():
            spans.append([start, end])
    return [text[start:end].strip() for start, end in spans]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train mans", ["train", "mans"]),
        ("train ma\u0301n", ["train", "ma\u0301n"]),
        ("train\u00a0man,train", ["train", "man", ",", "train"]),
        (CHINESE, [*CHINESE]),
        (THAI, [THAI[:4], THAI[4:]]),
    ],
    ids=["pieces", "a combining mark", "a no-break space", "Chinese", "Thai"],
)
def test_marked_pieces(text: str, words: list[str], tmp_path: Path) -> None:
    assert words_of(word_pieces(), text, tmp_path) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train mans", ["train", "mans"]),
        ("train ma\u0301n", ["train", "ma\u0301n"]),
        ("train\tman", ["train", "man"]),
        ("train, (man)", ["train", ",", "(", "man", ")"]),
        ("train-man", ["train", "-", "man"]),
        (CHINESE, [CHINESE[:2], CHINESE[2:]]),
        ("train" + THAI, ["train", THAI[:4], THAI[4:]]),
    ],
    ids=["pieces", "a combining mark", "a tab", "punctuation", "a hyphen", "Chinese", "Thai"],
)
def test_pieces_without_marks(text: str, words: list[str], tmp_path: Path) -> None:
    found = words_of(unigram(), text, tmp_path)
    assert found == words


class Read(TaggingModel):
    """Every two characters of a text are a token, or every one."""

    width = 2

    def token_scores(self, texts: Any, *_: Any, **__: Any) -> list[TokenScores]:
        return [
            TokenScores(
                np.array([(i, i + self.width) for i in range(0, len(text), self.width)]),
                np.ones((len(text) // self.width, 3), np.float32),
                np.zeros(len(text) // self.width, dtype=bool),
            )
            for text in texts
        ]


def test_words_that_cannot_be_told_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    def made() -> Read:
        return Read(manifest=manifest("tag"), variant=FP32, tokenizer=Any, runner=Any)  # type: ignore[arg-type]

    model = made()
    model.tag([CHINESE])
    model.tag(["trains"], aggregation_strategy="first")
    by_character = made()
    by_character.width = 1  # as BERT's tokenizer reads Chinese
    by_character.tag([CHINESE], aggregation_strategy="first")
    assert caplog.messages == []
    for strategy in ("first", "average", "max"):
        model.tag(["train ", THAI, CHINESE], aggregation_strategy=strategy)
    message = (
        "words cannot tell words in a script without blanks between them, such as Thai or Chinese: "
        "there every token counts as one, as with aggregation_strategy='simple'"
    )
    assert caplog.messages == [message]

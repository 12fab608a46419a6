from pathlib import Path
from typing import Any

import pytest
from tests.support.bounds import at_most_cpu_s

from lanner.errors import ArtifactError, InputError, InputTypeError
from lanner.text.words import Vocabulary, WordTokenizer

WORDS = ["the", "Falcon", "falcon", "flies", "猫", "🦅", "don't", "--", "nasa", "naïve"]
TEXTS = (
    "",
    " \t\n",
    "the Falcon flies",
    "THE FALCON, flies!",
    "(falcon) 'Flies' ...",
    "!!! -- ---",
    "NASA's NASA. nasa",
    "don't 'don't' DON'T",
    "猫 猫。 「猫」 🦅 🦅! 🦅🦅",
    "Naïve naïve NAÏVE nai\u0308ve",
    "unknown words only",
    "the\u00a0falcon\u2003flies\x1cthe\x00falcon",
    "İ ß ẞ",
    "the falcon flies " * 50,
)


def tokenizer(path: Path, vocabulary: Vocabulary, **arguments: Any) -> WordTokenizer:
    vocabulary.write(path / "words.json")
    return WordTokenizer(path / "words.json", **arguments)


@pytest.mark.parametrize("do_lower_case", [False, True])
@pytest.mark.parametrize("stop_words", [(), ("the", "flies", "nasa")], ids=["all", "some"])
@pytest.mark.parametrize("words", [WORDS, [*WORDS, "", "falcon"]], ids=["plain", "odd"])
def test_ids_are_those_of_sentence_transformers(
    tmp_path: Path, words: list[str], stop_words: tuple[str, ...], *, do_lower_case: bool
) -> None:
    tokenizers = pytest.importorskip("sentence_transformers.sentence_transformer.modules.tokenizer")
    reference = tokenizers.WhitespaceTokenizer(words, stop_words, do_lower_case)
    ours = tokenizer(tmp_path, Vocabulary(words, frozenset(stop_words), do_lower_case))
    assert ours.encode(TEXTS) == [reference.tokenize(text) for text in TEXTS]


def test_a_word_is_looked_up_bare_and_then_in_lower_case(tmp_path: Path) -> None:
    ours = tokenizer(tmp_path, Vocabulary(["a", "B", "b.", "c"], frozenset({"c"})))
    assert ours.encode(["a B b. b", "A! B? (b.)", "c C c! zzz"]) == [[0, 1, 2], [0, 1], []]


def test_known_words_beyond_the_limit_are_cut(tmp_path: Path) -> None:
    ours = tokenizer(tmp_path, Vocabulary(["a", "b"]), max_tokens=2)
    assert ours.encode(["a zzz b a", "b", "", "a " * 100_000]) == [[0, 1], [1], [], [0, 0]]


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        (["a", None], InputTypeError, r"must be a str, but the item at index 1 is None"),
        ([("a", "b")], InputTypeError, r"must be a str, but the item at index 0 is of type tuple"),
        (["a", "b\udfff"], InputError, r"index 1 is not valid Unicode \(a lone surrogate at cha"),
    ],
)
def test_what_is_no_text_is_named_by_its_index(
    tmp_path: Path, texts: list[str], error: type[InputError], message: str
) -> None:
    with pytest.raises(error, match=message):
        tokenizer(tmp_path, Vocabulary(["a"])).encode(texts)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", r"Expecting property name"),
        ("[]", r"its 'type' is not 'lanner-words'"),
        ('{"type": "WordLevel"}', r"its 'type' is not 'lanner-words'"),
        ('{"type": "lanner-words", "words": "abc"}', r"'words' is not a list of words"),
        ('{"type": "lanner-words", "words": ["a", 1]}', r"'words' is not a list of words"),
        ('{"type": "lanner-words", "words": []}', r"'stop_words' is not a list of words"),
        (
            '{"type": "lanner-words", "words": [], "stop_words": []}',
            r"'do_lower_case' is neither true nor false",
        ),
        ("\udcff", r"can't decode byte"),
        (None, r"the file does not exist"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_named(
    tmp_path: Path, content: str | None, problem: str
) -> None:
    path = tmp_path / "words.json"
    if content is not None:
        path.write_text(content, encoding="utf-8", errors="surrogateescape")
    message = rf"words.json is not a word vocabulary of Lanner: .*{problem}"
    with pytest.raises(ArtifactError, match=message):
        WordTokenizer(path)


def test_a_large_vocabulary_loads_at_once(tmp_path: Path) -> None:
    Vocabulary([f"word{i}" for i in range(400_000)]).write(tmp_path / "words.json")
    with at_most_cpu_s(2):  # 0.11 s on an idle core
        ours = WordTokenizer(tmp_path / "words.json")
    assert ours.encode(["word399999"]) == [[399_999]]


def test_a_text_without_blanks_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = tokenizer(tmp_path, Vocabulary(["北京", "the"]))
    # Known words, none of a script without blanks, none at all: nothing to say.
    assert words.encode(["北京 天安门", "unknown words only", "", "the 天安门"]) == [
        [0],
        [],
        [],
        [1],
    ]
    assert caplog.messages == []
    assert words.encode(["我爱北京天安门", "ฉันรัก"]) == [[], []]
    words.encode(["我爱北京天安门"])
    message = (
        "a text without blanks between its words, such as Chinese or Thai, has none of the words "
        "of this table: split it into words first, or export the table with --segment jieba if it "
        "is Chinese"
    )
    assert caplog.messages == [message]

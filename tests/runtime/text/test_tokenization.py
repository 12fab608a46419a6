import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tokenizers as library

from lanner.artifact.manifest import TokenizerRecord
from lanner.errors import ArtifactError, InputError, InputTypeError
from lanner.text.tokenization import Tokenizer, check_texts

RECORD = TokenizerRecord("tokenizer.json", max_tokens=4, pad_token_id=0)


POOL_VARIABLES = ("TOKENIZERS_PARALLELISM", "RAYON_NUM_THREADS", "RAYON_RS_NUM_CPUS")


@pytest.fixture
def tokenizer(word_artifact: Path) -> Tokenizer:
    return Tokenizer(word_artifact / "tokenizer.json", RECORD)


def test_ids_are_those_of_the_vocabulary(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode(["a b", "f"]) == [[2, 3], [7]]
    assert tokenizer.encode(["a b"]) == [[2, 3]]
    assert tokenizer.encode(["zzz"]) == [[1]]


def test_long_texts_are_cut_at_the_limit(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode(["a b c d e f", "a " * 100_000]) == [[2, 3, 4, 5], [2, 2, 2, 2]]


def test_odd_texts_have_tokens_or_none(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode(["", "  \n", "🦅", "猫", "\x00"]) == [[], [], [1], [1], [1]]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", None], r"must be a str, but the item at index 1 is None"),
        (["a", "b", 3.5], r"must be a str, but the item at index 2 is of type float"),
        ([b"a"], r"must be a str, but the item at index 0 is of type bytes"),
        ([["a", "b"]], r"must be a str, but the item at index 0 is of type list"),
        (["a", ("a", "b")], r"must be a str, but the item at index 1 is of type tuple"),
    ],
)
def test_what_is_no_text_is_named_by_its_index(
    tokenizer: Tokenizer, texts: list[str], message: str
) -> None:
    with pytest.raises(InputTypeError, match=message):
        tokenizer.encode(texts)


@pytest.mark.parametrize("texts", [["a\ud800"], ["a", "b\udfff"]])
def test_half_a_surrogate_pair_is_named(tokenizer: Tokenizer, texts: list[str]) -> None:
    place = rf"index {len(texts) - 1} is not valid Unicode \(a lone surrogate at character 1\)"
    with pytest.raises(InputError, match=place):
        tokenizer.encode(texts)


def test_texts_that_are_right_pass_the_check() -> None:
    check_texts(["", "a", "🦅"])


def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(
        ArtifactError,
        match=r"this version of 'tokenizers' cannot read the tokenizer .*tokenizer.json",
    ):
        Tokenizer(path, RECORD)


@pytest.mark.parametrize("texts", [["zz"], ["a", "zz"], ["zz " * 1_000]], ids=["1", "2", "long"])
def test_a_tokenizer_that_fails_on_a_text_is_named(tmp_path: Path, texts: list[str]) -> None:
    path = tmp_path / "tokenizer.json"
    library.Tokenizer(library.models.WordLevel({"a": 0}, unk_token="?")).save(str(path))  # noqa: S106
    tokenizer = Tokenizer(path, RECORD)
    message = rf"^the tokenizer {path} fails on a text \(WordLevel error: .*\): export the checkp"
    calls: list[Any] = [tokenizer.encode, tokenizer.encode_pairs, tokenizer.windows]
    for call in calls:
        with pytest.raises(ArtifactError, match=message):
            call(texts)
    assert tokenizer.encode(["a", "a"]) == [[0], [0]]


def test_pairs_and_single_texts(tokenizer: Tokenizer) -> None:
    inputs: list[Any] = ["a b", ("a", "b"), ["c", ""]]
    encodings = tokenizer.encode_pairs(inputs, with_types=True)
    assert [encoding.ids for encoding in encodings] == [[2, 3], [2, 3], [4]]
    assert [encoding.type_ids for encoding in encodings] == [[0, 0], [0, 1], [0]]
    assert [encoding.ids for encoding in tokenizer.encode_pairs(inputs)] == [[2, 3], [2, 3], [4]]
    (alone,) = tokenizer.encode_pairs([("a", "b")], with_types=True)
    assert (alone.ids, alone.type_ids) == ([2, 3], [0, 1])


def test_of_a_pair_that_is_too_long_the_longer_text_is_cut(tokenizer: Tokenizer) -> None:
    # As transformers' "longest_first" does.
    (encoding,) = tokenizer.encode_pairs([("a b c d e", "f")])
    assert encoding.ids == [2, 3, 4, 7]


def test_windows_overlap_and_know_their_places(word_artifact: Path) -> None:
    tokenizer = Tokenizer(word_artifact / "tokenizer.json", RECORD, overlap_tokens=2)
    whole, empty = tokenizer.windows(["a b c d e f a", ""])
    assert [window.ids for window in whole] == [[2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 2]]
    assert whole[1].offsets == [(4, 5), (6, 7), (8, 9), (10, 11)]
    assert [window.ids for window in empty] == [[]]
    (alone,) = tokenizer.windows(["a b c d e"])
    assert [window.ids for window in alone] == [[2, 3, 4, 5], [4, 5, 6]]


def test_a_text_may_be_cut_by_characters_first(word_artifact: Path) -> None:
    record = replace(RECORD, max_characters=3)
    tokenizer = Tokenizer(word_artifact / "tokenizer.json", record)
    assert tokenizer.encode(["a b c", "d"]) == [[2, 3], [5]]


def test_without_a_limit_nothing_is_cut(word_artifact: Path) -> None:
    tokenizer = Tokenizer(word_artifact / "tokenizer.json", replace(RECORD, max_tokens=None))
    assert len(tokenizer.encode(["a " * 10_000])[0]) == 10_000


def test_a_prompt_is_counted_without_its_ending_special_token(tokenizer: Tokenizer) -> None:
    assert tokenizer.count_prompt_tokens("a b") == 2


def test_a_moment_without_threads_is_survived(word_artifact: Path) -> None:
    # The library's thread pool is made once; where that fails, it panics at every batch from then.
    code = (
        "import pathlib, resource, sys\n"
        "from lanner.artifact.manifest import Manifest\n"
        "from lanner.text.tokenization import Tokenizer\n"
        "directory = pathlib.Path(sys.argv[1])\n"
        "record = Manifest.read(directory).tokenizer\n"
        "tokenizer = Tokenizer(directory / record.file, record)\n"
        "pages = int(open('/proc/self/statm').read().split()[0])\n"
        "before = resource.getrlimit(resource.RLIMIT_AS)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + 1_000_000, before[1]))\n"
        "print(tokenizer.encode(['a', 'b c']))\n"
        "print([len(one) for one in tokenizer.windows(['a', 'a b c d e'])])\n"
        "resource.setrlimit(resource.RLIMIT_AS, before)\n"
        "print(tokenizer.encode(['a', 'b c']))\n"
    )
    command = [sys.executable, "-c", code, str(word_artifact)]
    # What other tests set would keep the library from making its pool.
    environment = {k: v for k, v in os.environ.items() if k not in POOL_VARIABLES}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True, env=environment
    )
    assert "ThreadPoolBuildError" in done.stderr  # it did happen
    assert done.stdout == "[[2], [3, 4]]\n[1, 2]\n[[2], [3, 4]]\n"

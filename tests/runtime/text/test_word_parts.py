import pytest

from lanner.artifact.manifest import MOST_TOKEN_IDS, WordParts
from lanner.text.word_parts import buckets_of, part_ids

WORDS = ["a", "ab", "falcon", "naïve", "猫", "北京大学", "🦅flies", "a-b_c", "x" * 60]


def test_a_part_is_hashed_by_fnv_1a() -> None:
    # The published values of 32-bit FNV-1a: of "a" 0xE40C292C, and of "foobar" 0xBF9CF968.
    assert buckets_of(b"foobar", WordParts(2**32, 6, 6))[1] == 0xBF9CF968
    assert buckets_of(b"xay", WordParts(2**32, 1, 1))[1] == 0xE40C292C


def test_blanks_of_the_word_alone_are_no_part() -> None:
    # Of "<ab>": "a", "b"; "<a", "ab", "b>"; "<" and ">" alone are none.
    assert len(buckets_of(b"ab", WordParts(100, 1, 1))) == 2
    assert len(buckets_of(b"ab", WordParts(100, 1, 2))) == 5


@pytest.mark.parametrize(("shortest", "longest"), [(1, 3), (3, 6), (5, 5)])
def test_parts_are_those_of_gensim(shortest: int, longest: int) -> None:
    fasttext = pytest.importorskip("gensim.models.fasttext")
    parts = WordParts(1_000, shortest, longest)
    for word in WORDS:
        expected = fasttext.ft_ngram_hashes(word, shortest, longest, 1_000)
        assert buckets_of(word.encode(), parts) == expected


def test_an_id_says_the_row_and_the_number_of_parts() -> None:
    parts = WordParts(20, 3, 3)
    first, second = buckets_of(b"ab", parts)  # "<ab" and "ab>"
    # 10 words and 20 buckets are 30 rows; the word has one more part.
    assert part_ids("ab", parts, 10) == (30 + 10 + first, 30 + 10 + second)
    assert part_ids("a", WordParts(20, 5, 6), 10) == ()  # "<a>" is shorter than any part


def test_ids_stay_below_their_limit() -> None:
    parts = WordParts(2**20, 3, 6)
    most = MOST_TOKEN_IDS // 2**20  # 2,048 parts
    # A word of n characters has (n + 2) - 2, - 3, - 4 and - 5 parts of 3, 4, 5 and 6 characters.
    largest = (most + 6) // 4
    assert 0 < max(part_ids("x" * largest, parts, 0)) < MOST_TOKEN_IDS
    assert len(part_ids("x" * largest, parts, 0)) == 4 * largest - 6
    assert part_ids("x" * (largest + 1), parts, 0) == ()
    assert part_ids("x" * 10_000_000, parts, 0) == ()

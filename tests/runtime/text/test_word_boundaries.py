import pytest

from lanner.text.word_boundaries import Boundary, boundary_before, lacks_blanks


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a man  plays", ["a", "man", "plays"]),
        ("a\u00a0man\u3000plays\u200bso\nit\tis\u2028", ["a", "man", "plays", "so", "it", "is"]),
        ("(Paris), o'er!", ["(", "Paris", ")", ",", "o", "'", "er", "!"]),
        ("\u201cParis\u201d\u2014\uff0c", [*"\u201c", "Paris", *"\u201d\u2014\uff0c"]),
        ("C$ 5\u20ac 20\u00b0C", ["C", "$", "5\u20ac", "20\u00b0C"]),
        ("se\u0301ve\u0301 \u0936\u093e", ["se\u0301ve\u0301", "\u0936\u093e"]),
        ("\u0645\u06cc\u200c\u062e\u0648", ["\u0645\u06cc\u200c\u062e\u0648"]),
        ("!\ufe0fa", ["!\ufe0f", "a"]),
        ("\uc11c\uc6b8\uc5d0 ab", ["\uc11c\uc6b8\uc5d0", "ab"]),
    ],
    ids=[
        "blanks",
        "other white space",
        "punctuation",
        "wide punctuation",
        "symbols",
        "combining marks",
        "joiners",
        "a mark on punctuation",
        "Hangul has blanks",
    ],
)
def test_words(text: str, words: list[str]) -> None:
    edges = [i for i in range(len(text)) if boundary_before(text, i) is not Boundary.NONE]
    found = [text[a:b].strip(" \u200b") for a, b in zip(edges, [*edges[1:], None], strict=True)]
    assert [word.strip() for word in found if word.strip()] == words
    assert not any(boundary_before(text, i) is Boundary.UNKNOWN for i in edges)
    assert not lacks_blanks(text)


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("\u5317\u4eac man", [1]),
        ("man\u5317\u4eac", [4]),
        ("\u30bf\u30ef\u30fc", [1, 2]),
        ("\u0e23\u0e16\u0e44\u0e1f", [1, 2, 3]),
        ("\u0e01\u0e33\u0e44\u0e25", [1, 2, 3]),
        ("\U00020000\U00020001", [1]),
    ],
    ids=["Chinese", "behind Latin", "Japanese", "Thai", "Thai vowels", "rare Chinese"],
)
def test_scripts_without_blanks(text: str, unknown: list[int]) -> None:
    found = [i for i in range(len(text)) if boundary_before(text, i) is Boundary.UNKNOWN]
    assert found == unknown
    assert lacks_blanks(text)


def test_a_letter_of_many_marks_takes_bounded_time() -> None:
    text = "a" + "\u0301" * 100_000
    assert boundary_before(text, 3) is Boundary.NONE
    assert boundary_before(text, 90_000) is Boundary.WORD
    assert boundary_before(text, len(text)) is Boundary.WORD

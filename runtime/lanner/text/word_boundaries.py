"""Find the ends of words in a text by its characters, for tokenizers that do not mark them.

White space ends a word, and a punctuation character is a word of its own, as in BERT's tokenizer. A
combining mark belongs to the character before it. Scripts without blanks between words do not show
where words end.
"""

import re
import unicodedata
from enum import Enum
from functools import lru_cache

#: Thai to Tibetan, Myanmar, Khmer, New Tai Lue to Tai Tham, Chinese characters and Japanese kana.
_WITHOUT_BLANKS = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u2e80-\u2fdf\u3005-\u3007"
    "\u3040-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua9e0-\uaa7f\uf900-\ufaff\uff66-\uff9d"
    "\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
_SEVERAL_WITHOUT_BLANKS = re.compile(f"[{_WITHOUT_BLANKS}]{{2}}")
_ONE_WITHOUT_BLANKS = re.compile(f"[{_WITHOUT_BLANKS}]")
#: A letter with more marks than this counts as white space, so that the search for it is bounded.
_MOST_MARKS = 16
_ZERO_WIDTH_SPACE = "\u200b"


class Boundary(Enum):
    """The kind of place between two neighbouring characters."""

    NONE = "none: they are of one word"
    WORD = "the end of a word"
    UNKNOWN = "unknown: the script has no blanks between words"


class _Kind(Enum):
    SPACE = "white space"
    PUNCTUATION = "punctuation"
    MARK = "a part of the character before"
    WITHOUT_BLANKS = "a letter of a script without blanks"
    LETTER = "anything else"


def lacks_blanks(text: str) -> bool:
    """Return True if a text does not show its words, because its script has no blanks."""
    return _SEVERAL_WITHOUT_BLANKS.search(text) is not None


def boundary_before(text: str, index: int) -> Boundary:
    """Classify the place between a character of a text and the one before it.

    Args:
        text: The text.
        index: The index of the character; both edges of the text count as the end of a word.
    """
    if not 0 < index < len(text):
        return Boundary.WORD
    here = _kind(text[index])
    # Marks belong to the letter that they stand on.
    before = map(_kind, reversed(text[max(0, index - _MOST_MARKS) : index]))
    base = next((kind for kind in before if kind is not _Kind.MARK), _Kind.SPACE)
    if _Kind.SPACE in (here, base):
        return Boundary.WORD
    if here is _Kind.MARK:
        return Boundary.NONE
    if _Kind.PUNCTUATION in (here, base):
        return Boundary.WORD
    if _Kind.WITHOUT_BLANKS in (here, base):
        return Boundary.UNKNOWN if here is base else Boundary.WORD
    return Boundary.NONE


@lru_cache(4096)
def _kind(character: str) -> _Kind:
    category = unicodedata.category(character)
    if character.isspace() or category == "Cc" or character == _ZERO_WIDTH_SPACE:
        return _Kind.SPACE
    if category[0] == "M" or category == "Cf":  # also joiners, and characters that choose a glyph
        return _Kind.MARK
    if category[0] == "P" or (character.isascii() and not character.isalnum()):
        return _Kind.PUNCTUATION
    if _ONE_WITHOUT_BLANKS.match(character):
        return _Kind.WITHOUT_BLANKS
    return _Kind.LETTER

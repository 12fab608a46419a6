"""Overlapping windows of a long text, which is split piece by piece.

An encoding of the `tokenizers` library takes about 200 bytes per token, so ten million characters
would take gigabytes. Here a token takes 16 bytes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding
from tokenizers import Tokenizer as _Tokenizer

from lanner.errors import InputError
from lanner.text.long_texts import require_time

#: Characters of a piece.
_PIECE = 50_000
#: If a piece and the next one do not agree, a piece this many times larger is read.
_GROWTH = 4
#: The most characters of a piece.
_MOST_CHARACTERS = 800_000
#: Neighboring pieces share this many characters.
_SHARED = 4_096
#: The next piece takes over where this many tokens, from this many words, are the same in both.
_AGREED, _WORDS = 64, 8
#: Within one huge word this many equal tokens are enough, except for WordPiece.
_AGREED_IN_A_WORD = 8
#: A token with more characters than any vocabulary entry: a token for an unknown word.
_ENDLESS = 1_000
#: A piece begins where a token of the previous piece begins, if one begins within this many
#: characters.
_NEAR = 256
#: A run of this many blanks, which have no tokens, separates the text before it from the text
#: behind it.
_BLANKS = 16


class Window(Protocol):
    """A part of a text that the model reads at once; an `Encoding` of the library is one."""

    @property
    def ids(self) -> Sequence[int] | NDArray[np.int32]:
        """The token ids, special tokens included."""

    @property
    def special_tokens_mask(self) -> Sequence[int]:
        """1 for each special token, which is not part of the text; otherwise 0."""

    @property
    def offsets(self) -> Sequence[tuple[int, int]]:
        """The first and the end index of each token's characters."""

    @property
    def tokens(self) -> Sequence[str]:
        """The tokens as the vocabulary writes them."""

    def __len__(self) -> int:
        """Return the number of tokens."""


class Tokens(NamedTuple):
    """Tokens of a text, without special ones.

    Attributes:
        ids: int32 [tokens].
        offsets: int32 [tokens, 2], the first and the end index of each token's characters.
        words: int32 [tokens], the number of each token's word in its piece; -1 for none.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int32]
    words: NDArray[np.int32]

    @classmethod
    def of(cls, encoding: Encoding, start: int) -> "Tokens":
        """Return the tokens of a piece of a text that begins at `start`."""
        offsets = np.array(encoding.offsets, np.int32).reshape(-1, 2)
        words = [-1 if word is None else word for word in encoding.word_ids]
        ids = np.array(encoding.ids, np.int32)
        return cls(ids, offsets + np.int32(start), np.array(words, np.int32))

    def part(self, start: int, end: int | None = None) -> "Tokens":
        """Return the tokens from one index to another."""
        return Tokens(*(column[start:end] for column in self))

    def first_from(self, character: int) -> int:
        """Return the index of the first token that begins at a character or behind it."""
        return int(np.argmax(np.append(self.offsets[:, 0] >= character, True)))

    def around(self, character: int) -> int | None:
        """Return the index of the endless token that contains a character, or None."""
        starts, ends = self.offsets[:, 0], self.offsets[:, 1]
        is_around = (starts < character) & (character < ends) & (ends - starts > _ENDLESS)
        return int(np.argmax(is_around)) if is_around.any() else None

    def touches(self, characters: range) -> bool:
        """Return True if a token covers one of these characters."""
        starts, ends = self.offsets[:, 0], self.offsets[:, 1]
        return bool(((starts < characters.stop) & (ends > characters.start)).any())

    def begins_near(self, character: int) -> int:
        """Return where the last token before a character begins; if none is near, the character."""
        before = self.offsets[: self.first_from(character), 0]
        return int(before[-1]) if len(before) and before[-1] > character - _NEAR else character


def tokens_of(
    text: str, split: Callable[[str], Encoding], *, by_words: bool = False, index: int = 0
) -> Tokens:
    """Return all tokens of a text, the same that splitting the whole text would give.

    One exception is a word of more than `_MOST_CHARACTERS`. If several ways to split it are equally
    good, the tokens may be those of another way than the whole text would get.

    Args:
        text: A long text.
        split: Returns all tokens of a piece, without special ones.
        by_words: True if the tokens of a word may depend on the whole word, as with WordPiece.
        index: The text's index, for messages.

    Raises:
        DeadlineError: The time of `current_deadline_s` is up before the next piece is split.
        InputError: Millions of characters are one word, and its tokens depend on the whole word.
    """
    found: list[Tokens] = []
    start, size = 0, _PIECE
    piece = Tokens.of(split(text[:size]), 0)
    # The tokens of the piece count from this seam on; those before it are in `found`.
    seam = _Seam(0, 0, 0)
    while start + size < len(text):
        require_time()
        middle = start + size - _SHARED // 2
        beside = piece.begins_near(middle - _SHARED // 2)
        following = Tokens.of(split(text[beside : beside + _PIECE]), beside)
        is_largest = size * _GROWTH > _MOST_CHARACTERS
        next_seam = _seam(text, piece, following, middle, in_word=is_largest and not by_words)
        if next_seam is not None:
            found.append(piece.part(0, next_seam.end))
            piece, start, size = following.part(next_seam.begin), beside, _PIECE
            seam = next_seam
        elif is_largest:
            msg = (
                f"the text at index {index} has {len(text):,} characters, and more than "
                f"{size:,} of them are one word: split it, or remove what is no text"
            )
            raise InputError(msg)
        else:  # the word is longer than the piece
            size *= _GROWTH
            again = Tokens.of(split(text[start : start + size]), start)
            # Leave out the tokens that earlier pieces have given.
            piece = again.part(seam.begin_in(again))
        if seam.token_start is not None:
            piece.offsets[0, 0] = seam.token_start
    found.append(piece)
    return Tokens(*map(np.concatenate, zip(*found, strict=True)))


class _Seam(NamedTuple):
    """The place at which a piece takes over from the previous one.

    Attributes:
        end: The number of tokens that count in the previous piece.
        begin: The index of the first token that counts in the following piece.
        character: The index of the character that this token begins at; for an endless token, the
            index of a character within it.
        token_start: For an endless token, the index of its first character, before the following
            piece; otherwise None.
    """

    end: int
    begin: int
    character: int
    token_start: int | None = None

    def begin_in(self, tokens: Tokens) -> int:
        """Return the index of the first token that counts in a piece with the same beginning."""
        if self.token_start is None:
            return tokens.first_from(self.character)
        return tokens.around(self.character) or 0


def _seam(
    text: str, piece: Tokens, following: Tokens, middle: int, *, in_word: bool
) -> _Seam | None:
    """Return the seam of two pieces near the middle of their common part; None without one."""
    end, begin = piece.first_from(middle), following.first_from(middle)
    tail, head = (some.part(i, i + _AGREED) for some, i in ((piece, end), (following, begin)))
    if _agree(tail, head, in_word=in_word):
        return _Seam(end, begin, int(following.offsets[begin, 0]))
    # The token at the middle is endless in both pieces: an unknown word, or unknown characters.
    ours, theirs = piece.around(middle), following.around(middle)
    if ours is not None and theirs is not None and piece.ids[ours] == following.ids[theirs]:
        return _Seam(ours, theirs, middle, int(piece.offsets[ours, 0]))
    # Only blanks are at the middle, and blanks have no tokens.
    blanks = _blanks(text, middle)
    if len(blanks) >= _BLANKS and not (piece.touches(blanks) or following.touches(blanks)):
        return _Seam(end, begin, middle)
    return None


def _blanks(text: str, middle: int) -> range:
    """Return the indices of the blanks around an index, as far as the two pieces reach."""
    before, after = text[max(0, middle - _PIECE) : middle], text[middle : middle + _PIECE]
    return range(
        middle - len(before) + len(before.rstrip()), middle + len(after) - len(after.lstrip())
    )


def _agree(one: Tokens, other: Tokens, *, in_word: bool) -> bool:
    """Return True if two pieces have the same tokens, and enough of them to join the pieces.

    Within a word, tokens may depend on the far end of the word.
    """
    count = min(len(one.ids), len(other.ids))
    is_enough = count == _AGREED and len(np.unique(one.words)) >= _WORDS
    if in_word and not is_enough:
        if count < _AGREED:  # near the end of a piece, tokens may be parts of the text's tokens
            count //= 2
        is_enough = count >= _AGREED_IN_A_WORD
    pairs = zip(one.part(0, count)[:2], other.part(0, count)[:2], strict=True)
    return is_enough and all(np.array_equal(*pair) for pair in pairs)


@dataclass(frozen=True)
class _LongTextWindow:
    """A window of a long text."""

    _library: _Tokenizer
    _text: Tokens
    _before: Sequence[int]
    _after: Sequence[int]

    @cached_property
    def ids(self) -> NDArray[np.int32]:
        around = (np.array(self._before, np.int32), np.array(self._after, np.int32))
        return np.concatenate([around[0], self._text.ids, around[1]])

    @property
    def special_tokens_mask(self) -> list[int]:
        return [1] * len(self._before) + [0] * len(self._text.ids) + [1] * len(self._after)

    @property
    def offsets(self) -> list[tuple[int, int]]:
        nothing = (0, 0)
        of_text = [(start, end) for start, end in self._text.offsets.tolist()]
        return [nothing] * len(self._before) + of_text + [nothing] * len(self._after)

    @property
    def tokens(self) -> list[str]:
        return [self._library.id_to_token(one) or "" for one in self.ids.tolist()]

    def __len__(self) -> int:
        return len(self._before) + len(self._text.ids) + len(self._after)


def windows_of(tokens: Tokens, first: Encoding, library: _Tokenizer) -> list[Window]:
    """Return the windows that the library's truncation would make of a text.

    Args:
        tokens: All tokens of the text.
        first: The library's window of the text's first tokens; all windows get its special tokens.
        library: The tokenizer, with truncation.
    """
    inner = np.flatnonzero(np.array(first.special_tokens_mask) == 0)
    before, after = first.ids[: inner[0]], first.ids[inner[-1] + 1 :]
    cut = library.truncation or {}
    most = cut["max_length"] - len(before) - len(after)
    ranges = _ranges(len(tokens.ids), most, most - cut["stride"], cut["direction"] == "left")
    return [
        _LongTextWindow(library, tokens.part(start, end), before, after) for start, end in ranges
    ]


def _ranges(count: int, most: int, step: int, from_end: bool) -> Iterator[tuple[int, int]]:
    """Yield the range of each window of at most `most` among `count` tokens."""
    for done in range(0, count, step):
        end = min(done + most, count)
        yield (count - end, count - done) if from_end else (done, end)
        if end == count:
            return

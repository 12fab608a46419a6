"""Overlapping windows of a long text, which is split piece by piece.

An encoding of the `tokenizers` library takes some 200 bytes a token: ten million characters would
be gigabytes. Here a token is sixteen bytes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding
from tokenizers import Tokenizer as _Tokenizer

from lanner.text.long_texts import require_time

#: Characters that are split at once.
_PIECE = 200_000
#: How much larger a piece is read if it and the next one do not agree.
_GROWTH = 4
#: Neighbouring pieces share so many characters,
_SHARED = 4_096
#: and take over from each other where so many tokens, of so many words, are the same in both.
_AGREED, _WORDS = 64, 8


class Window(Protocol):
    """A part of a text that the model reads at once; an `Encoding` of the library is one."""

    @property
    def ids(self) -> Sequence[int] | NDArray[np.int32]:
        """The token ids, special tokens included."""

    @property
    def special_tokens_mask(self) -> Sequence[int]:
        """1 for each token that the text itself does not have, and otherwise 0."""

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


def tokens_of(text: str, split: Callable[[str], Encoding]) -> Tokens:
    """Return all tokens of a text, as splitting the whole of it gives them.

    Args:
        text: A long text.
        split: Returns all tokens of a piece, without special ones.

    Raises:
        DeadlineError: The time of `current_deadline_s` is up before the next piece is split.
    """
    found: list[Tokens] = []
    start, size = 0, _PIECE
    piece = Tokens.of(split(text[:size]), 0)
    while start + size < len(text):
        require_time()
        middle = start + size - _SHARED // 2
        beside = middle - _SHARED // 2
        following = Tokens.of(split(text[beside : beside + _PIECE]), beside)
        ends, begins = piece.first_from(middle), following.first_from(middle)
        if _agree(piece.part(ends, ends + _AGREED), following.part(begins, begins + _AGREED)):
            found.append(piece.part(0, ends))
            piece, start, size = following.part(begins), beside, _PIECE
        else:  # one word goes on and on
            size *= _GROWTH
            again = Tokens.of(split(text[start : start + size]), start)
            # What the piece before has already is not repeated.
            piece = again.part(again.first_from(int(piece.offsets[0, 0])) if found else 0)
    found.append(piece)
    return Tokens(*map(np.concatenate, zip(*found, strict=True)))


def _agree(one: Tokens, other: Tokens) -> bool:
    """Return whether two pieces have the same tokens, which are of several words.

    Within a word, tokens may depend on its other end.
    """
    is_enough = len(one.ids) == _AGREED and len(np.unique(one.words)) >= _WORDS
    return is_enough and all(map(np.array_equal, one[:2], other[:2]))


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
    """Return the windows that the library's truncation makes of a text.

    Args:
        tokens: All tokens of the text.
        first: The window of the library for the text's first tokens, whose special tokens are
            those of all windows.
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

"""Split only the part of a long text that decides the kept tokens.

The `tokenizers` library splits all of a text before it cuts it. Ten million characters take half a
minute and gigabytes, even for a limit of a few hundred tokens. This module splits a piece of the
text instead, and a larger piece if the first does not settle the kept tokens. The tokens are those
of the whole text.
"""

import re
import string
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextvars import ContextVar
from functools import cache
from typing import TypeVar

from tokenizers import Encoding, models
from tokenizers import Tokenizer as _Tokenizer

from lanner.errors import DeadlineError
from lanner.text.splitting import Splitter

#: Characters per token of the limit in the first piece: English has 4.7, Chinese 1.
_CHARACTERS_PER_TOKEN = 6
_MORE_CHARACTERS = 256
#: The next piece is this many times larger.
_GROWTH = 4
#: Whole words between the kept tokens and the end of a piece, so that this end cannot change them.
_WORDS_BETWEEN = 8
#: For tokenizers without words: pieces that are this much shorter must give the same tokens.
_SHORTER = (1, 2, 3, 5, 7, 11, 64)
#: Characters that are kept of a long run, where only the fact that it is long counts.
_KEPT = 1_000
#: At least this many kept characters must not be marks, because a normalizer may drop marks.
_LETTERS = 400
_MARKS = re.compile(r"[\u0300-\u036f]+")
#: Characters that are words of their own for BERT's tokenizers: Chinese ones, and those around
#: them.
_ALONE = ((0x2E80, 0x9FFF), (0xF900, 0xFAFF))
#: The search ends here: behind it are almost only Chinese characters, and reading all takes a
#: second.
_LAST_IN_WORDS = 0x1FFFF
#: Regular expressions hold the interpreter, so each call reads only this many characters.
_CHARACTERS_AT_ONCE = 2**16


Found = TypeVar("Found")

#: When the caller stops waiting for its tokens, by `time.monotonic`; None for never.
current_deadline_s: ContextVar[float | None] = ContextVar("deadline_s", default=None)


def require_time() -> None:
    """Stop if nobody waits for the tokens any more.

    Raises:
        DeadlineError: The deadline of this context has passed.
    """
    deadline_s = current_deadline_s.get()
    if deadline_s is not None and time.monotonic() >= deadline_s:
        raise _too_late()


def in_time(work: Callable[[], Found], deadline_s: float | None) -> Found:
    """Return `work()`, or give up at the deadline.

    Nothing can interrupt the work, so a thread goes on with it after the deadline.

    Raises:
        DeadlineError: The deadline passes first.
    """
    if deadline_s is None:
        return work()
    found: Future[Found] = Future()

    def run() -> None:
        try:
            found.set_result(work())
        except BaseException as error:  # noqa: BLE001 (raised where the answer is awaited)
            found.set_exception(error)

    try:
        threading.Thread(target=run, daemon=True).start()
    except RuntimeError:  # there is no room for a thread
        return work()
    wait([found], max(0.0, deadline_s - time.monotonic()))
    if not found.done():
        raise _too_late()
    return found.result()


def _too_late() -> DeadlineError:
    msg = "the deadline passed while a long text was split: allow more time with timeout_ms"
    return DeadlineError(msg)


class LongTexts:
    """Finds the piece of a long text that settles its tokens.

    Any number of threads may use it: it changes only when it learns something about its tokenizer.

    Args:
        tokenizer: A tokenizer with truncation.
        max_tokens: Its limit in tokens.
        cuts_left: True if a text that is too long loses its beginning.
        split: Splits several texts with the tokenizer.
    """

    def __init__(
        self, tokenizer: _Tokenizer, max_tokens: int, *, cuts_left: bool, split: Splitter
    ) -> None:
        self._split = split
        self._is_word_piece = isinstance(tokenizer.model, models.WordPiece)
        self._cuts_left = cuts_left
        #: Texts of at most this many characters are read whole.
        self.most_characters = max_tokens * _CHARACTERS_PER_TOKEN + _MORE_CHARACTERS
        self._runs: list[re.Pattern[str]] | None = None

    def first_piece(self, text: str) -> str:
        """Return the piece of a long text to split first."""
        return self._piece(text, self.most_characters)

    def settled(self, text: str, encoding: Encoding) -> tuple[str, Encoding]:
        """Return a piece that settles the tokens of a text, and its encoding.

        Args:
            text: A text of more than `most_characters`.
            encoding: The encoding of its first piece, with words.

        Raises:
            DeadlineError: The time of `current_deadline_s` is up before a larger piece is read.
        """
        size = self.most_characters
        piece = self._piece(text, size)
        while size < len(text) and not self._is_settled(piece, encoding):
            require_time()
            size *= _GROWTH
            piece = self._squeezed(self._piece(text, size))
            # Other threads can run while a batch is split, but not while a single text is.
            (encoding,) = self._split([piece])
        return piece, encoding

    def _piece(self, text: str, size: int) -> str:
        return text[-size:] if self._cuts_left else text[:size]

    def _is_settled(self, piece: str, encoding: Encoding) -> bool:
        """Return True if every longer piece has the same kept tokens."""
        if not encoding.overflowing:
            return False
        kept = [word for word in encoding.word_ids if word is not None]
        cut = [word for some in encoding.overflowing for word in some.word_ids if word is not None]
        if not kept or not cut:
            return False
        distance = min(kept) - min(cut) if self._cuts_left else max(cut) - max(kept)
        if distance > _WORDS_BETWEEN:
            return True
        # The piece is a single word, as every piece is for a tokenizer without words. Test whether
        # its far end changes the kept tokens. With WordPiece it does: by the word's length alone.
        if self._is_word_piece or len(cut) < len(kept):
            return False
        shorter = [self._piece(piece, len(piece) - less) for less in _SHORTER]
        others = self._split(shorter)
        return all(other.ids == encoding.ids for other in others)

    def _squeezed(self, text: str) -> str:
        """Return a text with the same tokens, its endless runs shortened."""
        if self._runs is None:
            self._runs = [run for run, sample in _runs() if self._is_only_long(sample)]
        for run in self._runs:
            parts = [
                run.sub(_kept, text[start : start + _CHARACTERS_AT_ONCE])
                for start in range(0, len(text), _CHARACTERS_AT_ONCE)
            ]
            text = "".join(parts)
        return text

    def _is_only_long(self, sample: str) -> bool:
        """Return True if a run of these characters has the same tokens at any length."""
        runs = [
            (sample * (length // len(sample) + 1))[:length]
            for length in (_KEPT, _KEPT + 1, 2 * _KEPT, 10 * _KEPT + 3)
        ]
        around = (("", ""), ("x ", " y"))
        texts = [f"{before}{run}{after}" for run in runs for before, after in around]
        found = self._split(texts)
        # A sample that was cut proves nothing, so all must fit.
        is_whole = not any(encoding.overflowing for encoding in found)
        alone, among = found[::2], found[1::2]
        return is_whole and all(
            len({tuple(encoding.ids) for encoding in some}) == 1 for some in (alone, among)
        )


@cache
def _runs() -> list[tuple[re.Pattern[str], str]]:
    """Return the kinds of runs whose length may not matter, each with a sample to test that.

    A word that is too long for WordPiece is one unknown token, whatever letters, marks and symbols
    it holds.
    """
    in_words = "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in _in_words())
    return [
        (re.compile(rf"\s{{{_KEPT},}}"), " \t\n\u00a0\u2003"),
        (re.compile(rf"[ \t\r\n]{{{_KEPT},}}"), " \t\r\n"),
        (re.compile(f"[{in_words}]{{{_KEPT},}}"), "aZ0tq7e\u0301\U0001f600\uac00\u0416"),
        (re.compile(rf"[A-Za-z0-9]{{{_KEPT},}}"), "aZ0tq7"),
    ]


def _in_words() -> Iterator[tuple[int, int]]:
    """Yield the first and the last code of each run of letters, marks, numbers and symbols."""
    categories = [unicodedata.category(chr(code))[0] for code in range(_LAST_IN_WORDS + 1)]
    kinds = bytearray("".join(categories).encode())
    for first, last in _ALONE:
        kinds[first : last + 1] = bytes(last + 1 - first)
    for character in string.punctuation:
        kinds[ord(character)] = 0
    for run in re.finditer(b"[LMNS]+", kinds):
        yield run.start(), run.end() - 1


def _kept(found: re.Match[str]) -> str:
    kept = found[0][:_KEPT]
    return kept if len(_MARKS.sub("", kept)) >= _LETTERS else found[0]

"""Tokenization: texts to token ids, with the `tokenizers` library alone."""

import sys
from collections.abc import Sequence, Sized
from copy import copy
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, Self, TypeVar

from tokenizers import Encoding, models
from tokenizers import Tokenizer as _Tokenizer

from lanner.artifact.manifest import TokenizerRecord
from lanner.errors import ArtifactError, InputError, InputTypeError
from lanner.text.long_texts import LongTexts, current_deadline_s, in_time
from lanner.text.splitting import Splitter, is_of_library, switch_off_dropout
from lanner.text.windows import Tokens, Window, tokens_of, windows_of

Pair = tuple[str, str]
#: Fewer characters are split within 100 ms.
_CHARACTERS_AT_ONCE = 100_000


class TextTokenizer(Protocol):
    """The protocol of all tokenizers: single texts to what the model is fed with."""

    def encode(self, texts: Sequence[str]) -> Sequence[Sized]:
        """Return the token ids of each text, or the text itself if a server tokenises it.

        Raises:
            InputTypeError: An item is not a string; the message names its index.
            InputError: An item is a string that is not valid Unicode.
        """

    def count_prompt_tokens(self, prompt: str) -> int:
        """Return the number of tokens that this prompt puts before a text."""


#: What stands for a text or a pair: its token ids, or itself for a server that tokenises it.
Item_co = TypeVar("Item_co", bound=Sized, covariant=True)


class Encoded(Protocol[Item_co]):
    """The tokens of a text or a pair; an `Encoding` of the `tokenizers` library is one."""

    @property
    def ids(self) -> Item_co:
        """The token ids, or the text itself if a server tokenises it."""

    @property
    def type_ids(self) -> Sequence[int]:
        """The text of the pair (0 or 1) that each token belongs to."""


class PairTokenizer(TextTokenizer, Protocol):
    """The protocol of the tokenizers that take pairs, too."""

    def encode_pairs(
        self, inputs: Sequence[str | Pair], *, with_types: bool = False
    ) -> Sequence[Encoded[Sized]]:
        """See `Tokenizer.encode_pairs`."""


class Tokenizer:
    """A tokenizer of the `tokenizers` library, with special tokens and the checkpoint's limit.

    Immutable after construction, so any number of threads may use it.

    Args:
        path: A file of the `tokenizers` library.
        record: The limits of the tokenizer, from the manifest.
        overlap_tokens: The number of tokens of a window that `windows` repeats in the next one.
        is_parallel: False to split texts on one core.

    Raises:
        ArtifactError: The file cannot be read as a tokenizer.
    """

    def __init__(
        self,
        path: Path,
        record: TokenizerRecord,
        *,
        overlap_tokens: int = 0,
        is_parallel: bool = True,
    ) -> None:
        try:
            tokenizer = _Tokenizer.from_file(str(path))
            # `lanner.running.batching` pads per batch, at no extra cost.
            tokenizer.no_padding()
            switch_off_dropout(tokenizer)
            side = (tokenizer.truncation or {}).get("direction", "right")
            if record.max_tokens is None:
                tokenizer.no_truncation()
            else:
                tokenizer.enable_truncation(
                    record.max_tokens, stride=overlap_tokens, direction=side
                )
        except BaseException as error:
            if not is_of_library(error):
                raise
            msg = f"this version of 'tokenizers' cannot read the tokenizer {path}: {error}"
            raise ArtifactError(msg) from error
        self._path = path
        #: True if long texts lose their beginning, so that `windows` begin at the end.
        self.cuts_left = side == "left"
        self._tokenizer = tokenizer
        self._split = Splitter(tokenizer, is_parallel=is_parallel)
        self._split_whole: Splitter | None = None
        self._long: LongTexts | None = None
        if record.max_tokens is not None:
            self._long = LongTexts(
                tokenizer, record.max_tokens, cuts_left=self.cuts_left, split=self._split
            )
        self.unknown_token_id = record.unknown_token_id
        self.max_tokens, self.max_characters = record.max_tokens, record.max_characters
        self.overlap_tokens = overlap_tokens

    def cutting(self, side: Literal["left", "right"]) -> Self:
        """Return the same tokenizer, whose long texts lose the end of that side."""
        return self._with(side, self.max_tokens)

    def limited(self, max_tokens: int) -> Self:
        """Return the same tokenizer with another limit of tokens, special ones included."""
        return self._with("left" if self.cuts_left else "right", max_tokens)

    def _with(self, side: Literal["left", "right"], max_tokens: int | None) -> Self:
        other, tokenizer = copy(self), _Tokenizer.from_str(self._tokenizer.to_str())
        other._tokenizer, other._split = tokenizer, self._split.of(tokenizer)
        other.cuts_left, other.max_tokens = side == "left", max_tokens
        if max_tokens is not None:
            tokenizer.enable_truncation(max_tokens, stride=self.overlap_tokens, direction=side)
            other._long = LongTexts(
                tokenizer, max_tokens, cuts_left=other.cuts_left, split=other._split
            )
        return other

    def is_long(self, text: str) -> bool:
        """Return whether a text is not split as a whole before it is cut."""
        return len(text) > self._most_characters

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return at most `max_tokens` ids of each text; see `TextTokenizer.encode`."""
        most, is_any_long = self._most_characters, False
        given: Sequence[object] = texts
        for text in given:
            if not isinstance(text, str):
                check_texts(texts)  # the library would take a tuple for a pair of texts
            elif len(text) > most:
                is_any_long = True
        if self.max_characters is not None:
            texts = [text[: self.max_characters] for text in texts]
        if not is_any_long:
            return [encoding.ids for encoding in self._encode(texts, check_texts)]
        long = [index for index, text in enumerate(texts) if len(text) > most]
        short = [text for text in texts if len(text) <= most]
        found = [one.ids for one in self._encode(short, check_texts)] if short else []
        read = [encoding.ids for _, encoding in self._read([texts[i] for i in long], long)]
        answers, rest = dict(zip(long, read, strict=True)), iter(found)
        return [answers[i] if i in answers else next(rest) for i in range(len(texts))]

    def encode_pairs(
        self, inputs: Sequence[str | Pair], *, with_types: bool = False
    ) -> list[Encoding]:
        """Return the tokens of texts or pairs; in a pair the longer text is cut first.

        Args:
            inputs: The texts or pairs.
            with_types: True if the `type_ids` are needed.

        Raises:
            InputTypeError: An item is neither a text nor a pair; the message names its index.
            InputError: An item is not valid Unicode.
        """
        most = self._most_characters
        if len(inputs) == 1 and isinstance(inputs[0], str) and len(inputs[0]) <= most:
            return self._encode(inputs, check_texts_or_pairs, is_fast=not with_types)
        found = [_texts_of(item, index) for index, item in enumerate(inputs)]
        for index, texts in enumerate(found):
            if any(len(text) > most for text in texts):
                found[index] = self._shortened(texts, index)
        # The library treats a tuple as a pair.
        pairs = [texts[0] if len(texts) == 1 else texts for texts in found]
        return self._encode(pairs, check_texts_or_pairs, is_fast=not with_types)

    def whole(self, texts: Sequence[str], *, add_special_tokens: bool = True) -> list[Encoding]:
        """Return all tokens of each text, with their characters; nothing is cut.

        The texts must have passed `check_texts`.

        Args:
            texts: The texts.
            add_special_tokens: True for those that the model reads around a text.
        """
        if self._split_whole is None:
            whole = _Tokenizer.from_str(self._tokenizer.to_str())
            whole.no_truncation()
            self._split_whole = self._split.of(whole)
        return self._split_whole(texts, add_special_tokens=add_special_tokens)

    def decode(
        self, ids: Sequence[Sequence[int]], *, skip_special_tokens: bool = True
    ) -> list[str]:
        """Return the texts of token ids.

        Args:
            ids: The token ids of each text.
            skip_special_tokens: True to leave those out that the model reads around a text.

        Raises:
            InputError: An id is not of the vocabulary.
        """
        size = self._tokenizer.get_vocab_size()
        if any(not 0 <= one < size for some in ids for one in some):
            msg = f"a token id is not of the vocabulary, whose ids are 0 to {size - 1}"
            raise InputError(msg)
        return self._tokenizer.decode_batch(
            [list(some) for some in ids], skip_special_tokens=skip_special_tokens
        )

    def term_of(self, token_id: int) -> str:
        """Return a token as the vocabulary writes it; its number where the vocabulary ends."""
        return self._tokenizer.id_to_token(token_id) or f"[{token_id}]"

    def windows(
        self, texts: Sequence[str], *, deadline_s: float | None = None, first: int = 0
    ) -> list[list[Window]]:
        """Split each text into one or more overlapping windows of at most `max_tokens`.

        The first window is the part that truncation keeps. The others follow outwards from it: in
        the order of the text, or in reverse if `cuts_left`.

        Args:
            texts: Texts that have passed `check_texts`.
            deadline_s: The time by `time.monotonic` at which to give up, or None.
            first: The index of the first text, for messages.

        Raises:
            DeadlineError: It passes before long texts are split.
            InputError: Millions of characters of a text are one word.
        """
        is_long = sum(map(len, texts)) > _CHARACTERS_AT_ONCE
        try:
            work = partial(self._windows, texts, deadline_s, first)
            return in_time(work, deadline_s if is_long else None)
        except BaseException as error:
            self._explain(error)
            raise

    def _windows(
        self, texts: Sequence[str], deadline_s: float | None, first: int
    ) -> list[list[Window]]:
        before = current_deadline_s.set(deadline_s)
        try:
            most = sys.maxsize if self.max_tokens is None else _CHARACTERS_AT_ONCE
            short = [text for text in texts if len(text) <= most]
            split = self._split(short) if short else []
            found = iter([encoding, *encoding.overflowing] for encoding in split)
            return [
                self._windows_of_long(text, index) if len(text) > most else list(next(found))
                for index, text in enumerate(texts, first)
            ]
        finally:
            current_deadline_s.reset(before)

    def tokens_of_long(self, text: str, index: int = 0) -> Tokens:
        """Return all tokens of a long text, which is split piece by piece; see `tokens_of`."""
        return tokens_of(
            text,
            lambda piece: self.whole([piece], add_special_tokens=False)[0],
            by_words=isinstance(self._tokenizer.model, models.WordPiece),
            index=index,
        )

    def _windows_of_long(self, text: str, index: int) -> list[Window]:
        tokens = self.tokens_of_long(text, index)
        if not len(tokens.ids):
            return list(self._split([""]))
        start = int(tokens.offsets[0, 0])
        return windows_of(tokens, self._split([text[start : start + 1_000]])[0], self._tokenizer)

    def count_prompt_tokens(self, prompt: str) -> int:
        """Count the prompt's tokens without the ending special token; see `TextTokenizer`."""
        encoding = self._encode([prompt], check_texts)[0]
        return len(encoding.ids) - (encoding.special_tokens_mask[-1:] == [1])

    def count_special_tokens(self, *, is_pair: bool = False) -> int:
        """Return the number of tokens that are put around a text or a pair."""
        return self._tokenizer.num_special_tokens_to_add(is_pair)

    @property
    def continuation_mark(self) -> str:
        """The mark of pieces after a word's first, as "##" of WordPiece; empty for none."""
        return getattr(self._tokenizer.model, "continuing_subword_prefix", None) or ""

    @property
    def _most_characters(self) -> int:
        """The longest text that is split as a whole before it is cut."""
        return sys.maxsize if self._long is None else self._long.most_characters

    def _read(self, texts: Sequence[str], indices: Sequence[int]) -> list[tuple[str, Encoding]]:
        """Read long texts as far as the limit goes: the piece that settles it, and its tokens."""
        if self._long is None:
            return []
        for text, index in zip(texts, indices, strict=True):
            _check_unicode(text, index)  # also where it is not read
        pieces = [self._long.first_piece(text) for text in texts]
        try:
            # Not the fast form, which does not tell the words.
            encodings = self._split(pieces)
            return [self._long.settled(*one) for one in zip(texts, encodings, strict=True)]
        except BaseException as error:
            self._explain(error)
            raise

    def _shortened(self, texts: tuple[str] | Pair, index: int) -> tuple[str] | Pair:
        """Return a text or pair of the same tokens, with no more of a long text than it needs."""
        pieces = [
            self._read([text], [index])[0][0] if len(text) > self._most_characters else text
            for text in texts
        ]
        return (pieces[0],) if len(pieces) == 1 else (pieces[0], pieces[1])

    def _encode(
        self, inputs: Sequence[str | Pair], check: "_Check", *, is_fast: bool = True
    ) -> list[Encoding]:
        try:
            return self._split(inputs, is_fast=is_fast)
        except (TypeError, UnicodeEncodeError):  # a lone surrogate; the type depends on the version
            check(inputs)
            raise
        except BaseException as error:
            self._explain(error)
            raise

    def _explain(self, error: BaseException) -> None:
        """Raise the error for a tokenizer that fails on a text; do nothing for other errors."""
        if is_of_library(error):
            msg = (
                f"the tokenizer {self._path} fails on a text ({str(error)[:200]}): export the "
                "checkpoint again"
            )
            raise ArtifactError(msg) from error


class _Check(Protocol):
    def __call__(self, inputs: Sequence[object]) -> None: ...


def check_texts(inputs: Sequence[object]) -> None:
    """Check that all items are valid texts.

    Raises:
        InputTypeError: An item is not a string.
        InputError: An item holds half of a surrogate pair, which UTF-8 cannot say.
    """
    for index, text in enumerate(inputs):
        if not isinstance(text, str):
            msg = f"every text must be a str, but the item at index {index} is {_kind(text)}"
            raise InputTypeError(msg)
        _check_unicode(text, index)


def check_texts_or_pairs(inputs: Sequence[object]) -> None:
    """Check that all items are valid texts or pairs of them.

    Raises:
        InputTypeError: An item is neither a text nor a pair.
        InputError: An item holds half of a surrogate pair, which UTF-8 cannot say.
    """
    for index, item in enumerate(inputs):
        for text in _texts_of(item, index):
            _check_unicode(text, index)


def _texts_of(item: object, index: int) -> tuple[str] | Pair:
    if isinstance(item, str):
        return (item,)
    if isinstance(item, (list, tuple)) and len(item) == 2 and all(isinstance(t, str) for t in item):
        return (item[0], item[1])
    what = _kind(item)
    if isinstance(item, (list, tuple)):
        what += f" with {len(item)} items: {', '.join(type(part).__name__ for part in item)}"
    msg = f"every input must be a str or a pair of str, but the item at index {index} is {what}"
    raise InputTypeError(msg)


def _check_unicode(text: str, index: int) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        msg = (
            f"the text at index {index} is not valid Unicode (a lone surrogate at character "
            f"{error.start}): decode its source with errors='replace'"
        )
        raise InputError(msg) from None


def _kind(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"

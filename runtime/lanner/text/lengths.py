"""Lengths of texts in tokens: counted, told before a text is cut, and cut into chunks instead."""

import logging
from collections.abc import Iterator, Sequence
from copy import copy
from typing import Literal, NamedTuple, cast, get_args, overload

import numpy as np
from numpy.typing import NDArray

from lanner.errors import InputError, UnsupportedError
from lanner.text.cutting import Cutter, TooLongError
from lanner.text.tokenization import Pair, TextTokenizer, Tokenizer, check_texts_or_pairs
from lanner.text.words import WordTokenizer

#: What to do with an input that is longer than the model's limit.
OnLong = Literal["truncate", "error", "warn", "chunk"]
#: The same where an input has one answer that is no mean.
OnLongInput = Literal["truncate", "error", "warn"]
#: Their values.
CHOICES: tuple[str, ...] = get_args(OnLong)
INPUT_CHOICES: tuple[str, ...] = get_args(OnLongInput)
#: The share of a chunk that the next one repeats, unless the caller says how much.
_OVERLAP_SHARE = 8
#: Longer texts are split piece by piece: an encoding takes 200 bytes a token.
_CHARACTERS_AT_ONCE = 100_000
#: Inputs that are split at once, which bounds the memory for their tokens.
_INPUTS_AT_ONCE = 1_024
_log = logging.getLogger("lanner")


class CountsTokens:
    """A model that can tell the length of a text. The base of all models."""

    tokenizer: TextTokenizer

    @overload
    def count_tokens(self, texts: str) -> int: ...  # type: ignore[overload-overlap]

    @overload
    def count_tokens(self, texts: Sequence[str | Pair]) -> NDArray[np.int64]: ...

    def count_tokens(self, texts: str | Sequence[str | Pair]) -> int | NDArray[np.int64]:
        """Count the tokens of texts or pairs, special tokens included, before anything is cut.

        Args:
            texts: One text, or a sequence of texts or pairs. A prompt counts if it stands before
                the text.

        Returns:
            int64 [n] in the order of the texts; an int for a single str. `max_seq_length` is the
            most that the model reads.

        Raises:
            InputTypeError: An item is neither a text nor a pair; the message names its index.
            InputError: An item is not valid Unicode.
            UnsupportedError: A server tokenises the texts of this model.
        """
        if isinstance(texts, str):
            return count_tokens(self.tokenizer, [texts])[0]
        return np.array(count_tokens(self.tokenizer, texts), np.int64)


def count_tokens(tokenizer: TextTokenizer, inputs: Sequence[str | Pair]) -> list[int]:
    """Return the number of tokens of each text or pair; see `CountsTokens.count_tokens`."""
    own = _own(tokenizer)
    check_texts_or_pairs(inputs)
    counts: list[int] = []
    for start in range(0, len(inputs), _INPUTS_AT_ONCE):
        some = inputs[start : start + _INPUTS_AT_ONCE]
        parts = [(item,) if isinstance(item, str) else (item[0], item[1]) for item in some]
        plain = iter(_plain_counts(own, [text for item in parts for text in item]))
        for item in parts:
            count = sum(next(plain) for _ in item)
            counts.append(count + own.count_special_tokens(is_pair=len(item) == 2))
    return counts


def cut_indices(tokenizer: TextTokenizer, inputs: Sequence[str | Pair]) -> list[int]:
    """Return the indices of the texts or pairs that are cut, in their order.

    Args:
        tokenizer: The model's tokenizer.
        inputs: Texts with their prompt, or pairs.

    Raises:
        InputTypeError: An item is neither a text nor a pair; the message names its index.
        InputError: An item is not valid Unicode.
        UnsupportedError: A server tokenises the texts.
    """
    own = _own(tokenizer)
    check_texts_or_pairs(inputs)
    if own.max_tokens is None and own.max_characters is None:
        return []
    # A token of ASCII is a character at least.
    sure = min(own.max_tokens or 2**62, own.max_characters or 2**62)
    sure -= own.count_special_tokens(is_pair=True) + 1
    asked = [i for i, item in enumerate(inputs) if not _is_short(item, sure)]
    cutter, found = Cutter(own), list[int]()
    for start in range(0, len(asked), _INPUTS_AT_ONCE):
        some = asked[start : start + _INPUTS_AT_ONCE]
        found += [some[i] for i in cutter.cut([inputs[i] for i in some]).cut]
    return found


def require_on_long(on_long: str, allowed: tuple[str, ...] = CHOICES) -> None:
    """Check what a caller asks for long inputs.

    Args:
        on_long: The value.
        allowed: `CHOICES` or `INPUT_CHOICES`.

    Raises:
        InputError: There is no such value.
    """
    if not isinstance(on_long, str) or on_long not in allowed:
        msg = f"on_long must be one of {', '.join(allowed)}, not {on_long!r}"
        raise InputError(msg)


def tell_long(
    name: str, tokenizer: TextTokenizer, inputs: Sequence[str | Pair], on_long: OnLong
) -> None:
    """Refuse inputs that would be cut, or warn of them.

    Args:
        name: The model's.
        tokenizer: Its tokenizer.
        inputs: Texts with their prompt, or pairs.
        on_long: ``"error"`` or ``"warn"``; nothing is done for another.

    Raises:
        TooLongError: `on_long` is ``"error"``, and an input is too long.
        InputError: See `cut_indices`.
        UnsupportedError: A server tokenises the texts.
    """
    if on_long not in ("error", "warn"):
        return
    cut = cut_indices(tokenizer, inputs)
    if not cut:
        return
    most = _own(tokenizer).max_tokens
    if on_long == "error":
        first = cut[0]
        raise TooLongError(first, count_tokens(tokenizer, [inputs[first]])[0], most, is_known=True)
    _log.warning(
        "%s reads at most %s tokens, and cuts %s of %s texts, the first at index %s",
        *(name, most, f"{len(cut):,}", f"{len(inputs):,}", cut[0]),
    )


class Chunks(NamedTuple):
    """The chunks of some texts.

    Attributes:
        token_ids: The token ids of each chunk, with its prompt and special tokens.
        counts: int64 [texts], the number of chunks of each; one at least.
    """

    token_ids: list[list[int]]
    counts: NDArray[np.int64]


def chunks_of(
    tokenizer: TextTokenizer, texts: Sequence[str], prompt: str, overlap_tokens: int | None
) -> Chunks:
    """Cut texts into overlapping chunks that the model reads whole, each with the prompt.

    Args:
        tokenizer: The model's tokenizer.
        texts: Valid texts, without the prompt.
        prompt: The prompt to put before each chunk.
        overlap_tokens: The tokens of a chunk that the next one repeats; None for an eighth of what
            a chunk has room for.

    Raises:
        InputError: The overlap is not less than what a chunk has room for.
        UnsupportedError: A server tokenises the texts.
    """
    own = _own(tokenizer)
    before, after = around(own, prompt)
    room = 2**62 if own.max_tokens is None else own.max_tokens - len(before) - len(after)
    overlap = room // _OVERLAP_SHARE if overlap_tokens is None else overlap_tokens
    if not 0 <= overlap < room:
        msg = f"chunk_overlap must be from 0 to {room - 1}, not {overlap}"
        raise InputError(msg)
    chunks: list[list[int]] = []
    counts = []
    for ids in _bodies(own, texts, prompt, len(before)):
        inner = [ids[start:end] for start, end in spans_of(len(ids), room, room - overlap)]
        counts.append(len(inner))
        chunks += [[*before, *part, *after] for part in inner]
    return Chunks(chunks, np.array(counts, np.int64))


def spans_of(count: int, room: int, step: int) -> Iterator[tuple[int, int]]:
    """Yield the spans of at most `room` among `count` tokens; one for none."""
    start = 0
    while True:
        yield start, min(start + room, count)
        if start + room >= count:
            return
        start += step


def _bodies(
    own: Tokenizer | WordTokenizer, texts: Sequence[str], prompt: str, before: int
) -> Iterator[list[int]]:
    """Yield the token ids of each text, as they follow its prompt."""
    # Of what stands before a text, the prompt's own tokens are here again.
    again = before - len(around(own, "")[0])
    for start in range(0, len(texts), _INPUTS_AT_ONCE):
        some = [prompt + text for text in texts[start : start + _INPUTS_AT_ONCE]]
        for ids in _plain_ids(own, some):
            yield ids[again:]


def around(own: Tokenizer | WordTokenizer, prompt: str) -> tuple[list[int], list[int]]:
    """Return the token ids before and behind a text: special tokens, and the prompt's own."""
    plain = next(iter(_plain_ids(own, [prompt])))
    if isinstance(own, WordTokenizer):
        return plain, []
    (encoding,) = own.whole(["a"])
    inner = [i for i, is_special in enumerate(encoding.special_tokens_mask) if not is_special]
    return [*encoding.ids[: inner[0]], *plain], encoding.ids[inner[-1] + 1 :]


def _plain_counts(own: Tokenizer | WordTokenizer, texts: Sequence[str]) -> Iterator[int]:
    return (len(ids) for ids in _plain_ids(own, texts))


def _plain_ids(own: Tokenizer | WordTokenizer, texts: Sequence[str]) -> Iterator[list[int]]:
    """Yield all token ids of each text, without special tokens."""
    if isinstance(own, WordTokenizer):
        whole = copy(own)
        whole.max_tokens = None
        yield from whole.encode(texts)
        return
    short = [text for text in texts if len(text) <= _CHARACTERS_AT_ONCE]
    found = iter(own.whole(short, add_special_tokens=False) if short else [])
    for text in texts:
        if len(text) <= _CHARACTERS_AT_ONCE:
            yield next(found).ids
        else:
            yield cast("list[int]", own.tokens_of_long(text).ids.tolist())


def plain_tokens(tokenizer: Tokenizer, text: str) -> tuple[list[int], NDArray[np.int64]]:
    """Return all token ids of a text, without special tokens, and each token's characters.

    Returns:
        The ids, and int64 [tokens, 2]: the first and the end index of each token's characters.
    """
    if len(text) > _CHARACTERS_AT_ONCE:
        tokens = tokenizer.tokens_of_long(text)
        return cast("list[int]", tokens.ids.tolist()), tokens.offsets.astype(np.int64)
    (encoding,) = tokenizer.whole([text], add_special_tokens=False)
    return encoding.ids, np.array(encoding.offsets, np.int64).reshape(-1, 2)


def _is_short(item: str | Pair, sure: int) -> bool:
    texts = (item,) if isinstance(item, str) else item
    return sum(map(len, texts)) <= sure and all(text.isascii() for text in texts)


def _own(tokenizer: TextTokenizer) -> Tokenizer | WordTokenizer:
    """Return a tokenizer that splits texts itself.

    Raises:
        UnsupportedError: The tokenizer is not here, but on a server.
    """
    if isinstance(tokenizer, Tokenizer | WordTokenizer):
        return tokenizer
    msg = "the server tokenises the texts of this model: connect to its token model"
    raise UnsupportedError(msg)

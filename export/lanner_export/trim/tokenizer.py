"""Trimming a tokenizer to the pieces that a corpus uses; the corpus is split as before.

Each algorithm makes the same choices when unused pieces are removed:

- WordPiece takes the longest piece that fits. Removal adds no longer piece, and used pieces are
  kept; so are the pieces of a word before it was given up as unknown.
- BPE joins the pair of the lowest rank. The parts of a kept piece are kept, with their joins, in
  their order.
- Unigram takes the likeliest split, whose pieces are kept. The cost of an unknown character depends
  on the lowest score of all, so a piece with that score is kept.
- WordLevel looks up whole words.

All single characters of the vocabulary are kept, too, so that a word outside of the corpus is split
into its characters instead of being unknown. Finally both tokenizers split the corpus, and the
results are compared.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from lanner.errors import CheckpointError, ExportError, UnsupportedError
from lanner_export.checkpoint.tokenizer_json import TokenizerJson

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_BATCH_TEXTS = 1024
#: The separator behind the ids of each text in an array of several.
_END = -1
_SHOWN_CHARACTERS = 60

_Block = NDArray[np.int32]


class TrimmedTokenizer(NamedTuple):
    """The rest of a trimmed tokenizer.

    Attributes:
        tokenizer: The tokenizer with fewer tokens, numbered from 0, and without padding.
        old_ids: The old id of each token, int64 [tokens].
    """

    tokenizer: Tokenizer
    old_ids: NDArray[np.int64]


def trim_tokenizer(
    tokenizer: Tokenizer, texts: Sequence[str], checkpoint: str, *, pinned: int = 0
) -> TrimmedTokenizer:
    """Remove the tokens that a corpus never uses.

    Args:
        tokenizer: A tokenizer of the `tokenizers` library; it is not changed.
        texts: The corpus, at least one text.
        checkpoint: The name of the checkpoint, for messages.
        pinned: The number of leading ids that must not change.

    Raises:
        CheckpointError: A special token is not in the vocabulary and would be lost.
        UnsupportedError: The leading ids cannot be kept.
        ExportError: A text of the corpus would be split differently.
    """
    content = TokenizerJson(tokenizer)
    algorithm = content.model["type"]
    kept = _special_ids(content, checkpoint) | _fallback_ids(content) | set(range(pinned))
    whole = _without_limit(tokenizer)
    blocks = list(_encoded(whole, texts))
    kept |= {number for ids in blocks for number in np.unique(ids).tolist()}
    if algorithm == "WordPiece":
        kept |= _ids_of_unknown_words(content, whole, _texts_with_unknown(content, texts, blocks))
    elif algorithm == "BPE":
        kept |= _ids_of_parts(content, kept)
    elif algorithm == "Unigram":
        kept.add(int(np.argmin([score for _, score in content.model["vocab"]])))
    old_ids = content.keep(kept)
    if old_ids[:pinned] != list(range(pinned)):
        msg = (
            f"the tokenizer of {checkpoint} lacks some of its first {pinned} ids, from which its "
            "positions are counted: leave --vocabulary-from out"
        )
        raise UnsupportedError(msg)
    trimmed = TrimmedTokenizer(content.tokenizer(), np.array(old_ids, np.int64))
    _require_same(whole, trimmed, texts, blocks, checkpoint)
    return trimmed


def _without_limit(tokenizer: Tokenizer) -> Tokenizer:
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_padding()
    copy.no_truncation()
    return copy


def _special_ids(content: TokenizerJson, checkpoint: str) -> set[int]:
    ids = set()
    for token, number in content.special_tokens():
        if number is None:
            msg = (
                f"trimming the vocabulary of {checkpoint} would drop its special token {token!r}, "
                "which its tokenizer names and does not have: add it to the tokenizer and to the "
                "embedding table, or leave --vocabulary-from out"
            )
            raise CheckpointError(msg)
        ids.add(number)
    return ids


def _fallback_ids(content: TokenizerJson) -> set[int]:
    """Return the ids of single characters and bytes; none for a vocabulary of whole words."""
    model = content.model
    if model["type"] == "WordLevel":
        return set()
    inside = model.get("continuing_subword_prefix") or ""
    at_end = model.get("end_of_word_suffix") or ""
    return {
        number
        for number, piece in content.pieces.items()
        if len(piece.removeprefix(inside).removesuffix(at_end)) == 1
        or (model.get("byte_fallback") and _BYTE.fullmatch(piece))
    }


def _texts_with_unknown(
    content: TokenizerJson, texts: Sequence[str], blocks: Iterable[_Block]
) -> Iterator[str]:
    unknown = content.model["vocab"][content.model["unk_token"]]
    for start, ids in zip(range(0, len(texts), _BATCH_TEXTS), blocks, strict=True):
        rows = start + np.cumsum(ids == _END)
        yield from (texts[row] for row in np.unique(rows[ids == unknown]))


def _ids_of_unknown_words(
    content: TokenizerJson, tokenizer: Tokenizer, texts: Iterable[str]
) -> set[int]:
    """Return the pieces that WordPiece takes of words before it gives them up as unknown."""
    ids = {piece: number for number, piece in content.pieces.items()}
    inside = content.model["continuing_subword_prefix"]
    longest = content.model["max_input_chars_per_word"]
    found = set()
    for word in {word for text in texts for word in _words(tokenizer, text)}:
        start, mark = 0, ""
        while start < len(word) <= longest:
            ends = range(len(word), start, -1)
            end = next((end for end in ends if mark + word[start:end] in ids), None)
            if end is None:
                break
            found.add(ids[mark + word[start:end]])
            start, mark = end, inside
    return found


def _words(tokenizer: Tokenizer, text: str) -> list[str]:
    """Split a text into the words that the tokenizer's algorithm gets, without added tokens."""
    if tokenizer.normalizer is not None:
        text = tokenizer.normalizer.normalize_str(text)
    if tokenizer.pre_tokenizer is None:
        return [text]
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


def _ids_of_parts(content: TokenizerJson, kept: set[int]) -> set[int]:
    """Return the pieces that BPE joins others from, down to the characters."""
    ids = {piece: number for number, piece in content.pieces.items()}
    parts: dict[str, list[str]] = defaultdict(list)
    for left, right in content.model["merges"]:
        parts[content.joined(left, right)] += [left, right]
    found: set[str] = set()
    waiting = [content.pieces[number] for number in kept if number in content.pieces]
    while waiting:
        piece = waiting.pop()
        if piece not in found:
            found.add(piece)
            waiting += parts[piece]
    return {ids[piece] for piece in found}


def _encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[_Block]:
    """Yield the ids of texts in batches, with `_END` behind those of each text."""
    for start in range(0, len(texts), _BATCH_TEXTS):
        encodings = tokenizer.encode_batch_fast(list(texts[start : start + _BATCH_TEXTS]))
        yield np.array([n for encoding in encodings for n in (*encoding.ids, _END)], np.int32)


def _require_same(
    whole: Tokenizer,
    trimmed: TrimmedTokenizer,
    texts: Sequence[str],
    blocks: Iterable[_Block],
    checkpoint: str,
) -> None:
    tokenizer = _without_limit(trimmed.tokenizer)
    # The last entry, at index _END, is _END.
    old_ids = np.append(trimmed.old_ids, _END)

    def differs(text: str, pair: str | None = None) -> bool:
        ids = tokenizer.encode(text, pair).ids
        return [old_ids[number] for number in ids] != whole.encode(text, pair).ids

    other = texts[0] if differs(texts[0], texts[0]) else None
    starts = range(0, len(texts), _BATCH_TEXTS)
    for start, before, after in zip(starts, blocks, _encoded(tokenizer, texts), strict=True):
        if not np.array_equal(before, old_ids[after]):
            batch = texts[start : start + _BATCH_TEXTS]
            other = next(text for text in batch if differs(text))
            break
    if other is not None:
        msg = (
            f"the tokenizer of {checkpoint} would split {other[:_SHOWN_CHARACTERS]!r} differently "
            "with the vocabulary of the corpus alone: take that text out of the corpus, or leave "
            "--vocabulary-from out. Nothing was written"
        )
        raise ExportError(msg)

"""Late chunking: a text is read as a whole, and its chunks are made of what was read.

A text that is longer than the model's limit is read in overlapping windows. Each token counts once,
in the window in which it has the most tokens around it.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lanner.errors import InputError
from lanner.text.lengths import around, plain_tokens, spans_of
from lanner.text.tokenization import Tokenizer

#: The share of a window that the next one reads again.
_OVERLAP_SHARE = 4


class ReadText(NamedTuple):
    """The windows that a text is read in.

    Attributes:
        windows: The token ids of each, with prompt and special tokens.
        kept: For each window, the first and the end index of the tokens that count in it.
        characters: The first and the end index of each token's characters, int64 [tokens, 2].
    """

    windows: list[list[int]]
    kept: list[tuple[int, int]]
    characters: NDArray[np.int64]


class Chunk(NamedTuple):
    """A chunk of a text: the indices of its tokens, and of its characters."""

    tokens: tuple[int, int]
    characters: tuple[int, int]


def read_whole(tokenizer: Tokenizer, texts: Sequence[str], prompt: str) -> Iterator[ReadText]:
    """Yield the windows of each text.

    Args:
        tokenizer: The model's tokenizer.
        texts: Valid texts.
        prompt: The prompt to put before each window.

    Raises:
        InputError: The prompt leaves no room.
    """
    before, after = around(tokenizer, prompt)
    again = len(before) - len(around(tokenizer, "")[0])
    most = tokenizer.max_tokens
    room = 2**62 if most is None else most - len(before) - len(after)
    if room < 1:
        msg = f"the prompt leaves no room for a text: the model reads {most} tokens"
        raise InputError(msg)
    overlap = room // _OVERLAP_SHARE
    for text in texts:
        ids, places = plain_tokens(tokenizer, prompt + text)
        ids, places = ids[again:], np.maximum(places[again:] - len(prompt), 0)
        spans = list(spans_of(len(ids), room, room - overlap))
        # Windows meet in the middle of what both read.
        middles = [(end + start) // 2 for (_, end), (start, _) in pairwise(spans)]
        owned = zip([0, *middles], [*middles, len(ids)], strict=True)
        yield ReadText(
            [[*before, *ids[start:end], *after] for start, end in spans],
            [
                (first - start + len(before), last - start + len(before))
                for (start, _), (first, last) in zip(spans, owned, strict=True)
            ],
            places,
        )


def chunks_of_tokens(characters: NDArray[np.int64], chunk_tokens: int | None) -> list[Chunk]:
    """Return the chunks of a text, each of at most `chunk_tokens`; of no tokens, none.

    Args:
        characters: The characters of each token, int64 [tokens, 2].
        chunk_tokens: The length of a chunk; None for a single one.
    """
    count = len(characters)
    step = chunk_tokens or max(1, count)
    return [
        Chunk(
            (start, min(start + step, count)),
            (int(characters[start, 0]), int(characters[min(start + step, count) - 1, 1])),
        )
        for start in range(0, count, step)
    ]

"""Length buckets: the few lengths that requests are padded to, so that they batch.

Triton's dynamic batcher only joins requests of equal shape
(https://github.com/triton-inference-server/server/issues/3395).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanner.errors import InputError

#: Longer than any text that a model reads at once; a request is padded to its bucket.
_LONGEST = 2**17
#: The first bucket; each next one is longer by a half or a third: 16, 24, 32, 48, 64, ...
_SHORTEST = 16


def default_buckets(max_tokens: int) -> tuple[int, ...]:
    """Return buckets up to the model's limit: 16, 24, 32, 48, 64, 96, 128 and so on.

    Beyond the first bucket, less than a third of a padded text is padding.
    """
    found = []
    step = _SHORTEST
    while step < max_tokens:
        found += [step, step + step // 2]
        step *= 2
    return (*(bucket for bucket in found if bucket < max_tokens), max_tokens)


def parse_buckets(text: str) -> tuple[int, ...]:
    """Parse the buckets of a configuration, ``"16,32,64"``; an empty text has none.

    Raises:
        InputError: The buckets are not increasing integers from 1 to 131,072.
    """
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    buckets = tuple(int(part) if part.isdecimal() and len(part) < 9 else 0 for part in parts)
    increase = all(low < high for low, high in zip((0, *buckets), buckets, strict=False))
    if not increase or max(buckets, default=0) > _LONGEST:
        msg = (
            f"the buckets {text[:100]!r} must be increasing lengths in tokens, of at most "
            f"{_LONGEST:,}"
        )
        raise InputError(msg)
    return buckets


def bucket_of(length: int, buckets: Sequence[int]) -> int:
    """Return the length that `length` tokens are padded to; itself beyond the last bucket."""
    return next((bucket for bucket in buckets if bucket >= length), length)


def fill_to_bucket(
    tensors: Mapping[str, NDArray[Any]], buckets: Sequence[int]
) -> dict[str, NDArray[Any]]:
    """Pad tensors [texts, length] with zeros, which the mask hides."""
    length = next(iter(tensors.values())).shape[1]
    count = bucket_of(length, buckets) - length
    if not count:
        return dict(tensors)
    return {name: np.pad(tensor, ((0, 0), (0, count))) for name, tensor in tensors.items()}

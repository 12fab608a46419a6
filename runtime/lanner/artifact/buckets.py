"""Length buckets: the few lengths that requests are filled up to, so that they batch.

Triton's dynamic batcher puts only requests of equal shape together
(https://github.com/triton-inference-server/server/issues/3395).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanner.errors import InputError

#: The first bucket; each next one is half as long again, or a third: 16, 24, 32, 48, 64, ...
_SHORTEST = 16


def default_buckets(max_tokens: int) -> tuple[int, ...]:
    """Buckets up to the model's limit: 16, 24, 32, 48, 64, 96, 128 and so on.

    Of a bucket beyond the first, less than a third is filling.
    """
    found = []
    step = _SHORTEST
    while step < max_tokens:
        found += [step, step + step // 2]
        step *= 2
    return (*(bucket for bucket in found if bucket < max_tokens), max_tokens)


def parse_buckets(text: str) -> tuple[int, ...]:
    """Buckets as a configuration has them, ``"16,32,64"``; of an empty text none.

    Raises:
        InputError: They are not whole numbers from 1 on, each above the one before.
    """
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    buckets = tuple(int(part) if part.isdecimal() else 0 for part in parts)
    if any(low >= high for low, high in zip((0, *buckets), buckets, strict=False)):
        msg = f"the buckets {text!r} must be lengths in tokens, each above the one before"
        raise InputError(msg)
    return buckets


def bucket_of(length: int, buckets: Sequence[int]) -> int:
    """The length that so many tokens are filled up to; beyond the last bucket, their own."""
    return next((bucket for bucket in buckets if bucket >= length), length)


def fill_to_bucket(
    tensors: Mapping[str, NDArray[Any]], buckets: Sequence[int]
) -> dict[str, NDArray[Any]]:
    """Tensors [texts, length] filled up with zeros, which the mask hides."""
    length = next(iter(tensors.values())).shape[1]
    count = bucket_of(length, buckets) - length
    if not count:
        return dict(tensors)
    return {name: np.pad(tensor, ((0, 0), (0, count))) for name, tensor in tensors.items()}

"""Batches of like lengths: what is put together, and how it is padded."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: The most padded tokens in one batch. Small enough that the activations of one layer stay in a
#: core's L2 cache, large enough that the matrix products are not launched in vain.
TOKEN_BUDGET = 512
#: The same on a GPU, where a run costs about what 640 tokens cost (`lanner.engines.tensorrt`): of
#: such a batch that is a twenty-fifth.
GPU_TOKEN_BUDGET = 16_384
#: What is cut for several workers has this many tokens or more: less is not worth a second thread.
LEAST_SHARE = 64


def plan_batches(
    lengths: NDArray[np.int64],
    *,
    token_budget: int = TOKEN_BUDGET,
    max_texts: int | None = None,
    workers: int = 1,
    least_share: int = LEAST_SHARE,
) -> list[NDArray[np.int64]]:
    """Groups texts by length, so that little of a batch is padding.

    Longest first: the batches that take longest start first, and parallel workers end together.

    Args:
        lengths: Tokens of each text, int64 [n].
        token_budget: The most padded tokens (texts x longest) of a batch. A text that is longer
            by itself gets a batch of its own.
        max_texts: The most texts of a batch, or None for no such limit.
        workers: How many batches run at once: what would be fewer batches is cut smaller, so that
            none is idle.
        least_share: The tokens that are not cut for several workers.

    Returns:
        The indices of each batch; every index from 0 to n - 1 stands in exactly one.
    """
    order = np.argsort(-lengths, kind="stable")
    if workers > 1 and len(lengths):
        # Half a text more than the even share: no worker is left with a remainder.
        share = -(-int(lengths.sum()) // workers) + int(lengths.max()) // 2
        token_budget = min(token_budget, max(share, least_share))
    batches = []
    start = 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        count = max(1, token_budget // longest)
        if max_texts is not None:
            count = min(count, max_texts)
        batches.append(order[start : start + count])
        start += count
    return batches


def pad(
    sequences: Sequence[Sequence[int]], pad_id: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One rectangular batch of unequal sequences, filled up on the right.

    On the right whatever the checkpoint's own side is: positions then count from the first token,
    as they do for a text alone.

    Args:
        sequences: Token ids of each text.
        pad_id: What fills the shorter ones up.

    Returns:
        The sequences, and a mask (1 for a token, 0 for filling), int64 [texts, longest].
    """
    if len(sequences) == 1 and len(sequences[0]):  # a list, or an array
        filled = np.array(sequences, dtype=np.int64)
        return filled, np.ones_like(filled)
    longest = max(1, *map(len, sequences))
    filled = np.full((len(sequences), longest), pad_id, dtype=np.int64)
    mask = np.zeros_like(filled)
    for row, sequence in enumerate(sequences):
        filled[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = 1
    return filled, mask

"""Batches of similar lengths: planning and padding."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lanner.running.defaults import LEAST_SHARE, TOKEN_BUDGET


def plan_batches(
    lengths: NDArray[np.int64],
    *,
    token_budget: int = TOKEN_BUDGET,
    max_texts: int | None = None,
    workers: int = 1,
    run_tokens: int | None = 0,
    least_share: int = LEAST_SHARE,
) -> list[NDArray[np.int64]]:
    """Group texts by length so that the total cost of padding and of runs is least.

    The texts are sorted by length, and dynamic programming finds the cheapest cut into batches.
    Texts of one length share a batch unless a bound separates them. Compared with filling each
    batch up to the budget, all-MiniLM-L6-v2 in int8 on two cores of a Zen 5 takes 0.78, 0.76, 0.63
    and 0.92 of the time for calls of 16, 32, 64 and 256 sentences; in fp32 0.88, 0.82, 0.69 and
    0.95.

    Packed texts are not padded: batches are filled up to the budget, and nothing else matters.

    Args:
        lengths: Tokens of each text, int64 [n].
        token_budget: The most padded tokens (texts x longest) of a batch, or tokens of packed
            texts. A text that exceeds the budget gets a batch of its own.
        max_texts: The most texts of a batch, or None for no such limit.
        workers: The number of batches that run at once. Batches are made smaller where there would
            be fewer than this, so that no worker is idle.
        run_tokens: The fixed cost of a batch, in tokens, on top of its padded tokens; None for
            packed texts.
        least_share: Calls with fewer tokens than this are not split among workers.

    Returns:
        The indices of each batch, its longest text first; every index from 0 to n - 1 is in exactly
        one batch. The largest batch comes first, so that parallel workers end together.
    """
    if not len(lengths):
        return []
    order = np.argsort(-lengths, kind="stable")
    if workers > 1:
        # Half a text more than the even share: no worker is left with a remainder.
        share = -(-int(lengths.sum()) // workers) + int(lengths.max()) // 2
        token_budget = min(token_budget, max(share, least_share))
    if run_tokens is None:
        return _filled(lengths[order], order, token_budget, max_texts or len(order))
    found, counts = np.unique(-lengths, return_counts=True)
    longest = [max(1, -length) for length in found.tolist()]
    most = [max(1, token_budget // length) for length in longest]
    if max_texts is not None:
        most = [min(max_texts, texts) for texts in most]
    ends = [0, *np.cumsum(counts).tolist()]
    batches: list[NDArray[np.int64]] = []
    for first, last in _cheapest_cut(longest, most, ends, run_tokens):
        texts = order[ends[first] : ends[last]]
        batches += np.array_split(texts, -(-len(texts) // most[first]))
    batches.sort(key=lambda batch: len(batch) * lengths[batch[0]], reverse=True)
    return batches


def _filled(
    lengths: NDArray[np.int64], order: NDArray[np.int64], token_budget: int, max_texts: int
) -> list[NDArray[np.int64]]:
    """Return batches of packed texts, each as full as the budget allows.

    Args:
        lengths: Tokens of each text, longest first.
        order: The indices of these texts.
        token_budget: See `plan_batches`.
        max_texts: See `plan_batches`.
    """
    ends = np.cumsum(lengths)
    batches, first, before = [], 0, 0
    while first < len(order):
        last = int(np.searchsorted(ends, before + token_budget, "right"))
        last = min(max(last, first + 1), first + max_texts)
        batches.append(order[first:last])
        first, before = last, int(ends[last - 1])
    return batches


def _cheapest_cut(
    longest: list[int], most: list[int], ends: list[int], run_tokens: int
) -> list[tuple[int, int]]:
    """Return the groups of lengths that cost least, as (first, end) positions in `longest`.

    Args:
        longest: The distinct lengths, longest first.
        most: The most texts in a batch whose longest text has this length.
        ends: The number of texts before each length, and of all texts.
        run_tokens: See `plan_batches`.
    """
    least, cuts = [0] * (len(longest) + 1), [0] * (len(longest) + 1)
    for last, shortest in enumerate(longest, 1):
        count = ends[last] - ends[last - 1]
        for first in range(last - 1, -1, -1):
            # Padding the last length alone would cost more than a batch of its own.
            if (longest[first] - shortest) * count > run_tokens:
                break
            texts = ends[last] - ends[first]
            runs = -(-texts // most[first])
            cost = least[first] + runs * run_tokens + texts * longest[first]
            if first == last - 1 or cost <= least[last]:
                least[last], cuts[last] = cost, first
    groups = []
    last = len(longest)
    while last:
        groups.append((cuts[last], last))
        last = cuts[last]
    return groups


def pad(
    sequences: Sequence[Sequence[int]], pad_id: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return one rectangular batch of unequal sequences, padded on the right.

    The padding is on the right whatever the checkpoint's own side: positions then count from the
    first token, as they do for a single text.

    Args:
        sequences: Token ids of each text.
        pad_id: The token id that fills shorter sequences.

    Returns:
        The sequences and a mask (1 for a token, 0 for padding), int64 [texts, longest].
    """
    if len(sequences) == 1 and len(sequences[0]):  # a list, or an array
        filled = np.array(sequences, dtype=np.int64)
        ones = np.empty_like(filled)
        ones.fill(1)
        return filled, ones
    longest = max(1, *map(len, sequences))
    filled = np.full((len(sequences), longest), pad_id, dtype=np.int64)
    mask = np.zeros_like(filled)
    for row, sequence in enumerate(sequences):
        filled[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = 1
    return filled, mask

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lanner.running.batching import pad, plan_batches

LENGTHS = st.lists(st.integers(0, 300), max_size=200)


def plan(lengths: list[int], budget: int, most: int | None = None) -> list[list[int]]:
    batches = plan_batches(
        np.array(lengths, np.int64), token_budget=budget, max_texts=most, run_tokens=4
    )
    return [batch.tolist() for batch in batches]


def test_like_lengths_stand_together_longest_first() -> None:
    assert plan([2, 9, 3, 8, 1], budget=18) == [[1, 3], [2, 0, 4]]


def test_a_batch_of_its_own_is_for_what_would_bring_more_padding() -> None:
    lengths = np.array([9, 5, 5, 4], np.int64)
    # Of 9, 5, 5 and 4 tokens: 36 together, 9 + 15 with a batch more, 9 + 10 + 4 with two more.
    cuts = {20: [[0, 1, 2, 3]], 5: [[1, 2, 3], [0]], 0: [[1, 2], [0], [3]]}
    for run_tokens, expected in cuts.items():
        batches = plan_batches(lengths, run_tokens=run_tokens)
        assert [batch.tolist() for batch in batches] == expected


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=8),
    st.integers(0, 60),
)
def test_no_other_cut_costs_less(lengths: list[int], run_tokens: int) -> None:
    def cost(batches: list[list[int]]) -> int:
        return sum(run_tokens + len(batch) * max(batch) for batch in batches)

    ordered = sorted(lengths, reverse=True)
    cuts = []  # every way to part them
    for bits in range(1 << (len(ordered) - 1)):
        batches = [[ordered[0]]]
        for place, length in enumerate(ordered[1:]):
            if bits >> place & 1:
                batches.append([length])
            else:
                batches[-1].append(length)
        cuts.append(cost(batches))

    found = plan_batches(np.array(lengths), run_tokens=run_tokens)

    assert cost([[lengths[index] for index in batch] for batch in found]) <= min(cuts)


def test_a_text_over_the_budget_gets_a_batch_of_its_own() -> None:
    assert plan([50, 4, 4], budget=8) == [[0], [1, 2]]


def test_packed_texts_fill_the_budget_whatever_their_lengths() -> None:
    lengths = np.array([9, 50, 5, 5, 4, 30], np.int64)
    found = plan_batches(lengths, token_budget=40, run_tokens=None)
    assert [batch.tolist() for batch in found] == [[1], [5, 0], [2, 3, 4]]
    pairs = plan_batches(lengths, token_budget=400, max_texts=2, run_tokens=None)
    assert [batch.tolist() for batch in pairs] == [[1, 5], [0, 2], [3, 4]]


@given(LENGTHS.map(lambda lengths: [1 + length for length in lengths]), st.integers(1, 3))
def test_packed_texts_are_all_planned_once_within_the_budget(
    lengths: list[int], workers: int
) -> None:
    found = plan_batches(
        np.array(lengths, np.int64), token_budget=512, workers=workers, run_tokens=None
    )
    assert sorted(index for batch in found for index in batch) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in batch) <= 512 for batch in found)
    assert sum(map(len, found)) == 0 or len(found) <= sum(lengths) // 128 + workers


def test_what_is_less_than_a_batch_for_each_worker_is_cut_smaller() -> None:
    lengths = np.array([40, 40, 30, 30], np.int64)
    together = plan_batches(lengths, token_budget=512, run_tokens=20)
    assert [batch.tolist() for batch in together] == [[0, 1, 2, 3]]
    # 140 tokens are 70 a worker, and half of the longest more: two of 40, and two of 30.
    halves = plan_batches(lengths, token_budget=512, workers=2, run_tokens=20)
    assert [batch.tolist() for batch in halves] == [[0, 1], [2, 3]]
    # Less than 64 tokens are not worth a second worker.
    few = plan_batches(np.array([20, 20], np.int64), token_budget=512, workers=2)
    assert [batch.tolist() for batch in few] == [[0, 1]]


def test_no_texts_are_no_batches() -> None:
    assert plan([], budget=8) == []


@given(LENGTHS, st.integers(1, 600), st.none() | st.integers(1, 64))
def test_every_text_is_in_one_batch_within_the_bounds(
    lengths: list[int], budget: int, most: int | None
) -> None:
    batches = plan(lengths, budget, most)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * max(lengths[index] for index in batch)
        assert padded <= budget or len(batch) == 1
        assert most is None or len(batch) <= most


def test_padding_by_hand() -> None:
    padded, mask = pad([[5, 6, 7], [8]], 0)
    assert padded.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert padded.dtype == mask.dtype == np.int64


def test_the_padding_id_is_the_tokenizer_s() -> None:
    assert pad([[5], [6, 7]], 1)[0].tolist() == [[5, 1], [6, 7]]


def test_a_text_without_a_token_is_all_padding() -> None:
    ids, mask = pad([[]], 9)
    assert ids.tolist() == [[9]]
    assert mask.tolist() == [[0]]

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lanner.running.runner import Runner, Sequences, feed


class SumEngine:
    """Answers with the sum of each row's tokens that are not padding, and notes what it was fed."""

    name, run_tokens = "sum", 2

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def run(
        self,
        inputs: Mapping[str, NDArray[np.int64]],
        *,
        is_alone: bool = False,
        deadline_s: float | None = None,
    ) -> NDArray[np.float32]:
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        self.shapes.append(ids.shape)
        sums: NDArray[np.float32] = (ids * mask).sum(axis=1, dtype=np.float32)
        return sums


def test_a_feed_by_hand() -> None:
    tensors = feed([(Sequences([[5, 6], [7], [8, 9, 10]]), [0, 2])], pad_token_id=1)
    assert {name: array.tolist() for name, array in tensors.items()} == {
        "input_ids": [[5, 6, 1], [8, 9, 10]],
        "attention_mask": [[1, 1, 0], [1, 1, 1]],
    }


def test_token_types_are_padded_with_zero() -> None:
    tensors = feed([(Sequences([[5, 6], [7]], [[0, 1], [1]]), [0, 1])], pad_token_id=9)
    assert tensors["token_type_ids"].tolist() == [[0, 1], [1, 0]]


def test_what_is_read_but_not_pooled_is_marked() -> None:
    tensors = feed([(Sequences([[5, 6, 7], [8]], unpooled_tokens=2), [0, 1])], pad_token_id=0)
    assert tensors["attention_mask"].tolist() == [[2, 2, 1], [2, 0, 0]]


def test_every_sequence_is_answered_once_but_empty_ones() -> None:
    engine = SumEngine()
    runner = Runner(engine, feed=partial(feed, pad_token_id=0), workers=2, token_budget=4)
    sequences = [[1, 2, 3], [], [4], [5, 6], [7] * 9]
    answers = np.full(len(sequences), np.nan)
    for rows, block in runner.run(Sequences(sequences), max_sequences=2):
        assert np.isnan(answers[rows]).all()
        answers[rows] = block
    np.testing.assert_array_equal(answers, [6, np.nan, 4, 11, 63])
    assert all(rows * longest <= 4 or rows == 1 for rows, longest in engine.shapes)

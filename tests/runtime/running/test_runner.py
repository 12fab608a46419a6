import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lanner.errors import EngineError
from lanner.running.runner import (
    NotFiniteError,
    Runner,
    Sequences,
    UnknownTokenError,
    feed,
    feed_packed,
    is_finite,
)


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
        sums: NDArray[np.float32] = (ids * mask).sum(axis=1, dtype=np.float32)[:, None]
        return sums


def test_a_feed_by_hand() -> None:
    tensors = feed([(Sequences([[5, 6], [7], [8, 9, 10]]), [0, 2])], pad_token_id=1)
    assert {name: array.tolist() for name, array in tensors.items()} == {
        "input_ids": [[5, 6, 1], [8, 9, 10]],
        "attention_mask": [[1, 1, 0], [1, 1, 1]],
    }


def test_a_token_beyond_the_table_is_named_by_its_row() -> None:
    parts = [(Sequences([[5, 6], [9], [7, 10]]), [1, 2]), (Sequences([[11]]), [0])]
    assert feed(parts, 0, known_tokens=12)["input_ids"].shape == (3, 2)
    for known, token, row in ((11, 11, 0), (10, 10, 2), (9, 9, 1)):
        with pytest.raises(UnknownTokenError) as failed:
            feed(parts, 0, known_tokens=known)
        assert (failed.value.token_id, failed.value.row) == (token, row)
    with pytest.raises(UnknownTokenError, match=r"^the input at index 1 has the token 99, which"):
        feed([(Sequences([[1, 2], [3]]), [0, 1])], pad_token_id=99, known_tokens=9)


def test_a_packed_feed_by_hand() -> None:
    of_a_server: Any = Sequences([np.array([4])], [np.array([1])])  # type: ignore[list-item]
    parts = [
        (Sequences([[5, 6], [7], [8, 9, 10]], [[0, 1], [0], [0, 0, 1]]), [0, 2]),
        (of_a_server, [0]),
    ]
    tensors = feed_packed(parts)
    assert {name: array.tolist() for name, array in tensors.items()} == {
        "input_ids": [5, 6, 8, 9, 10, 4],
        "starts": [0, 2, 5, 6],
        "token_type_ids": [0, 1, 0, 0, 1, 1],
    }
    assert {array.dtype for array in tensors.values()} == {np.dtype(np.int32)}
    one = feed_packed([(Sequences([[5], [7, 8]]), [1])])
    assert {name: array.tolist() for name, array in one.items()} == {
        "input_ids": [7, 8],
        "starts": [0, 2],
    }


@pytest.mark.parametrize("token", [12, 2**31, 2**40])
def test_a_packed_token_beyond_the_table_is_named_by_its_row(token: int) -> None:
    parts = [(Sequences([[5, 6], [9], [7, 10]]), [1, 2]), (Sequences([[3], [4, token]]), [1])]
    for known in (12, None) if token > 12 else (12,):
        with pytest.raises(UnknownTokenError) as failed:
            feed_packed(parts, known_tokens=known)
        assert (failed.value.token_id, failed.value.row) == (token, 1)


def test_token_types_are_padded_with_zero() -> None:
    tensors = feed([(Sequences([[5, 6], [7]], [[0, 1], [1]]), [0, 1])], pad_token_id=9)
    assert tensors["token_type_ids"].tolist() == [[0, 1], [1, 0]]


def test_what_is_read_but_not_pooled_is_marked() -> None:
    tensors = feed([(Sequences([[5, 6, 7], [8]], unpooled_tokens=2), [0, 1])], pad_token_id=0)
    assert tensors["attention_mask"].tolist() == [[2, 2, 1], [2, 0, 0]]


def test_what_is_answered_but_not_read_is_marked() -> None:
    sequences = Sequences([[5, 6, 7], [8, 9], [1]], attended_tokens=[1, 2, 1])
    tensors = feed([(Sequences([[3]]), [0]), (sequences, [2, 0, 1])], pad_token_id=0)
    assert tensors["attention_mask"].tolist() == [[1, 0, 0], [1, 0, 0], [1, 2, 2], [1, 1, 0]]


def test_every_sequence_is_answered_once_but_empty_ones() -> None:
    engine = SumEngine()
    runner = Runner(engine, feed=partial(feed, pad_token_id=0), workers=2, token_budget=4)
    sequences = [[1, 2, 3], [], [4], [5, 6], [7] * 9]
    answers = np.full(len(sequences), np.nan)
    for rows, block in runner.run(Sequences(sequences), max_sequences=2):
        assert np.isnan(answers[rows]).all()
        answers[rows] = block[:, 0]
    np.testing.assert_array_equal(answers, [6, np.nan, 4, 11, 63])
    assert all(rows * longest <= 4 or rows == 1 for rows, longest in engine.shapes)


class GivenEngine:
    """Answers what it is given."""

    name, run_tokens = "given", 0

    def __init__(self, output: object) -> None:
        self.output = np.array(output, np.float32)

    def run(
        self,
        inputs: Mapping[str, NDArray[np.int64]],
        *,
        is_alone: bool = False,
        deadline_s: float | None = None,
    ) -> NDArray[np.float32]:
        return self.output


def answers_of(output: object, width: int | None = 2, *, flat: bool = False) -> list[object]:
    runner = Runner(
        GivenEngine(output),
        feed=partial(feed, pad_token_id=0),
        workers=1,
        token_budget=64,
        width=width,
        by_token=np.ndim(output) == 3 and not flat,  # type: ignore[arg-type]
    )
    sequences = Sequences([[1], [2, 3]])
    return [block.tolist() for _, block in runner.run(sequences, max_sequences=8)]


@pytest.mark.parametrize(
    "output", [[[1, 2]], [[1, 2]] * 3, [1, 2], [[1], [2]], [[1, 2, 3]] * 2, [[[1, 2]]] * 2, 7]
)
def test_an_answer_of_another_shape_is_no_answer(output: object) -> None:
    shape = re.escape(str(list(np.array(output).shape)))
    message = rf"^given answered float32 {shape} to 2 inputs, where each must have a row of 2: what"
    with pytest.raises(EngineError, match=message):
        answers_of(output, flat=True)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_answer_that_is_not_finite_names_its_input(value: float) -> None:
    # The longest runs first, so the first row is of the second input.
    with pytest.raises(
        NotFiniteError, match=r"^given answered NaN or an infinity to the input at "
    ):
        answers_of([[1, value], [1, 2]])
    for row in (0, 1):
        rows: list[list[float]] = [[1, 2], [1, 2]]
        rows[row] = [value, 0]
        with pytest.raises(NotFiniteError) as failed:
            answers_of(rows)
        assert failed.value.row == 1 - row
    # An infinity beside its opposite, and values whose sum overflows.
    with pytest.raises(NotFiniteError):
        answers_of([[np.inf, -np.inf], [1, 2]])
    assert answers_of([[3e38, 3e38], [3e38, 1]])


@pytest.mark.parametrize("size", [1, 384, 8_192, 8_193, 100_000])
def test_finite_values_are_found_in_one_pass(size: int) -> None:
    values = np.linspace(-3, 3, size, dtype=np.float32)
    assert is_finite(values)
    for place in {0, size // 2, size - 1}:
        for bad in (np.nan, np.inf, -np.inf):
            broken = values.copy()
            broken[place] = bad
            assert not is_finite(broken)
    # Every other column of wider rows, as an engine cuts them.
    assert is_finite(np.stack([values, np.full_like(values, np.nan)], axis=1)[:, :1])


def test_what_is_answered_to_filling_counts_for_nothing() -> None:
    filled = [[[1, 2], [3, 4]], [[5, 6], [np.nan, np.nan]]]
    assert len(answers_of(filled)) == 1
    with pytest.raises(NotFiniteError):
        answers_of(filled[::-1])

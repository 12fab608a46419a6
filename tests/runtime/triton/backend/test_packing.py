import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.manifests import manifest

from lanner.artifact.manifest import Manifest
from lanner.errors import InputError
from lanner.running.runner import Runner, feed
from lanner.triton.backend.packing import TokenRequest, run_together

TYPED = ["input_ids", "attention_mask", "token_type_ids"]


class SumEngine:
    """Answers with the sum of each row's pooled tokens, and ten times its types; notes its feed.

    Of a tagger, with each token by itself.
    """

    name, run_tokens = "sum", 2

    def __init__(self, *, by_token: bool = False) -> None:
        self.by_token = by_token
        self.fed: list[dict[str, list[list[int]]]] = []

    def run(
        self,
        inputs: Mapping[str, NDArray[Any]],
        *,
        is_alone: bool = False,
        deadline_s: float | None = None,
    ) -> NDArray[np.float32]:
        self.fed.append({name: tensor.tolist() for name, tensor in inputs.items()})
        values = inputs["input_ids"] + 10 * inputs.get("token_type_ids", np.array(0))
        # Padding is answered with values that must never appear.
        values = np.where(inputs["attention_mask"] == 0, 1_000, values)[..., None]
        if self.by_token:
            return values.astype(np.float32)
        is_pooled = (inputs["attention_mask"] == 1)[..., None]
        sums: NDArray[np.float32] = (values * is_pooled).sum(axis=1, dtype=np.float32)
        return sums


def tensors(
    ids: Sequence[Any], mask: Sequence[Any] | None = None, types: Sequence[Any] | None = None
) -> dict[str, NDArray[np.int64]]:
    found = {
        "input_ids": np.array(ids),
        "attention_mask": np.ones_like(ids) if mask is None else np.array(mask),
    }
    return found if types is None else {**found, "token_type_ids": np.array(types)}


def answers(
    *requests: dict[str, NDArray[np.int64]],
    made: Manifest | None = None,
    engine: SumEngine | None = None,
) -> list[Any]:
    made = made or manifest(dimension=1)
    engine = engine or SumEngine(by_token=made.head_record.by_token)
    runner = Runner(engine, feed=partial(feed, pad_token_id=9), workers=1, token_budget=64)
    read = [TokenRequest.of(request, made) for request in requests]
    outputs = run_together(read, runner, made)
    assert all(output.dtype == np.float32 for output in outputs)
    return [output.tolist() for output in outputs]


def test_requests_of_unequal_length_run_together() -> None:
    engine = SumEngine()
    first = tensors([[1, 2, 3], [4, 0, 0]], [[1, 1, 1], [1, 0, 0]])
    assert answers(first, tensors([[5, 6]]), engine=engine) == [[[6], [4]], [[11]]]
    assert engine.fed == [
        {
            "input_ids": [[1, 2, 3], [5, 6, 9], [4, 9, 9]],  # the longest first
            "attention_mask": [[1, 1, 1], [1, 1, 0], [1, 0, 0]],
        }
    ]


def test_filling_may_stand_on_either_side() -> None:
    left = tensors([[0, 0, 5], [1, 2, 3]], [[0, 0, 1], [1, 1, 1]])
    right = tensors([[5, 0, 0], [1, 2, 3]], [[1, 0, 0], [1, 1, 1]])
    assert answers(left, right) == [[[5], [6]], [[5], [6]]]


def test_filling_may_hold_anything_and_be_long() -> None:
    filled = tensors([[5, 99, -7, 0, 0, 0]], [[1, 0, 0, 0, 0, 0]])
    assert answers(filled) == [[[5]]]


def test_any_other_mark_is_a_token() -> None:
    assert answers(tensors([[5, 6, 7]], [[1, 7, -1]])) == [[[18]]]


def test_what_is_read_but_not_pooled() -> None:
    engine = SumEngine()
    assert answers(tensors([[5, 6, 7]], [[2, 2, 1]]), engine=engine) == [[[7]]]
    assert engine.fed == [{"input_ids": [[5, 6, 7]], "attention_mask": [[2, 2, 1]]}]


def test_what_is_not_pooled_may_stand_behind_filling() -> None:
    assert answers(tensors([[0, 5, 6], [7, 8, 9]], [[0, 2, 1], [2, 1, 1]])) == [[[6], [17]]]


def test_texts_and_requests_may_differ_in_what_is_not_pooled() -> None:
    engine = SumEngine()
    first = tensors([[1, 2, 3], [4, 5, 0]], [[2, 1, 1], [1, 1, 0]])
    second = tensors([[6, 7], [8, 1]], [[2, 2], [2, 1]])
    assert answers(first, second, engine=engine) == [[[5], [9]], [[0], [1]]]
    assert engine.fed == [
        {"input_ids": [[4, 5]], "attention_mask": [[1, 1]]},
        {"input_ids": [[1, 2, 3], [8, 1, 9]], "attention_mask": [[2, 1, 1], [2, 1, 0]]},
        {"input_ids": [[6, 7]], "attention_mask": [[2, 2]]},
    ]


@pytest.mark.parametrize("mask", [[1, 2, 1], [2, 1, 2], [0, 1, 2]])
def test_only_a_beginning_is_not_pooled(mask: list[int]) -> None:
    message = (
        "words takes 2 in attention_mask for tokens that are read but not pooled, at the start of "
        "a text alone"
    )
    with pytest.raises(InputError, match=re.escape(message)):
        TokenRequest.of(tensors([[1, 2, 3]], [mask]), manifest())


def test_types_go_with_their_tokens() -> None:
    made = manifest(dimension=1, inputs=TYPED)
    left = tensors([[0, 5, 6], [1, 2, 3]], [[0, 1, 1], [1, 1, 1]], [[7, 0, 1], [1, 1, 1]])
    right = tensors([[4, 0]], [[1, 0]], [[1, 7]])  # padding may have any value
    assert answers(left, right, made=made) == [[[21], [36]], [[14]]]


def test_types_that_are_not_given_are_zeros() -> None:
    made = manifest(dimension=1, inputs=TYPED)
    engine = SumEngine()
    given = tensors([[5]], types=[[1]])
    assert answers(tensors([[5, 6]]), given, made=made, engine=engine) == [[[11]], [[15]]]
    assert engine.fed[0]["token_type_ids"] == [[0, 0], [1, 0]]


def test_types_that_the_model_does_not_take_are_left_out() -> None:
    engine = SumEngine()
    assert answers(tensors([[5]], types=[[1]]), engine=engine) == [[[5]]]
    assert engine.fed == [{"input_ids": [[5]], "attention_mask": [[1]]}]


def test_a_text_without_a_token_is_answered_with_zeros() -> None:
    assert answers(tensors([[5, 6], [7, 8]], [[0, 0], [1, 1]])) == [[[0], [15]]]
    assert answers(tensors([[5, 6]], [[0, 0]])) == [[[0]]]
    assert answers({name: np.zeros((2, 0), np.int64) for name in TYPED[:2]}) == [[[0], [0]]]


def test_a_request_without_a_text() -> None:
    nothing = {name: np.zeros((0, 3), np.int64) for name in TYPED[:2]}
    assert answers(nothing, tensors([[5]])) == [[], [[5]]]


def test_tags_stand_where_their_tokens_stood() -> None:
    made = manifest("tag", dimension=1, labels=["x"])
    first = tensors([[0, 5, 6], [1, 0, 2], [3, 0, 0]], [[0, 1, 1], [1, 0, 1], [1, 0, 0]])
    second = tensors([[7, 8, 0, 0, 0]], [[1, 1, 0, 0, 0]])
    assert answers(first, second, made=made) == [
        [[[0], [5], [6]], [[1], [0], [2]], [[3], [0], [0]]],
        [[[7], [8], [0], [0], [0]]],
    ]


def test_tags_of_a_text_without_a_token() -> None:
    made = manifest("tag", dimension=1, labels=["x"])
    assert answers(tensors([[5, 6]], [[0, 0]]), made=made) == [[[[0], [0]]]]


def test_many_requests_are_answered_each_with_its_own() -> None:
    generator = np.random.default_rng(0)
    requests, expected = [], []
    for _ in range(100):
        shape = int(generator.integers(1, 5)), int(generator.integers(1, 5))
        ids, mask = generator.integers(0, 10, shape), generator.integers(0, 2, shape)
        requests.append(tensors(ids.tolist(), mask.tolist()))
        expected.append((ids * mask).sum(axis=1, keepdims=True).tolist())
    assert answers(*requests) == expected


@pytest.mark.parametrize("name", ["input_ids", "attention_mask"])
def test_a_missing_tensor_is_named(name: str) -> None:
    given = tensors([[5]])
    del given[name]
    message = "words takes input_ids and attention_mask, and the request lacks one of them"
    with pytest.raises(InputError, match=re.escape(message)):
        TokenRequest.of(given, manifest())


@pytest.mark.parametrize(
    ("given", "shapes"),
    [
        (tensors([1, 2]), "{'input_ids': (2,), 'attention_mask': (2,)}"),
        (tensors([[1, 2]], [[1]]), "{'input_ids': (1, 2), 'attention_mask': (1, 1)}"),
        (tensors([[[1]]]), "{'input_ids': (1, 1, 1), 'attention_mask': (1, 1, 1)}"),
        (
            tensors([[1, 2]], types=[[0, 0], [0, 0]]),
            "{'input_ids': (1, 2), 'attention_mask': (1, 2), 'token_type_ids': (2, 2)}",
        ),
    ],
)
def test_tensors_of_another_shape(given: dict[str, NDArray[np.int64]], shapes: str) -> None:
    message = f"words takes tensors [texts, tokens] of one shape, not {shapes}"
    with pytest.raises(InputError, match=re.escape(message)):
        TokenRequest.of(given, manifest(inputs=TYPED))


def test_a_text_that_is_too_long() -> None:
    assert answers(tensors([[1, 1, 1, 1]])) == [[[4]]]
    message = "words takes at most 4 tokens, and a text has 5: cut it"
    with pytest.raises(InputError, match=re.escape(message)):
        TokenRequest.of(tensors([[1] * 5, [1] * 5], [[1, 0, 0, 0, 0], [1] * 5]), manifest())


def test_without_a_limit_any_length_will_do() -> None:
    made = manifest(max_tokens=None, dimension=1)
    assert answers(tensors([[1] * 500]), made=made) == [[[500]]]


@pytest.mark.parametrize("token", [-1, 10, 30_522])
def test_a_token_that_the_model_does_not_know(token: int) -> None:
    message = f"words knows tokens from 0 to 9, not {token}: tokenise with its own tokenizer.json"
    with pytest.raises(InputError, match=re.escape(message)):
        TokenRequest.of(tensors([[0, 9], [9, token]]), manifest())


@pytest.mark.parametrize("of_token", [-1, 2, 5])
def test_a_token_type_that_the_model_does_not_know(of_token: int) -> None:
    message = (
        "words knows the token types 0 and 1, of the first and the second text of a pair, not "
        f"{of_token}: tokenise with its own tokenizer.json"
    )
    given = tensors([[0, 9], [9, 1]], types=[[0, 1], [1, of_token]])
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        TokenRequest.of(given, manifest(inputs=TYPED))
    TokenRequest.of(given, manifest())  # a model without token types


def test_tokens_that_are_answered_but_not_read() -> None:
    engine = SumEngine(by_token=True)
    made = manifest("tokens", dimension=1, labels=[], outputs=["token_embeddings"])
    request = tensors([[0, 4, 5, 6], [7, 8, 0, 0]], [[0, 1, 2, 2], [1, 1, 0, 0]])
    assert answers(request, made=made, engine=engine) == [
        [[[0], [4], [5], [6]], [[7], [8], [0], [0]]]
    ]
    assert engine.fed == [
        {"input_ids": [[4, 5, 6], [7, 8, 9]], "attention_mask": [[1, 2, 2], [1, 1, 0]]}
    ]
    with pytest.raises(
        InputError,
        match=r"^words takes 2 in attention_mask for tokens that are answered but not read, at the "
        r"end of a text alone$",
    ):
        TokenRequest.of(tensors([[1, 2]], [[2, 1]]), made)

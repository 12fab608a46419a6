import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the export extra")

from numpy.typing import NDArray
from tests.support.graphs import graph, require_same, unequal_lengths

from lanner_export.graph.edits import constant
from lanner_export.graph.embedding_passes import fold_token_types, slice_positions

IDS = "int64[n, t] input_ids"
BODY = """
size = Shape<start=1, end=2>(input_ids)
both = Shape(input_ids)
numbers = Slice(position_ids, zero, size, one, one)
zeros = Expand(no_type, both)
a = Gather(words, input_ids)
b = Gather(types, zeros)
ab = Add(a, b)
c = Gather(positions, numbers)
z = Add(ab, c)
"""
POSITIONS_FIRST = BODY.replace("ab = Add(a, b)", "").replace("z = Add(ab, c)", "") + (
    "bc = Add(b, c)\nz = Add(a, bc)\n"
)
FEEDS = {"input_ids": np.random.default_rng(0).integers(0, 9, (3, 7)) * unequal_lengths()}
SHAPES = {"numbers": "int64[1, t]", "zeros": "int64[n, t]", "c": "float[1, t, 4]"}


def constants(numbers: int = 10) -> dict[str, NDArray[np.float32] | NDArray[np.int64]]:
    draw = np.random.default_rng(1).normal
    tables = {
        name: draw(size=(rows, 4)).astype(np.float32)
        for name, rows in (("words", 9), ("types", 2), ("positions", 12))
    }
    return {
        **tables,
        "position_ids": np.arange(numbers)[None],
        "zero": np.array([0]),
        "one": np.array([1]),
        "minus": np.array([-1]),
        "no_type": np.array([0]),
        "first_type": np.array([1]),
        "scale": np.ones(4, np.float32) * 2,
    }


@pytest.mark.parametrize("body", [BODY, POSITIONS_FIRST], ids=["words first", "positions first"])
def test_the_type_of_all_tokens_goes_into_the_smaller_table(body: str) -> None:
    arrays = constants()
    arrays["words"] = np.concatenate([arrays["words"]] * 2)
    model = graph(IDS, "float[n, t, 4] z", body, arrays, SHAPES)
    left = require_same(model, fold_token_types, FEEDS, count=1)
    assert (left["Gather"], left["Add"]) == (2, 1)
    folded = constant(model.graph.initializers["positions_typed"])
    np.testing.assert_array_equal(folded, arrays["positions"] + arrays["types"][0])


def test_without_a_table_of_positions_it_goes_into_the_words() -> None:
    body = BODY.replace("z = Add(ab, c)", "z = LayerNormalization(ab, scale)")
    model = graph(IDS, "float[n, t, 4] z", body, constants(), SHAPES)
    require_same(model, fold_token_types, FEEDS, count=1)
    assert "words_typed" in model.graph.initializers


@pytest.mark.parametrize(
    ("inputs", "old", "new"),
    [
        pytest.param(
            f"{IDS}, int64[n, t] token_type_ids",
            "zeros = Expand(no_type, both)",
            "zeros = Identity(token_type_ids)",
            id="types are an input",
        ),
        pytest.param(IDS, "Expand(no_type", "Expand(first_type", id="another type"),
        pytest.param(IDS, "z = Add(ab, c)", "y = Add(ab, c)\nz = Mul(y, b)", id="type read again"),
        pytest.param(
            IDS,
            "z = Add(ab, c)",
            "y = Add(ab, c)\nd = Gather(positions, zeros)\nd2 = Gather(words, zeros)\n"
            "w = Mul(y, d2)\nz = Mul(w, d)",
            id="both tables looked up twice",
        ),
        pytest.param(
            IDS, "z = Add(ab, c)", "y = Add(ab, c)\nz = Mul(y, c)", id="positions read again"
        ),
        pytest.param(IDS, "ab = Add(a, b)", "ab = Mul(a, b)", id="multiplied"),
    ],
)
def test_types_that_are_not_only_added_stay(inputs: str, old: str, new: str) -> None:
    # What a table of words gives is read twice, so that it is no way out.
    body = BODY.replace(old, new).replace("z = ", "y3 = ") + "z = Add(y3, a)\n"
    model = graph(inputs, "float[n, t, 4] z", body, constants(), SHAPES)
    feeds = {**FEEDS, "token_type_ids": FEEDS["input_ids"] % 2}
    require_same(model, fold_token_types, feeds, count=0)


def test_positions_that_are_read_again_leave_the_words() -> None:
    body = BODY.replace("z = Add(ab, c)", "y = Add(ab, c)\nz = Mul(y, c)")
    model = graph(IDS, "float[n, t, 4] z", body, constants(), SHAPES)
    require_same(model, fold_token_types, FEEDS, count=1)
    assert "words_typed" in model.graph.initializers


def test_a_sum_that_has_the_batch_of_its_types_stays() -> None:
    body = BODY.replace("z = Add(ab, c)", "").replace("ab = Add(a, b)", "") + "z = Add(b, c)\n"
    model = graph(IDS, "float[n, t, 4] z", body, constants(), SHAPES)
    require_same(model, fold_token_types, FEEDS, count=0)


@pytest.mark.parametrize("rows", [10, 12])
def test_the_first_positions_are_cut_out(rows: int) -> None:
    model = graph(IDS, "float[n, t, 4] z", BODY, constants(rows), SHAPES)
    assert require_same(model, slice_positions, FEEDS, count=1)["Gather"] == 2


def test_a_table_that_others_read_stays_whole() -> None:
    body = BODY.replace("z = Add(ab, c)", "y = Add(ab, c)\nd = Gather(positions, input_ids)\n")
    model = graph(IDS, "float[n, t, 4] z", body + "z = Mul(y, d)\n", constants(), SHAPES)
    require_same(model, slice_positions, FEEDS, count=1)
    assert model.graph.initializers["positions"].shape == (12, 4)
    assert model.graph.initializers["positions_used"].shape == (10, 4)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("position_ids", np.arange(10)[None] + 2),
        ("position_ids", np.arange(10)[None, ::-1].copy()),
        ("zero", np.array([1])),
    ],
    ids=["from 2 on, as RoBERTa's", "backwards", "without the first"],
)
def test_other_positions_are_looked_up(name: str, array: NDArray[np.int64]) -> None:
    body = BODY.replace("size = Shape<start=1, end=2>(input_ids)", "size = Identity(seven)")
    body = body.replace(
        "(position_ids, zero, size",
        f"(position_ids, zero, {'eight' if name == 'zero' else 'seven'}",
    )
    arrays = {**constants(), name: array, "seven": np.array([7]), "eight": np.array([8])}
    model = graph(IDS, "float[n, t, 4] z", body, arrays, {**SHAPES, "c": "float[1, 7, 4]"})
    require_same(model, slice_positions, FEEDS, count=0)


@pytest.mark.parametrize(
    "new",
    [
        "n = LayerNormalization(c, scale)\nz = Add(ab, n)",
        "d = Concat<axis=0>(c, c, c)\nz = Add(ab, d)",
    ],
    ids=["normalised", "put together"],
)
def test_positions_that_are_not_only_added_are_looked_up(new: str) -> None:
    body = BODY.replace("z = Add(ab, c)", new)
    model = graph(IDS, "float[n, t, 4] z", body, constants(), SHAPES)
    require_same(model, slice_positions, FEEDS, count=0)


def test_a_slice_without_axes_is_left_alone() -> None:
    body = BODY.replace(
        "Slice(position_ids, zero, size, one, one)", "Slice(position_ids, no, ends)"
    )
    body = body.replace("numbers =", "ends = Concat<axis=0>(one, size)\nnumbers =")
    arrays = {**constants(), "no": np.array([0, 0])}
    model = graph(IDS, "float[n, t, 4] z", body, arrays, SHAPES)
    require_same(model, slice_positions, FEEDS, count=0)


def test_both_one_after_the_other() -> None:
    model = graph(IDS, "float[n, t, 4] z", BODY, constants(), SHAPES)

    def both(model: object) -> int:
        return fold_token_types(model) + slice_positions(model)  # type: ignore[arg-type]

    assert require_same(model, both, FEEDS, count=2)["Gather"] <= 2

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the export extra")

from numpy.typing import NDArray
from tests.support.graphs import graph, require_same, unequal_lengths

from lanner_export.graph.embedding_passes import slice_positions

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

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the export extra")

from tests.support.graphs import Arrays, graph, require_same, unequal_lengths

from lanner_export.graph.pooling_passes import broadcast_norm, normalize_sum

INPUTS = "int64[n, t] attention_mask, float[n, t, 4] x"
BODY = """
rows = Unsqueeze(attention_mask, last)
mask = Cast<to=1>(rows)
kept = Mul(x, mask)
total = ReduceSum<keepdims=0>(kept, one)
count = ReduceSum<keepdims=0>(mask, one)
tokens = Clip(count, tiny)
mean = Div(total, tokens)
norm = ReduceL2<keepdims=1>(mean, last)
length = Clip(norm, tiny)
shape = Shape(mean)
wide = Expand(length, shape)
z = Div(mean, wide)
"""
CONSTANTS = {
    "one": np.array([1]),
    "last": np.array([-1]),
    "tiny": np.array(1e-12, np.float32),
    "half": np.array(0.5, np.float32),
    "four": np.array([2, 4]),
    "axis0": np.array([0]),
}
MASK = unequal_lengths()
FEEDS: Arrays = {
    "attention_mask": MASK,
    "x": np.random.default_rng(0).normal(size=(*MASK.shape, 4)).astype(np.float32),
}
# torch works the shape out of the sizes of the batch: the vector itself is not read for it.
TORCH = BODY.replace("shape = Shape(mean)", "shape = Shape(total)")
SHAPES = {"wide": "float[n, 4]"}


def test_the_sum_is_normalised_instead_of_the_mean() -> None:
    model = graph(INPUTS, "float[n, 4] z", TORCH, CONSTANTS, SHAPES)
    left = require_same(model, normalize_sum, FEEDS, count=1)
    assert (left["Div"], left["ReduceSum"]) == (1, 1)


@pytest.mark.parametrize(
    ("old", "new", "output"),
    [
        pytest.param(
            "z = Div(mean, wide)", "z0 = Div(mean, wide)\nz = Add(z0, mean)", "", id="sum"
        ),
        pytest.param("", "", ", float[n, 4] mean", id="the mean is an answer"),
        pytest.param("", "", ", float[n, 1] norm", id="its length is an answer"),
        pytest.param("z = Div(mean, wide)", "y = Div(mean, half)\nz = Mul(y, wide)", "", id="half"),
        pytest.param("z = Div(mean, wide)", "z = Div(wide, mean)", "", id="other way round"),
        pytest.param("tokens = Clip(count, tiny)", "tokens = Sqrt(count)", "", id="root"),
        pytest.param(
            "count = ReduceSum<keepdims=0>(mask, one)",
            "sq = Mul(kept, kept)\ncount = ReduceSum<keepdims=0>(sq, one)",
            "",
            id="another divisor for each component",
        ),
        pytest.param("(mean, last)", "(mean, axis0)", "", id="norm over the batch"),
    ],
)
def test_a_mean_that_is_seen_stays(old: str, new: str, output: str) -> None:
    body = TORCH.replace(old, new) if old else TORCH
    model = graph(INPUTS, "float[n, 4] z" + output, body, CONSTANTS, SHAPES)
    require_same(model, normalize_sum, FEEDS, count=0)


def test_a_length_is_not_written_out() -> None:
    model = graph(INPUTS, "float[n, 4] z", TORCH, CONSTANTS, SHAPES)
    assert require_same(model, broadcast_norm, FEEDS, count=1)["Expand"] == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("z = Div(mean, wide)", "z = Div(total, wide)", id="another vector"),
        pytest.param("z = Div(mean, wide)", "z = Div(wide, mean)", id="other way round"),
        pytest.param("z = Div(mean, wide)", "y = Div(mean, wide)\nz = Add(y, wide)", id="used on"),
        pytest.param("length = Clip(norm, tiny)", "length = Abs(norm)", id="not clipped"),
    ],
)
def test_what_is_no_division_by_its_own_length_stays(old: str, new: str) -> None:
    model = graph(INPUTS, "float[n, 4] z", TORCH.replace(old, new), CONSTANTS, SHAPES)
    require_same(model, broadcast_norm, FEEDS, count=0)


def test_a_length_that_makes_the_answer_larger_stays_written_out() -> None:
    body = TORCH.replace("wide = Expand(length, shape)", "wide = Expand(length, more)")
    constants = {**CONSTANTS, "more": np.array([2, 3, 4])}
    model = graph(INPUTS, "float[2, 3, 4] z", body, constants)
    require_same(model, broadcast_norm, FEEDS, count=0)

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the export extra")

from numpy.typing import NDArray
from tests.support.graphs import graph, require_same

from lanner_export.graph.convolution_passes import products_of_convolutions

FEEDS = {"x": np.random.default_rng(0).normal(size=(3, 6, 7)).astype(np.float32)}


def weights(groups: int, kernel: int = 1) -> dict[str, NDArray[np.float32]]:
    draw = np.random.default_rng(1).normal
    shapes = {"w": (4, 6 // groups, kernel), "b": (4,), "v": (8, 4 // groups, 1)}
    return {name: draw(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_over_one_token_become_products(groups: int) -> None:
    body = f"y = Conv<group={groups}>(x, w, b)\nu = Conv<group={groups}>(y, v)\nz = Relu(u)"
    model = graph("float[3, 6, t] x", "float[3, 8, t] z", body, weights(groups))
    left = require_same(model, products_of_convolutions, FEEDS, count=2)
    assert (left["MatMul"], left["Conv"]) == (2 * groups, 0)
    assert left["Transpose"] == 2  # before the first and behind the last, and none in between
    columns = [value.shape for name, value in model.graph.initializers.items() if "weight" in name]
    assert columns == [(6 // groups, 4 // groups)] * groups + [(4 // groups, 8 // groups)] * groups


@pytest.mark.parametrize(
    ("attributes", "kernel"), [("", 3), ("<strides=[2]>", 1), ("<pads=[1, 1]>", 1)]
)
def test_other_convolutions_stay(attributes: str, kernel: int) -> None:
    body = f"u = Conv{attributes}(x, w, b)\nz = Relu(u)"
    model = graph("float[3, 6, t] x", "float[3, 4, s] z", body, weights(1, kernel))
    assert require_same(model, products_of_convolutions, FEEDS, count=0)["Conv"] == 1

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the export extra")

from numpy.typing import NDArray
from tests.support.graphs import graph, require_same

from lanner_export.graph.residual_passes import shift_residual_bias

LAYER = """
y = LayerNormalization(x, gamma, beta)
p = MatMul(y, v)
h = Add(p, a)
f = Gelu(h)
q = MatMul(f, w)
r = Add(q, b)
s = Add(r, y)
z = LayerNormalization(s, gamma, beta)
"""
FEEDS = {"x": np.random.default_rng(0).normal(size=(3, 7, 4)).astype(np.float32)}


def constants(bias: float = 0.3) -> dict[str, NDArray[np.float32]]:
    draw = np.random.default_rng(1).normal
    shapes = {"v": (4, 6), "a": (6,), "w": (6, 4), "gamma": (4,), "beta": (4,)}
    arrays = {name: draw(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return {**arrays, "b": np.array([bias, -bias, 0, bias / 2], np.float32)}


def test_a_bias_goes_into_the_norm_before() -> None:
    # ALBERT's layers share one norm: the second one keeps its own beta.
    model = graph("float[n, t, 4] x", "float[n, t, 4] z", LAYER, constants())
    left = require_same(model, shift_residual_bias, FEEDS, count=1)
    assert left["Add"] == 2
    first, second = (node for node in model.graph if node.op_type == "LayerNormalization")
    assert second.inputs[2] is not None
    assert first.inputs[2] is not None
    assert (first.inputs[2].name, second.inputs[2].name) == ("beta_shifted", "beta")


def test_layers_that_share_their_weights_are_both_rewritten() -> None:
    second = LAYER.replace("(x,", "(z,")
    for name in "yphfqrs":
        second = second.replace(f"{name} =", f"{name}2 =").replace(f"({name},", f"({name}2,")
        second = second.replace(f"({name})", f"({name}2)").replace(f", {name})", f", {name}2)")
    second = second.replace("z =", "z2 =")
    model = graph("float[n, t, 4] x", "float[n, t, 4] z2", LAYER + second, constants())
    # The norm between them is read by MatMul and Add only after one of its own.
    assert require_same(model, shift_residual_bias, FEEDS, count=2)["Add"] == 4


def test_a_large_bias_stays() -> None:
    arrays = constants()
    reach = float((3 * np.abs(arrays["gamma"]) + np.abs(arrays["beta"])).max())
    for bias, count in ((0.24 * reach, 1), (0.26 * reach, 0)):
        model = graph("float[n, t, 4] x", "float[n, t, 4] z", LAYER, constants(bias))
        require_same(model, shift_residual_bias, FEEDS, count=count)


@pytest.mark.parametrize(
    ("old", "new", "outputs"),
    [
        pytest.param("s = Add(r, y)", "s2 = Add(r, y)\ns = Add(s2, y)", "", id="read by three"),
        pytest.param("", "", ", float[n, t, 4] y", id="an answer itself"),
        pytest.param("s = Add(r, y)", "s = Mul(r, y)", "", id="multiplied"),
        pytest.param("h = Add(p, a)", "h = Add(p, p)", "", id="no bias on the way in"),
        pytest.param("r = Add(q, b)", "r = Identity(q)", "", id="no bias on the way out"),
        pytest.param("f = Gelu(h)", "g = Gelu(h)\nf = Mul(g, p)", "", id="a gate"),
        pytest.param(
            "y = LayerNormalization(x, gamma, beta)",
            "y = LayerNormalization(x, gamma)",
            "",
            id="a norm without beta",
        ),
    ],
)
def test_what_others_see_is_not_shifted(old: str, new: str, outputs: str) -> None:
    body = LAYER.replace(old, new) if old else LAYER
    model = graph("float[n, t, 4] x", "float[n, t, 4] z" + outputs, body, constants())
    require_same(model, shift_residual_bias, FEEDS, count=0)

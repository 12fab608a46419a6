import re

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the export extra")

import onnx_ir as ir
from numpy.typing import NDArray
from tests.support.graphs import answers, graph, require_same, unequal_lengths

from lanner_export.graph.attention_passes import (
    attention_without_transposes,
    move_value_bias,
    one_mask,
)

INPUTS = "int64[n, t] input_ids, int64[n, t] attention_mask, float[n, t, 8] x"
OUTPUT = "float[n, t, 8] z"
#: The tokens that each token may see, [batch, 1, length, length]: all but padding.
MASK = """
seen = Cast<to=9>(attention_mask)
keys = Unsqueeze(seen, axes_key)
both = Shape(attention_mask)
batch = Slice(both, zero, one)
length = Slice(both, one, two)
shape = Concat<axis=0>(batch, one, length, length)
mask = Expand(keys, shape)
"""
#: Each token sees only tokens nearby, as in ModernBERT's local layers.
WINDOW = (
    MASK.replace("mask = Expand", "padding = Expand")
    + """
size = Squeeze(length)
places = Range(zero_, size, one_)
row = Unsqueeze(places, zero)
column = Unsqueeze(places, one)
distance = Sub(row, column)
far = Abs(distance)
near = LessOrEqual(far, window)
mask = And(padding, near)
"""
)
HEADS = """
xq = MatMul(x, wq)
q = Add(xq, bq)
xk = MatMul(x, wk)
k = Add(xk, bk)
xv = MatMul(x, wv)
v = Add(xv, bv)
q4 = Reshape(q, split)
k4 = Reshape(k, split)
v4 = Reshape(v, split)
qt = Transpose<perm=[0, 2, 1, 3]>(q4)
kt = Transpose<perm=[0, 2, 1, 3]>(k4)
vt = Transpose<perm=[0, 2, 1, 3]>(v4)
at = Attention(qt, kt, vt, mask)
a4 = Transpose<perm=[0, 2, 1, 3]>(at)
a = Reshape(a4, merge)
p = MatMul(a, wo)
z = Add(p, bo)
"""
MERGED = """
xq = MatMul(x, wq)
q = Add(xq, bq)
xk = MatMul(x, wk)
k = Add(xk, bk)
xv = MatMul(x, wv)
v = Add(xv, bv)
a = Attention<q_num_heads=2, kv_num_heads=2>(q, k, v, mask)
p = MatMul(a, wo)
z = Add(p, bo)
"""
HEADS_SHAPES = {
    **dict.fromkeys(("q4", "k4", "v4", "a4"), "float[n, t, 2, 4]"),
    **dict.fromkeys(("qt", "kt", "vt", "at"), "float[n, 2, t, 4]"),
    "a": "float[n, t, 8]",
}
ROWS = unequal_lengths()


def feeds(mask: NDArray[np.int64] = ROWS) -> dict[str, NDArray[np.int64] | NDArray[np.float32]]:
    x = np.random.default_rng(0).normal(size=(*mask.shape, 8)).astype(np.float32)
    return {"input_ids": np.ones_like(mask), "attention_mask": mask, "x": x}


def constants(window: int = 2) -> dict[str, NDArray[np.float32] | NDArray[np.int64]]:
    draw = np.random.default_rng(1).normal
    return {
        **{f"w{name}": draw(size=(8, 8)).astype(np.float32) for name in "qkvo"},
        **{f"b{name}": draw(size=8).astype(np.float32) for name in "qkvo"},
        "split": np.array([0, 0, 2, 4]),
        "merge": np.array([0, 0, 8]),
        "axes_key": np.array([1, 2]),
        "zero": np.array([0]),
        "one": np.array([1]),
        "two": np.array([2]),
        "zero_": np.array(0),
        "one_": np.array(1),
        "window": np.array(window),
        "minimum": np.array(-3.4e38, np.float32),
    }


def attention(body: str, window: int = 2, output: str = OUTPUT) -> ir.Model:
    shapes = HEADS_SHAPES if "q4" in body else {}
    return graph(INPUTS, output, body, constants(window), shapes)


def test_attention_splits_the_heads_itself() -> None:
    model = attention(MASK + HEADS)
    left = require_same(model, attention_without_transposes, feeds(), count=1, compared=ROWS > 0)
    assert (left["Transpose"], left["Reshape"]) == (0, 0)
    (node,) = (node for node in model.graph if node.op_type == "Attention")
    assert node.attributes["q_num_heads"].as_int() == 2
    assert node.attributes["kv_num_heads"].as_int() == 2


@pytest.mark.parametrize(
    ("old", "new", "output"),
    [
        pytest.param("", "", ", float[n, 2, t, 4] at", id="heads are an answer"),
        pytest.param(
            "z = Add(p, bo)",
            "y = ReduceMax<keepdims=0>(at)\nz = Add(p, y)",
            "",
            id="heads are read",
        ),
        pytest.param("", "", ", float[n, t, 8] a", id="the merged heads are an answer"),
        pytest.param(
            "vt = Transpose<perm=[0, 2, 1, 3]>(v4)",
            "vv = Transpose<perm=[0, 2, 1, 3]>(v4)\nvt = Relu(vv)",
            "",
            id="something in between",
        ),
    ],
)
def test_heads_that_others_read_stay(old: str, new: str, output: str) -> None:
    body = MASK + (HEADS.replace(old, new) if old else HEADS)
    model = attention(body, output=OUTPUT + output)
    require_same(model, attention_without_transposes, feeds(), count=0)


def test_without_known_shapes_heads_stay() -> None:
    constants_ = {**constants(), "unknown": np.array([8])}
    body = (MASK + HEADS).replace("Reshape(a4, merge)", "Reshape(a4, shape3)")
    body = "b1 = Shape<start=0, end=2>(x)\nshape3 = Concat<axis=0>(b1, unknown)\n" + body
    model = graph(INPUTS, OUTPUT, body, constants_, {})
    for node in model.graph:
        if node.op_type == "Transpose":
            node.inputs[0].shape = None  # type: ignore[union-attr]
    assert attention_without_transposes(model) == 0


def test_the_mask_is_two_unsqueezed_rows_compared() -> None:
    second = MERGED.replace("x,", "z,")
    for name in ("xq", "q", "xk", "k", "xv", "v", "a", "p", "z"):
        second = second.replace(f"{name} = ", f"{name}_2 = ")
    second = second.replace("(q, k, v, mask)", "(q_2, k_2, v_2, mask)")
    for name in ("xq", "xk", "xv", "a", "p"):
        second = second.replace(f"({name},", f"({name}_2,")
    model = attention(MASK + MERGED + second, output="float[n, t, 8] z_2")
    left = require_same(model, one_mask, feeds(), count=2, compared=ROWS > 0)
    assert (left["Expand"], left["Unsqueeze"], left["GreaterOrEqual"]) == (0, 2, 1)


CAP = "capped = Clip(attention_mask, , one_)\n"
CAPPED = MASK.replace("Cast<to=9>(attention_mask)", "Cast<to=9>(capped)")
PROMPT = np.array([[2, 2, 1, 1, 1], [2, 2, 1, 0, 0]])


@pytest.mark.parametrize("cap", [CAP, "capped = Min(attention_mask, one_)\n"], ids=["Clip", "Min"])
def test_tokens_of_a_prompt_are_seen_as_others_are(cap: str) -> None:
    model = attention(cap + CAPPED + MERGED)
    require_same(model, one_mask, feeds(PROMPT), count=1, compared=PROMPT > 0)


def test_a_least_value_is_no_cap() -> None:
    # For example to keep a divisor from 0.
    body = "least = Clip(attention_mask, one_)\nsums = Cast<to=1>(least)\n"
    body += "many = ReduceSum<keepdims=0>(sums)\n" + MASK + MERGED.replace("z = Add(p, bo)", "")
    model = attention(body + "y = Add(p, bo)\nz = Div(y, many)\n")
    require_same(model, one_mask, feeds(), count=1, compared=ROWS > 0)


def test_a_cap_behind_the_attention_is_not_used_before() -> None:
    body = MASK + MERGED.replace("z = Add(p, bo)", "y = Add(p, bo)\n") + CAP
    body += "many = Cast<to=1>(capped)\nwide = Unsqueeze(many, two)\nz = Mul(y, wide)\n"
    require_same(attention(body), one_mask, feeds(), count=1, compared=ROWS > 0)


def test_a_prompt_that_is_hidden_stays_so() -> None:
    seen = "seen = Equal(attention_mask, one_)"
    body = MASK.replace("seen = Cast<to=9>(attention_mask)", seen)
    capped = CAP + "same = Equal(capped, attention_mask)\n"
    body = capped + body.replace(
        "mask = Expand(keys", "k2 = Unsqueeze(same, axes_key)\nk3 = And(keys, k2)\nmask = Expand(k3"
    )
    model = attention(body + MERGED)
    require_same(model, one_mask, feeds(PROMPT), count=0, compared=PROMPT > 0)


@pytest.mark.parametrize("window", [2, 1_000, 1_024, 2_000, 5_000])
def test_a_window_stays_however_wide(window: int) -> None:
    model = attention(WINDOW + MERGED, window)
    require_same(model, one_mask, feeds(), count=0, compared=ROWS > 0)


def test_two_masks_are_two_rewrites() -> None:
    second = MASK + MERGED.replace("(x,", "(z,")
    second = re.sub(
        r"\b(seen|keys|both|batch|length|shape|mask|x?[qkv]|a|p|y)\b(?!_)", r"\1_2", second
    )
    second = second.replace("z =", "z_2 =")
    model = attention(MASK + MERGED + second, output="float[n, t, 8] z_2")
    left = require_same(model, one_mask, feeds(), count=2, compared=ROWS > 0)
    assert left["GreaterOrEqual"] == 2


def test_a_large_constant_without_a_window_does_not_matter() -> None:
    body = MASK.replace("length = Slice(both, one, two)", "length = Slice(both, one, end)")
    arrays = {**constants(), "end": np.array([2**63 - 1])}
    model = graph(INPUTS, OUTPUT, body + MERGED, arrays)
    require_same(model, one_mask, feeds(), count=1, compared=ROWS > 0)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(
            "mask = Expand(keys, shape)",
            "mask2 = Expand(keys, shape)\n"
            "mask3 = Trilu<upper=0>(tri)\nmask4 = Cast<to=9>(mask3)\nmask = And(mask2, mask4)",
            id="causal",
        ),
        pytest.param(
            "mask = Expand(keys, shape)",
            "mask2 = Expand(keys, shape)\nmask = Where(mask2, nothing, minimum)",
            id="added",
        ),
    ],
)
def test_only_masks_of_padding_are_replaced(old: str, new: str) -> None:
    tri = "tri = Expand(one, shape)\n" if "Trilu" in new else ""
    body = MASK.replace(old, tri + new)
    model = graph(INPUTS, OUTPUT, body + MERGED, {**constants(), "nothing": np.array(0, "f")})
    require_same(model, one_mask, feeds(), count=0, compared=ROWS > 0)


def test_a_mask_of_what_is_no_token_stays() -> None:
    body = MASK.replace(
        "seen = Cast<to=9>(attention_mask)",
        "m = ReduceMax<keepdims=0>(x, two)\nseen = Cast<to=9>(m)",
    )
    require_same(attention(body + MERGED), one_mask, feeds(), count=0)


def test_a_bias_on_values_goes_behind_the_projection() -> None:
    model = attention(MASK + MERGED)
    assert require_same(model, move_value_bias, feeds(), count=1, compared=ROWS > 0)["Add"] == 3


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(HEADS, id="heads first"),
        pytest.param(MERGED.replace("q_num", "softcap=3.0, q_num"), id="scores are capped"),
        pytest.param(
            MERGED.replace("k = Add(xk, bk)", "k0 = Add(xk, bk)\nk = Tanh(k0)").replace(
                "v = Add(xv, bv)", "v0 = Add(xv, bv)\nv = Tanh(v0)"
            ),
            id="something in between",
        ),
    ],
)
def test_biases_stay_where_they_count(body: str) -> None:
    require_same(attention(MASK + body), move_value_bias, feeds(), count=0, compared=ROWS > 0)


def test_a_bias_on_values_beside_rotary_embeddings_goes() -> None:
    turned = MERGED.replace(
        "k = Add(xk, bk)",
        "k0 = Add(xk, bk)\nk = RotaryEmbedding<num_heads=2>(k0, cosine, sine, places)",
    ).replace(
        "q = Add(xq, bq)",
        "q0 = Add(xq, bq)\nq = RotaryEmbedding<num_heads=2>(q0, cosine, sine, places)",
    )
    angles = np.arange(7)[:, None] / np.array([1.0, 10.0])
    arrays = {
        **constants(),
        "cosine": np.cos(angles).astype(np.float32),
        "sine": np.sin(angles).astype(np.float32),
        "places": np.tile(np.arange(7), (3, 1)),
    }
    model = graph(INPUTS, OUTPUT, MASK + turned, arrays)
    # Queries and keys are rotated, values are not.
    require_same(model, move_value_bias, feeds(), count=1, compared=ROWS > 0)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("z = Add(p, bo)", "z = Identity(p)", id="no bias behind"),
        pytest.param("p = MatMul(a, wo)", "r = Relu(a)\np = MatMul(r, wo)", id="not projected"),
        pytest.param("p = MatMul(a, wo)", "o = MatMul(a, wo)\np = Mul(o, a)", id="read again"),
    ],
)
def test_a_bias_on_values_with_no_place_to_go_stays(old: str, new: str) -> None:
    model = attention(MASK + MERGED.replace(old, new))
    require_same(model, move_value_bias, feeds(), count=0, compared=ROWS > 0)


def test_fewer_heads_of_keys_and_values_than_of_queries() -> None:
    arrays = constants()
    for name in ("wk", "wv"):
        arrays[name] = arrays[name][:, :4]
    for name in ("bk", "bv"):
        arrays[name] = arrays[name][:4]
    body = MASK + MERGED.replace("kv_num_heads=2", "kv_num_heads=1")
    model = graph(INPUTS, OUTPUT, body, arrays)
    require_same(model, move_value_bias, feeds(), count=0, compared=ROWS > 0)


def test_without_a_mask_input_there_is_none_to_simplify() -> None:
    model = attention(MERGED.replace("(q, k, v, mask)", "(q, k, v)"))
    require_same(model, one_mask, feeds(), count=0)
    assert answers(model, feeds())[0].shape == (3, 7, 8)

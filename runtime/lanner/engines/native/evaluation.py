"""ONNX operators in numpy, for the small parts of a graph that compute indices and masks.

A few probe inputs show what such a part computes, however torch wrote it. Only operators that occur
there are listed. Their semantics are those of https://onnx.ai/onnx/operators.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanner.engines.native.angles import cosine, sine
from lanner.engines.onnx.graph import Attribute

Value = NDArray[Any]
_Operator = Callable[[list[Value], Mapping[str, Any]], Any]
#: TensorProto.DataType -> numpy, of the casts that occur.
_TYPES = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 11: np.float64}


#: Indices of a probe have fewer elements: a forged graph could request all memory.
_MOST_ELEMENTS = 2**24


def evaluate(operator: str, inputs: list[Value], attributes: Mapping[str, Attribute]) -> Value:
    """Return the output of an operator.

    Raises:
        KeyError: The operator is not listed here, or a type is not.
        ValueError: The inputs do not fit together, or are too large; an IndexError if an index is
            outside.
    """
    if _elements(operator, inputs) > _MOST_ELEMENTS:
        raise ValueError(operator)
    with np.errstate(all="ignore"):  # a branch that is not taken may divide by zero
        return np.asarray(_OPERATORS[operator](inputs, attributes))


def _elements(operator: str, inputs: list[Value]) -> int:
    """Return a bound of the elements that an operator would make or copy."""
    sizes = [item.size for item in inputs]
    if operator == "Range":
        return abs(int(inputs[1]) - int(inputs[0]))
    if operator == "ConstantOfShape":
        return math.prod(map(int, inputs[0]))
    if operator in ("Gather", "GatherND"):
        return inputs[1].size * max(inputs[0].shape, default=1)
    if operator in _BROADCAST:
        return math.prod(np.broadcast_shapes(*(item.shape for item in inputs)))
    return max(sizes, default=0)


def _unsqueeze(inputs: list[Value], _: Mapping[str, Any]) -> Any:
    return np.expand_dims(inputs[0], tuple(inputs[1].tolist()))


def _squeeze(inputs: list[Value], _: Mapping[str, Any]) -> Any:
    axes = tuple(inputs[1].tolist()) if len(inputs) > 1 else None
    return np.squeeze(inputs[0], axes)


def _slice(inputs: list[Value], _: Mapping[str, Any]) -> Any:
    data, starts, ends, *rest = inputs
    axes = rest[0].tolist() if rest else range(len(starts))
    steps = rest[1].tolist() if len(rest) > 1 else [1] * len(starts)
    cut = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts.tolist(), ends.tolist(), steps, strict=True):
        cut[axis] = slice(start, end, step)
    return data[tuple(cut)]


def _expand(inputs: list[Value], _: Mapping[str, Any]) -> Any:
    shape = np.broadcast_shapes(inputs[0].shape, tuple(inputs[1].tolist()))
    return np.broadcast_to(inputs[0], shape)


def _gather_nd(inputs: list[Value], attributes: Mapping[str, Any]) -> Any:
    if attributes.get("batch_dims", 0):
        raise KeyError(attributes)
    return inputs[0][tuple(np.moveaxis(inputs[1], -1, 0))]


def _gather_elements(inputs: list[Value], attributes: Mapping[str, Any]) -> Any:
    data, indices = inputs
    axis = attributes.get("axis", 0)
    # ONNX reads the leading part of the other axes.
    cut = [slice(size) for size in indices.shape]
    cut[axis] = slice(None)
    return np.take_along_axis(data[tuple(cut)], indices, axis)


def _cumulative(inputs: list[Value], attributes: Mapping[str, Any]) -> Any:
    if attributes.get("exclusive", 0) or attributes.get("reverse", 0):
        raise KeyError(attributes)
    return np.cumsum(inputs[0], int(inputs[1]), dtype=inputs[0].dtype)


def _clip(inputs: list[Value], _: Mapping[str, Any]) -> Any:
    low, high = (*(item if item.size else None for item in inputs[1:]), None, None)[:2]
    return inputs[0] if low is None and high is None else np.clip(inputs[0], low, high)


def _reshape(inputs: list[Value], _: Mapping[str, Any]) -> Any:
    sizes = [inputs[0].shape[i] if n == 0 else n for i, n in enumerate(inputs[1].tolist())]
    return inputs[0].reshape(sizes)


def _rotated(inputs: list[Value], attributes: Mapping[str, Any]) -> Any:
    x, cosines, sines, *rest = inputs
    if rest or x.ndim != 4 or attributes.get("rotary_embedding_dim", 0):
        raise KeyError(attributes)
    cosines, sines, half = cosines[:, None], sines[:, None], x.shape[-1] // 2
    if attributes.get("interleaved", 0):
        left, right = x[..., ::2], x[..., 1::2]
    else:
        left, right = x[..., :half], x[..., half:]
    found = left * cosines - right * sines, left * sines + right * cosines
    if attributes.get("interleaved", 0):
        return np.stack(found, axis=-1).reshape(x.shape)
    return np.concatenate(found, axis=-1)


def _summed(inputs: list[Value], attributes: Mapping[str, Any]) -> Any:
    axes = tuple(inputs[1].tolist()) if len(inputs) > 1 else None
    return inputs[0].sum(axes, keepdims=bool(attributes.get("keepdims", 1)))


def _arg_max(inputs: list[Value], attributes: Mapping[str, Any]) -> Any:
    if attributes.get("select_last_index", 0):
        raise KeyError
    axis, keepdims = attributes.get("axis", 0), bool(attributes.get("keepdims", 1))
    return np.argmax(inputs[0], axis, keepdims=keepdims)


def _filled(inputs: list[Value], attributes: Mapping[str, Any]) -> Any:
    value = attributes.get("value", np.zeros(1, np.float32))
    return np.full(tuple(inputs[0].tolist()), value.ravel()[0], value.dtype)


def _outer(inputs: list[Value], _: Mapping[str, Any]) -> Any:
    """Return products alone, without sums, whose order would be that of a library."""
    left, right = inputs
    if left.ndim < 2 or right.ndim < 2 or left.shape[-1] != 1:
        raise KeyError
    return left * right


def split(inputs: list[Value], attributes: Mapping[str, Attribute], count: int) -> list[Value]:
    """Return the outputs of a Split.

    Raises:
        ValueError: The sizes do not add up.
    """
    axis = attributes.get("axis", 0)
    if len(inputs) > 1 and inputs[1].size:
        places = np.cumsum(inputs[1])[:-1]
        if len(inputs[1]) != count or inputs[1].sum() != inputs[0].shape[axis]:  # type: ignore[index]
            raise ValueError(inputs[1])
        return np.split(inputs[0], places, axis)  # type: ignore[arg-type]
    return np.split(inputs[0], count, axis)  # type: ignore[arg-type]


def _divided(inputs: list[Value], _: Mapping[str, Any]) -> Any:
    left, right = inputs
    if np.issubdtype(left.dtype, np.integer):  # towards zero
        return (np.sign(left) * np.sign(right) * (np.abs(left) // np.abs(right))).astype(left.dtype)
    return left / right


_OPERATORS: dict[str, _Operator] = {
    "Abs": lambda i, _: np.abs(i[0]),
    "Add": lambda i, _: i[0] + i[1],
    "And": lambda i, _: i[0] & i[1],
    "ArgMax": _arg_max,
    "Cast": lambda i, a: i[0].astype(_TYPES[a["to"]]),
    "Clip": _clip,
    "Concat": lambda i, a: np.concatenate(i, a["axis"]),
    "Constant": lambda _, a: a["value"],
    "ConstantOfShape": _filled,
    "Cos": lambda i, _: cosine(i[0]),
    "CumSum": _cumulative,
    "Div": _divided,
    "Equal": lambda i, _: i[0] == i[1],
    "Expand": _expand,
    "Floor": lambda i, _: np.floor(i[0]),
    "Gather": lambda i, a: np.take(i[0], i[1], a.get("axis", 0)),
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "Greater": lambda i, _: i[0] > i[1],
    "GreaterOrEqual": lambda i, _: i[0] >= i[1],
    "Identity": lambda i, _: i[0],
    "Less": lambda i, _: i[0] < i[1],
    "LessOrEqual": lambda i, _: i[0] <= i[1],
    "Log": lambda i, _: np.log(i[0]),
    "Max": lambda i, _: np.maximum.reduce(np.broadcast_arrays(*i)),
    "Min": lambda i, _: np.minimum.reduce(np.broadcast_arrays(*i)),
    "Mul": lambda i, _: i[0] * i[1],
    "MatMul": _outer,
    "Neg": lambda i, _: -i[0],
    "Not": lambda i, _: ~i[0],
    "Or": lambda i, _: i[0] | i[1],
    "Pow": lambda i, _: np.power(i[0], i[1]).astype(i[0].dtype),
    "RotaryEmbedding": _rotated,
    "Range": lambda i, _: np.arange(int(i[0]), int(i[1]), int(i[2])).astype(i[0].dtype),
    "ReduceSum": _summed,
    "Reshape": _reshape,
    "Shape": lambda i, a: np.array(i[0].shape[a.get("start", 0) : a.get("end")], np.int64),
    "Sin": lambda i, _: sine(i[0]),
    "Sigmoid": lambda i, _: 1 / (1 + np.exp(-i[0])),
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Sub": lambda i, _: i[0] - i[1],
    "Tanh": lambda i, _: np.tanh(i[0]),
    "Transpose": lambda i, a: np.transpose(i[0], a.get("perm")),
    "Unsqueeze": _unsqueeze,
    "Where": lambda i, _: np.where(i[0], i[1], i[2]),
}
#: Operators whose inputs are broadcast to one shape.
_BROADCAST = {"Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"}
_BROADCAST |= {"MatMul", "Max", "Min", "Mul", "Or", "Pow", "Sub", "Where"}

"""A plan of the native engine, run in numpy text by text: the reference for plans and kernels."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lanner.engines.native.attention import buckets
from lanner.engines.native.plan import Activation, NormKind, Plan, Pooling

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


class PlanInNumpy:
    """The runner of a plan with the artifact's own scales, or with a scale for each token.

    Args:
        plan: The plan.
        is_per_token: True to measure the scale and the zero point of each token.
        is_bf16: True to round what products in float32 multiply to bfloat16, but not in the head.
    """

    def __init__(self, plan: Plan, *, is_per_token: bool = False, is_bf16: bool = False) -> None:
        self.plan, self.is_per_token, self.is_bf16 = plan, is_per_token, is_bf16
        self.unread = set(plan.tensors)

    def __call__(self, ids: Sequence[Ids], types: Sequence[Ids] | None = None) -> list[Floats]:
        """Return the answer to each text: a row, or a row for each token."""
        if types is None or not self.plan.takes_types:
            types = [np.zeros_like(row) for row in ids]
        return [self._text(*pair) for pair in zip(ids, types, strict=True)]

    def _text(self, ids: Ids, types: Ids) -> Floats:
        plan = self.plan
        x = self._rows("embeddings.word", ids)
        if "embeddings.type.weight" in plan.tensors:
            x = x + self._rows("embeddings.type", types)
        if plan.position_offset is not None:
            counted = ids != plan.padding_id
            rows = np.where(counted, np.cumsum(counted), 0) + plan.position_offset - 1
            x = x + self._rows("embeddings.position", rows)
        if "embeddings.norm.weight" in plan.tensors:
            x = self._norm("embeddings.norm", x)
        if "embeddings.projection.weight" in plan.tensors:
            x = self._product("embeddings.projection", x)
        for layer in range(plan.layers):
            x = self._layer(layer, layer * plan.layer_groups // plan.layers, x)
        if plan.is_pre_norm:
            x = self._norm("final.norm", x)
        for number, kind in enumerate(plan.dense_activations):
            if number == plan.dense_before_pooling:
                x = pooled(plan.pooling, x)
            x = activate(kind, self._product(f"dense.{number}", x))
            if f"dense.{number}.norm.weight" in plan.tensors:
                x = self._norm(f"dense.{number}.norm", x)
        if len(plan.dense_activations) == plan.dense_before_pooling:
            x = pooled(plan.pooling, x)
        if plan.is_normalized:
            x = x / np.linalg.norm(x, axis=1, keepdims=True)
        x = x[:, : plan.dimension]
        return x if plan.pooling == Pooling.NONE else x[0]

    def _layer(self, number: int, group: int, x: Floats) -> Floats:
        name, limits, is_pre = f"layer.{group}", f"layer.{number}", self.plan.is_pre_norm
        given = x
        if is_pre and f"{name}.attention.norm.weight" in self.plan.tensors:
            given = self._norm(f"{name}.attention.norm", x)
        queries, keys, values = (
            self._product(f"{name}.attention.{part}", given, f"{limits}.attention.input")
            for part in ("query", "key", "value")
        )
        attended = self._attend(number, queries, keys, values)
        output = self._product(
            f"{name}.attention.output", attended, f"{limits}.attention.output.input"
        )
        x = output + x if is_pre else self._norm(f"{name}.attention.norm", output + x)
        given = self._norm(f"{name}.norm", x) if is_pre else x
        wide = self._product(f"{name}.intermediate", given, f"{limits}.intermediate.input")
        wide = activate(self.plan.activation, wide)
        if self.plan.is_gated:
            wide = wide * self._product(f"{name}.up", given, f"{limits}.intermediate.input")
        output = self._product(f"{name}.output", wide, f"{limits}.output.input")
        return output + x if is_pre else self._norm(f"{name}.norm", output + x)

    def _attend(self, layer: int, queries: Floats, keys: Floats, values: Floats) -> Floats:
        plan, length = self.plan, len(queries)
        q, k, v = (
            part.reshape(length, -1, plan.head_size).transpose(1, 0, 2)
            for part in (queries, keys, values)
        )
        if plan.rotary_tables:
            table = int(self._number("attention.rotary", layer))
            q, k = self._turned(table, q), self._turned(table, k)
        shared = plan.heads // plan.key_value_heads
        k, v = np.repeat(k, shared, axis=0), np.repeat(v, shared, axis=0)
        scores = q @ k.transpose(0, 2, 1) * np.float32(plan.attention_scale)
        if plan.relative_buckets:
            scores = scores + self._relative(length)
        if window := self._number("attention.windows", layer):
            distance = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
            scores = np.where(distance <= window, scores, -np.inf)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights = scores / scores.sum(axis=-1, keepdims=True)
        attended: Floats = (weights @ v).transpose(1, 0, 2).reshape(length, -1)
        return attended

    def _number(self, name: str, layer: int) -> float:
        return float(self._tensor(name)[layer]) if name in self.plan.tensors else 0

    def _turned(self, table: int, x: Floats) -> Floats:
        """Turn heads [heads, length, size]."""
        cosine, sine = (
            self._tensor(f"rotary.{table}.{part}")[: x.shape[1]] for part in ("cosine", "sine")
        )
        pairs, turned = self.plan.rotary_pairs, x.copy()
        places = np.arange(2 * pairs).reshape(2, pairs)
        if self.plan.is_rotary_of_neighbours:
            places = np.arange(2 * pairs).reshape(pairs, 2).T
        left, right = x[..., places[0]], x[..., places[1]]
        turned[..., places[0]] = left * cosine - right * sine
        turned[..., places[1]] = left * sine + right * cosine
        return turned

    def _relative(self, length: int) -> Floats:
        distance = np.subtract.outer(np.arange(length), np.arange(length))
        bucket = buckets(distance, self.plan.relative_buckets, self.plan.relative_max_distance)
        bias: Floats = self._tensor("attention.relative_bias")[bucket].transpose(2, 0, 1)
        return bias

    def _tensor(self, name: str) -> Floats:
        self.unread.discard(name)
        found: Floats = self.plan.tensors[name].astype(np.float32)
        return found

    def _rows(self, name: str, rows: Ids) -> Floats:
        found = self._tensor(f"{name}.weight")[rows]
        if f"{name}.scales" in self.plan.tensors:
            found = found * self._tensor(f"{name}.scales")[rows, None]
        return found

    def _norm(self, name: str, x: Floats) -> Floats:
        centred = x
        if self.plan.norm == NormKind.LAYER:
            centred = x - x.mean(axis=-1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self.plan.norm_epsilon)
        normed: Floats = centred / deviation * self._tensor(f"{name}.weight")
        biases = f"{name}.bias"
        return normed + self._tensor(biases) if biases in self.plan.tensors else normed

    def _product(self, name: str, x: Floats, limits: str = "") -> Floats:
        tensors, limits = self.plan.tensors, limits or f"{name}.input"
        weight = self._tensor(f"{name}.weight")
        if f"{name}.scales" not in tensors:
            if self.is_bf16 and not name.startswith("dense."):
                x, weight = in_bf16(x), in_bf16(weight)
            found = x @ weight
        else:
            scale, zero = self._tensor(limits)
            if self.is_per_token:
                scale, zero = token_scales(x)
            bytes_ = np.clip(np.rint(x / scale) + zero, 0, 255) - zero
            # Products of bytes are whole numbers below 2**53, so float64 is exact.
            found = (bytes_.astype(np.float64) @ weight.astype(np.float64)).astype(np.float32)
            found = found * (scale * self._tensor(f"{name}.scales"))
        return found + self._tensor(f"{name}.bias") if f"{name}.bias" in tensors else found


def pooled(pooling: Pooling, x: Floats) -> Floats:
    """Return the row of a text, or the rows of its tokens."""
    if pooling == Pooling.CLS:
        return x[:1]
    if pooling == Pooling.NONE:
        return x
    return np.asarray((x.mean if pooling == Pooling.MEAN else x.max)(axis=0, keepdims=True))


def in_bf16(x: Floats) -> Floats:
    """Return values rounded to bfloat16."""
    import ml_dtypes  # noqa: PLC0415 (of the export extra)

    return x.astype(ml_dtypes.bfloat16).astype(np.float32)


def token_scales(x: Floats) -> tuple[Floats, Floats]:
    """Return the scale and the zero point of unsigned bytes for each row, [rows, 1]."""
    low = np.minimum(x.min(axis=-1, keepdims=True), 0)
    high = np.maximum(x.max(axis=-1, keepdims=True), 0)
    scale = np.maximum((high - low) / np.float32(255), np.float32(1e-30))
    return scale, np.rint(-low / scale)


def activate(kind: Activation, x: Floats) -> Floats:
    """Compute an activation by its definition."""
    from scipy.special import erf, expit  # noqa: PLC0415 (of the export extra)

    if kind == Activation.GELU_ERF:
        found = 0.5 * x * (1 + erf(x / np.sqrt(2)))
    elif kind == Activation.GELU_TANH:
        found = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    elif kind == Activation.RELU:
        found = np.maximum(x, 0)
    elif kind == Activation.SILU:
        found = x * expit(x)
    else:
        found = np.tanh(x) if kind == Activation.TANH else x
    return np.asarray(found, np.float32)

"""The part of a graph after the encoder: pooling, Dense layers, the L2 norm, and a cut."""

from dataclasses import dataclass, field

from lanner.engines.native.embeddings import MASK, probes
from lanner.engines.native.matcher import Matcher, named
from lanner.engines.native.plan import Activation, Pooling, refuse
from lanner.engines.native.products import (
    NORMS,
    Norm,
    Product,
    activation,
    is_product,
    norm,
    product,
)

_ACTIVATIONS = ("Gelu", "Relu", "Tanh")

Dense = tuple[Product, Activation, Norm | None]


@dataclass
class Head:
    """The part of a graph after the encoder.

    Attributes:
        pooling: From tokens to a text.
        dense: The products, the activations and the norms after them, in order.
        before_pooling: The number of them that are applied to tokens, before pooling.
        is_normalized: True if answers are divided by their L2 norm.
        kept: The number of leading values to keep; None for all.
        source: The name of the value that the encoder computes.
    """

    pooling: Pooling = Pooling.NONE
    dense: list[Dense] = field(default_factory=list)
    before_pooling: int = 0
    is_normalized: bool = False
    kept: int | None = None
    source: str = ""


def head(graph: Matcher, value: str) -> Head:
    """Take what computes the answer from the last layer.

    Raises:
        EngineError: It is another computation.
    """
    found = Head()
    if graph.operator(value) == "Slice":
        value, found.kept = _cut(graph, value)
    if graph.operator(value) == "Div" and _is_norm(graph, value):
        value, found.is_normalized = _normalized(graph, value), True
    found.dense, value = _dense(graph, value)
    found.pooling, value = _pooling(graph, value)
    before = list[Dense]()
    if found.pooling != Pooling.NONE:
        before, value = _dense(graph, value)
    found.dense, found.before_pooling = before + found.dense, len(before)
    found.source = value
    return found


def _dense(graph: Matcher, value: str) -> tuple[list[Dense], str]:
    """Take the Dense layers that end in a value, perhaps none; return them and their input."""
    found = list[Dense]()
    while _ends_dense(graph, value):
        kind, behind = Activation.NONE, None
        if graph.operator(value) in NORMS:
            behind, value = norm(graph, value)
        if graph.operator(value) in _ACTIVATIONS:
            kind, value = activation(graph, value)
        item, value = product(graph, value)
        found.insert(0, (item, kind, behind))
    return found, value


def _ends_dense(graph: Matcher, value: str) -> bool:
    """True for a product, or the activation or the norm of one."""
    if graph.operator(value) in NORMS:
        value = graph.look(value).inputs[0]
        return graph.operator(value) in _ACTIVATIONS
    return graph.operator(value) in _ACTIVATIONS or is_product(graph, value)


def _cut(graph: Matcher, value: str) -> tuple[str, int]:
    """Take a cut to the first values of each answer."""
    node = graph.take(value, "Slice")
    source, *bounds = node.inputs
    starts, ends, axes, *steps = (graph.constant(item).tolist() for item in bounds)
    if starts != [0] or axes not in ([1], [-1]) or steps not in ([], [[1]]):
        refuse(f"{named(node)} of other values than the first")
    return source, int(ends[0])


def _is_norm(graph: Matcher, value: str) -> bool:
    divisor = graph.look(value).inputs[1]
    if graph.operator(divisor) == "Expand":
        divisor = graph.look(divisor).inputs[0]
    return graph.operator(divisor) == "Clip" and (
        graph.operator(graph.look(divisor).inputs[0]) == "ReduceL2"
    )


def _normalized(graph: Matcher, value: str) -> str:
    """Take the division by the L2 norm; return the name of the divided value."""
    source, divisor = graph.take(value, "Div").inputs
    if graph.operator(divisor) == "Expand":
        divisor, shape = graph.take(divisor, "Expand").inputs
        graph.evaluate(shape, probes())
    clip = graph.take(divisor, "Clip")
    low = graph.scalar(clip.inputs[1])
    length = graph.take(clip.inputs[0], "ReduceL2")
    axes = graph.constant(length.inputs[1]).tolist()
    is_last = axes in ([-1], [1]) and length.attributes.get("keepdims", 1) == 1
    if length.inputs[0] != source or not is_last or len(clip.inputs) > 2 or low > 1e-6:
        refuse(f"{named(length)} as a norm of each answer")
    return source


def _pooling(graph: Matcher, value: str) -> tuple[Pooling, str]:
    """Take the pooling; return it and the name of the tokens."""
    operator = graph.operator(value)
    if operator == "Gather":
        node = graph.take(value, "Gather")
        if graph.scalar(node.inputs[1]) != 0 or node.attributes.get("axis", 0) != 1:
            refuse(f"{named(node)} of another token than the first")
        return Pooling.CLS, node.inputs[0]
    if operator == "Squeeze":
        return Pooling.CLS, _first_of_mask(graph, value)
    if operator == "Div":
        return Pooling.MEAN, _mean(graph, value)
    if operator in NORMS:
        return Pooling.NONE, value
    return refuse(f"{named(graph.look(value))} as a pooling")


def _first_of_mask(graph: Matcher, value: str) -> str:
    """Take a gather of the first token that the mask shows; return the name of the tokens.

    Padding comes behind a text, so that token must be the first of all.
    """
    squeeze = graph.take(value, "Squeeze")
    gather = graph.take(squeeze.inputs[0], "GatherElements")
    tokens, index = gather.inputs
    last = graph.look(tokens)
    inputs = probes()
    # A prompt that is not pooled has 2 in the mask: a graph that skips it takes another token.
    inputs[MASK][0, 0] = 2
    found = graph.evaluate(index, inputs)
    is_whole = last.operator in NORMS and found.shape == (
        len(inputs[MASK]),
        1,
        graph.constant(last.inputs[1]).size,
    )
    is_by_token = gather.attributes.get("axis", 0) == 1
    if graph.constant(squeeze.inputs[1]).tolist() != [1] or not is_whole or not is_by_token:
        refuse(f"{named(squeeze)} as a pooling")
    if found.any():
        refuse(f"{named(gather)} of another token than the first")
    return tokens


def _mean(graph: Matcher, value: str) -> str:
    """Take a mean over the tokens that are not padding; return the name of the tokens."""
    total, count = graph.take(value, "Div").inputs
    summed = graph.take(total, "ReduceSum")
    weighted = graph.take(summed.inputs[0], "Mul")
    tokens, weights = weighted.inputs
    axes = graph.constant(summed.inputs[1]).tolist()
    if axes != [1] or summed.attributes.get("keepdims", 1):
        refuse(f"{named(summed)} as the sum over tokens")
    inputs = probes()
    # A prompt that is not pooled has 2 in the mask; the graph must not read it as 1.
    inputs[MASK][0, 0] = 2
    found = graph.evaluate(weights, inputs)
    if found.shape[:2] != inputs[MASK].shape or (found != inputs[MASK][..., None]).any():
        refuse(f"the weights {weights!r} of a mean")
    counted = graph.evaluate(count, {**inputs, weights: found})
    total_tokens = inputs[MASK].sum(axis=1, keepdims=True)
    if (
        len(counted) != len(total_tokens)
        or (counted.reshape(len(counted), -1) != total_tokens).any()
    ):
        refuse(f"the divisor {count!r} of a mean")
    return tokens

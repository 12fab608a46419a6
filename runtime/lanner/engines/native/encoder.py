"""The layers of an encoder in a graph, from the last to the first."""

from dataclasses import dataclass, field

import numpy as np

from lanner.engines.native.attention import Attention, Known, RelativeBias, attention, relative_bias
from lanner.engines.native.heads import part_of, unmoved
from lanner.engines.native.matcher import Matcher, named
from lanner.engines.native.plan import Activation, Tensor, refuse
from lanner.engines.native.products import (
    NORMS,
    Norm,
    Product,
    activation,
    is_product,
    norm,
    pointwise_sources,
    product,
    source_of,
)

#: The products of a layer, by their names in the plan.
_PRODUCTS = ("attention.query", "attention.key", "attention.value", "attention.output")


@dataclass
class Layer:
    """A layer: attention, and two products with an activation between them, each with a norm.

    Attributes:
        products: The products by their names in the plan.
        norms: The norms by their names in the plan.
        attention: Heads, scale, positions and window.
        activation: Between the two products behind the attention.
    """

    products: dict[str, Product]
    norms: dict[str, Norm]
    attention: Attention
    activation: Activation

    def shared_with(self, other: "Layer") -> bool:
        """True if all weights are those of another layer, as in ALBERT."""
        mine, theirs = self.weights(0), other.weights(0)
        return mine.keys() == theirs.keys() and all(
            values is theirs[name] or np.array_equal(values, theirs[name])
            for name, values in mine.items()
        )

    def weights(self, group: int) -> dict[str, Tensor]:
        """Return the weights by their names in the plan."""
        found: dict[str, Tensor] = {}
        for name, item in self.products.items():
            found |= item.named(f"layer.{group}.{name}")
        for name, norms in self.norms.items():
            found |= norms.named(f"layer.{group}.{name}")
        return found

    def limits(self, number: int) -> dict[str, Tensor]:
        """Return the scales of the inputs of products by their names in the plan."""
        inputs = {
            "attention.input": self.products["attention.query"].input,
            "attention.output.input": self.products["attention.output"].input,
            "intermediate.input": self.products["intermediate"].input,
            "output.input": self.products["output"].input,
        }
        return {f"layer.{number}.{name}": v for name, v in inputs.items() if v is not None}


@dataclass
class Encoder:
    """The layers of an encoder.

    Attributes:
        layers: The layers, the first one first.
        source: The name of the value that they start from.
        bias: Their relative bias; None without one.
        final_norm: The norm after the last layer, if norms come before the parts of layers; None
            if they come after them.
    """

    layers: list[Layer] = field(default_factory=list)
    source: str = ""
    bias: RelativeBias | None = None
    final_norm: Norm | None = None


def encoder(graph: Matcher, value: str) -> Encoder:
    """Take the layers that compute a value.

    Raises:
        EngineError: It is another computation.
    """
    found, known = Encoder(), Known()
    if graph.operator(value) in NORMS and _is_after_layers(graph, graph.look(value).inputs[0]):
        found.final_norm, value = norm(graph, value)
    take = _layer if found.final_norm is None else _layer_of_inner_norms
    while _ends_layer(graph, value, is_normed=found.final_norm is None):
        layer, value = take(graph, value, known)
        found.layers.insert(0, layer)
    if not found.layers:
        refuse(f"a layer that ends in {named(graph.look(value))}")
    found.source = value
    biases = {layer.attention.bias for layer in found.layers}
    if len(biases) > 1:
        refuse(f"{len(found.layers)} layers with several relative biases")
    if (bias := biases.pop()) is not None:
        found.bias = relative_bias(graph, bias, found.layers[0].attention.heads)
    return found


def _ends_layer(graph: Matcher, value: str, *, is_normed: bool) -> bool:
    """Return True for the sum of a product and a residual, or for a norm over one."""
    if is_normed:
        if graph.operator(value) not in NORMS:
            return False
        value = graph.look(value).inputs[0]
    if graph.operator(value) != "Add" or is_product(graph, value):
        return False
    return any(is_product(graph, item) for item in graph.look(value).inputs)


def _is_after_layers(graph: Matcher, total: str) -> bool:
    """Return True if the product of a sum reads a norm of the other summand."""
    if not _ends_layer(graph, total, is_normed=False):
        return False
    added, residual = _in_order(graph, *graph.look(total).inputs)
    for source in pointwise_sources(graph, source_of(graph, added)):
        widened = source_of(graph, unmoved(graph, source))
        if graph.operator(widened) not in NORMS or graph.look(widened).inputs[0] != residual:
            return False
    return True


def _layer(graph: Matcher, value: str, known: Known) -> tuple[Layer, str]:
    """Take a layer whose norms come after its parts, as in BERT."""
    last_norm, total = norm(graph, value)
    output, activated, between = _product_and_residual(graph, total)
    kind, products, source = _widened(graph, activated)
    _require_same(graph, source, between)
    first_norm, total = norm(graph, between)
    projection, attended, start = _product_and_residual(graph, total)
    heads = attention(graph, attended, known)
    of_heads, source = _products_of_heads(graph, heads)
    _require_same(graph, source, start)
    products |= of_heads | {"attention.output": projection, "output": output}
    norms = {"attention.norm": first_norm, "norm": last_norm}
    return Layer(products, norms, heads, kind), start


def _layer_of_inner_norms(graph: Matcher, value: str, known: Known) -> tuple[Layer, str]:
    """Take a layer whose norms come before its parts."""
    output, activated, between = _product_and_residual(graph, value)
    kind, products, source = _widened(graph, activated)
    last_norm, source = norm(graph, source)
    _require_same(graph, source, between)
    norms = {"norm": last_norm}
    projection, attended, start = _product_and_residual(graph, between)
    heads = attention(graph, attended, known)
    of_heads, source = _products_of_heads(graph, heads)
    # ModernBERT's first layer has no norm here: that of the embeddings precedes it.
    if source != start:
        norms["attention.norm"], source = norm(graph, source)
    _require_same(graph, source, start)
    products |= of_heads | {"attention.output": projection, "output": output}
    return Layer(products, norms, heads, kind), start


def _widened(graph: Matcher, value: str) -> tuple[Activation, dict[str, Product], str]:
    """Take the activation of a product, or the product of one with another, as in gated layers.

    Returns:
        The activation, the products by their names in the plan, and the name of their input.
    """
    sources = pointwise_sources(graph, value)
    others = dict[str, Product]()
    up_source = ""
    if len(sources) > 1 and graph.operator(value) == "Mul":
        left, right = graph.take(value, "Mul").inputs
        value, up = (right, left) if left in sources else (left, right)
        others["up"], up_source = part_of(graph, up)
    kind, widened = activation(graph, value)
    intermediate, source = part_of(graph, widened)
    if others:
        _require_same(graph, up_source, source)
        _require_one_input([intermediate, others["up"]])
    return kind, {"intermediate": intermediate, **others}, source


def _products_of_heads(graph: Matcher, heads: Attention) -> tuple[dict[str, Product], str]:
    """Take the products of queries, keys and values; return them and the name of their input."""
    products, sources = dict[str, Product](), set[str]()
    for name, part in zip(_PRODUCTS, heads[:3], strict=False):
        whole, source = product(graph, part.source)
        products[name] = whole.kept(part.columns.ravel())
        sources.add(source)
    if len(sources) > 1:
        refuse(f"queries, keys and values of several inputs ({', '.join(sorted(sources))})")
    _require_one_input(list(products.values()))
    return products, sources.pop()


def _product_and_residual(graph: Matcher, value: str) -> tuple[Product, str, str]:
    """Return the product of a sum, the name of its input, and the name of the other summand."""
    added, residual = _in_order(graph, *graph.take(value, "Add").inputs)
    found, source = product(graph, added)
    return found, source, residual


def _in_order(graph: Matcher, left: str, right: str) -> tuple[str, str]:
    """Return two summands, the product first and the residual last."""
    # The first residual may also be a product, after the norm of the embeddings.
    if not is_product(graph, left) or (
        is_product(graph, right) and graph.operator(source_of(graph, left)) in NORMS
    ):
        return right, left
    return left, right


def _require_same(graph: Matcher, source: str, expected: str) -> None:
    if source != expected:
        refuse(f"{named(graph.look(source))} between a product and its residual")


def _require_one_input(products: list[Product]) -> None:
    """Check that products of one input read the same bytes."""
    limits = {None if item.input is None else tuple(item.input.tolist()) for item in products}
    if len(limits) != 1:
        refuse("products of one value that are quantized differently")

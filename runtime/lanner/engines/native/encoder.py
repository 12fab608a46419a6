"""The layers of a post-norm encoder in a graph, from the last to the first."""

from dataclasses import dataclass, field

import numpy as np

from lanner.engines.native.attention import Attention, RelativeBias, attention, relative_bias
from lanner.engines.native.matcher import Matcher, named
from lanner.engines.native.plan import Activation, Tensor, refuse
from lanner.engines.native.products import (
    Norm,
    Product,
    activation,
    is_product,
    norm,
    product,
    source_of,
)

#: The products of a layer, by their names in the plan.
_PRODUCTS = ("attention.query", "attention.key", "attention.value", "attention.output")


@dataclass
class Layer:
    """A layer: attention, norm, two products with an activation between them, norm.

    Attributes:
        products: The products by their names in the plan.
        norms: The norms by their names in the plan.
        attention: Heads and scale.
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
    """The layers, the first one first, the value that they start from, and their relative bias."""

    layers: list[Layer] = field(default_factory=list)
    source: str = ""
    bias: RelativeBias | None = None


def encoder(graph: Matcher, value: str) -> Encoder:
    """Take the layers that compute a value.

    Raises:
        EngineError: It is another computation.
    """
    found, masks = Encoder(), set[str]()
    while _ends_layer(graph, value):
        layer, value = _layer(graph, value, masks)
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


def _ends_layer(graph: Matcher, value: str) -> bool:
    """Return True for a norm over the sum of a product and a residual."""
    if graph.operator(value) != "LayerNormalization":
        return False
    total = graph.look(value).inputs[0]
    if graph.operator(total) != "Add":
        return False
    return any(is_product(graph, item) for item in graph.look(total).inputs)


def _layer(graph: Matcher, value: str, masks: set[str]) -> tuple[Layer, str]:
    last_norm, total = norm(graph, value)
    output, activated, between = _product_and_residual(graph, total)
    kind, widened = activation(graph, activated)
    intermediate, source = product(graph, widened)
    _require_same(graph, source, between)
    first_norm, total = norm(graph, between)
    projection, attended, start = _product_and_residual(graph, total)
    heads = attention(graph, attended, masks)
    products = {}
    for name, item in zip(_PRODUCTS, heads[:3], strict=False):
        products[name], source = product(graph, item)
        _require_same(graph, source, start)
    products |= {"attention.output": projection, "intermediate": intermediate, "output": output}
    _require_one_input([products[name] for name in _PRODUCTS[:3]])
    norms = {"attention.norm": first_norm, "norm": last_norm}
    return Layer(products, norms, heads, kind), start


def _product_and_residual(graph: Matcher, value: str) -> tuple[Product, str, str]:
    """Return the product of a sum, the name of its input, and the name of the other summand."""
    left, right = graph.take(value, "Add").inputs
    # The first residual may also be a product, after the norm of the embeddings.
    if not is_product(graph, left) or (
        is_product(graph, right) and graph.operator(source_of(graph, left)) == "LayerNormalization"
    ):
        left, right = right, left
    found, source = product(graph, left)
    return found, source, right


def _require_same(graph: Matcher, source: str, expected: str) -> None:
    if source != expected:
        refuse(f"{named(graph.look(source))} between a product and its residual")


def _require_one_input(products: list[Product]) -> None:
    """Check that queries, keys and values read the same bytes."""
    limits = {None if item.input is None else tuple(item.input.tolist()) for item in products}
    if len(limits) != 1:
        refuse("queries, keys and values that are quantized differently")

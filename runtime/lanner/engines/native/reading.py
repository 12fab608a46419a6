"""From an ONNX file to a plan."""

import struct
from pathlib import Path

from lanner.engines.native.embeddings import IDS, MASK, TYPES, embeddings
from lanner.engines.native.encoder import Encoder, encoder
from lanner.engines.native.head import Head, head
from lanner.engines.native.matcher import Matcher
from lanner.engines.native.plan import Activation, Plan, Tensor, refuse
from lanner.engines.native.products import is_product, norm, product
from lanner.engines.onnx.file import mapped
from lanner.engines.onnx.graph import Graph
from lanner.errors import EngineError


def read_plan(path: Path) -> Plan:
    """Read the encoder of an ONNX file.

    Its tensors are views of the mapped file, which must not change as long as they are in use.

    Raises:
        EngineError: The file is damaged, or its graph has something that is not known.
    """
    try:
        graph = Graph.read(mapped(path), path.parent)
    except (OSError, ValueError, LookupError, TypeError, struct.error) as error:
        msg = f"the native engine could not read {path}: {error}; export the artifact again"
        raise EngineError(msg) from error
    try:
        return plan_of(graph)
    except EngineError as error:
        msg = f"{path}: {error}"
        raise EngineError(msg) from error
    except (ValueError, LookupError, TypeError, ArithmeticError, MemoryError) as error:
        msg = f"the native engine could not read {path}: {error!r}; export the artifact again"
        raise EngineError(msg) from error


def plan_of(graph: Graph) -> Plan:
    """Recognise the encoder of a graph.

    Raises:
        EngineError: It has something that is not known.
    """
    if not {IDS, MASK} <= set(graph.inputs) <= {IDS, MASK, TYPES} or len(graph.outputs) != 1:
        refuse(f"a graph from {', '.join(graph.inputs)} to {', '.join(graph.outputs)}")
    matcher = Matcher(graph)
    answer = head(matcher, graph.outputs[0])
    layers = encoder(matcher, answer.source)
    tensors: dict[str, Tensor] = {}
    value = layers.source
    if is_product(matcher, value):
        projection, value = product(matcher, value)
        tensors |= projection.named("embeddings.projection")
        if projection.input is not None:
            tensors["embeddings.projection.input"] = projection.input
    first_norm, value = norm(matcher, value)
    tensors |= first_norm.named("embeddings.norm")
    tables = embeddings(matcher, value)
    matcher.require_all_taken()
    epsilons = {first_norm.epsilon}
    epsilons |= {item.epsilon for layer in layers.layers for item in layer.norms.values()}
    if len(epsilons) > 1:
        refuse(f"norms with several epsilons ({', '.join(map(str, sorted(epsilons)))})")
    groups = _grouped(layers)
    tensors |= tables.tensors | _of_layers(layers, groups) | _of_head(answer)
    if layers.bias is not None:
        tensors["attention.relative_bias"] = layers.bias.table
    first = layers.layers[0]
    hidden = first.products["attention.query"].weight.shape[0]
    width = first.products["attention.query"].weight.shape[1]
    last = answer.dense[-1][0].weight.shape[1] if answer.dense else hidden
    return Plan(
        layers=len(layers.layers),
        layer_groups=groups,
        hidden_size=hidden,
        embedding_size=tables.width,
        intermediate_size=first.products["intermediate"].weight.shape[1],
        heads=_one(layers, "heads", [layer.attention.heads for layer in layers.layers]),
        head_size=width // first.attention.heads,
        attention_scale=_scale(layers, width // first.attention.heads),
        norm_epsilon=first_norm.epsilon,
        activation=_activation(layers),
        position_offset=tables.offset,
        padding_id=tables.padding_id,
        relative_buckets=0 if layers.bias is None else len(layers.bias.table),
        relative_max_distance=0 if layers.bias is None else layers.bias.max_distance,
        max_tokens=tables.max_tokens or _MOST_TOKENS,
        pooling=answer.pooling,
        dense_activations=[kind for _, kind in answer.dense],
        is_normalized=answer.is_normalized,
        dimension=last if answer.kept is None else min(answer.kept, last),
        takes_types=tables.takes_types,
        tensors=tensors,
    )


#: Of encoders without a table of positions.
_MOST_TOKENS = 2**20


def _grouped(layers: Encoder) -> int:
    """Return how many layers have weights of their own: all, or one if all share theirs."""
    first, *others = layers.layers
    shared = [layer.shared_with(first) for layer in others]
    if shared and all(shared):
        return 1
    return len(layers.layers)


def _of_layers(layers: Encoder, groups: int) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for number, layer in enumerate(layers.layers):
        if number < groups:
            found |= layer.weights(number)
        found |= layer.limits(number)
    return found


def _of_head(answer: Head) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for number, (item, _) in enumerate(answer.dense):
        found |= item.named(f"dense.{number}")
        if item.input is not None:
            found[f"dense.{number}.input"] = item.input
    return found


def _one(layers: Encoder, what: str, values: list[int]) -> int:
    if len(set(values)) > 1:
        refuse(f"{len(layers.layers)} layers with {what} of several kinds")
    return values[0]


def _activation(layers: Encoder) -> Activation:
    kinds = [int(layer.activation) for layer in layers.layers]
    return Activation(_one(layers, "activations", kinds))


def _scale(layers: Encoder, head_size: int) -> float:
    scales = {layer.attention.scale for layer in layers.layers}
    if len(scales) > 1:
        refuse(f"{len(layers.layers)} layers with several scales of attention")
    scale = scales.pop()
    return head_size**-0.5 if scale is None else scale

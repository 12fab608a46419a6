"""From an ONNX file to a plan."""

import struct
from pathlib import Path

import numpy as np

from lanner.engines.native.embeddings import IDS, MASK, TYPES, embeddings
from lanner.engines.native.encoder import Encoder, encoder
from lanner.engines.native.head import Head, head
from lanner.engines.native.matcher import Matcher
from lanner.engines.native.plan import Activation, NormKind, Plan, Tensor, refuse
from lanner.engines.native.products import NORMS, Norm, is_product, norm, product
from lanner.engines.native.rotary import MOST_TOKENS, Angles, Rotation
from lanner.engines.onnx.file import mapped
from lanner.engines.onnx.graph import Graph
from lanner.errors import EngineError
from lanner.machine.file_state import FileState, file_state

#: The last plan that was looked at and that no engine has taken yet, with its file.
_looked_at: list[tuple[tuple[Path, FileState], Plan]] = []


def look_at_plan(path: Path) -> None:
    """Read the encoder of an ONNX file, and keep it for the engine that opens the file next.

    Raises:
        EngineError: See `read_plan`.
        OSError: The file is not there.
    """
    file = path, file_state(path)
    _looked_at[:] = [(file, read_plan(path))]


def take_plan(path: Path) -> Plan:
    """Return the plan of a file: the one that was just looked at, if the file is the same still.

    Raises:
        EngineError: See `read_plan`.
    """
    kept, _looked_at[:] = list(_looked_at), []
    try:
        file = path, file_state(path)
    except OSError:  # read_plan says why
        return read_plan(path)
    return next((plan for seen, plan in kept if seen == file), None) or read_plan(path)


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
    first_norm = None
    if matcher.operator(value) in NORMS:
        first_norm, value = norm(matcher, value)
        tensors |= first_norm.named("embeddings.norm")
    tables = embeddings(matcher, value)
    matcher.require_all_taken()
    kind, epsilon = _kind_of_norms(layers, answer, first_norm)
    groups = _grouped(layers)
    tensors |= (
        tables.tensors | _of_layers(layers, groups) | _of_head(answer) | _of_attention(layers)
    )
    first = layers.layers[0]
    rotation = first.attention.rotation
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
        key_value_heads=_one(
            layers, "keys", [len(layer.attention.key.columns) for layer in layers.layers]
        ),
        attention_scale=_scale(layers, width // first.attention.heads),
        norm_epsilon=epsilon,
        norm=kind,
        is_pre_norm=layers.final_norm is not None,
        activation=_activation(layers),
        is_gated=bool(_one(layers, "gates", ["up" in layer.products for layer in layers.layers])),
        position_offset=tables.offset,
        padding_id=tables.padding_id,
        relative_buckets=0 if layers.bias is None else len(layers.bias.table),
        relative_max_distance=0 if layers.bias is None else layers.bias.max_distance,
        rotary_tables=len(_angles(layers)),
        rotary_pairs=0 if rotation is None else rotation.pairs,
        is_rotary_of_neighbours=rotation is not None and rotation.of_neighbours,
        max_tokens=_most_tokens(layers, tables.max_tokens),
        pooling=answer.pooling,
        dense_activations=[item[1] for item in answer.dense],
        dense_before_pooling=answer.before_pooling,
        is_normalized=answer.is_normalized,
        dimension=last if answer.kept is None else min(answer.kept, last),
        takes_types=tables.takes_types,
        tensors=tensors,
    )


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
    for number, (item, _, behind) in enumerate(answer.dense):
        found |= item.named(f"dense.{number}")
        if item.input is not None:
            found[f"dense.{number}.input"] = item.input
        if behind is not None:
            found |= behind.named(f"dense.{number}.norm")
    return found


def _of_attention(layers: Encoder) -> dict[str, Tensor]:
    """Return the norm after the layers, and the positions and windows of their attention."""
    found: dict[str, Tensor] = {}
    if layers.final_norm is not None:
        found |= layers.final_norm.named("final.norm")
    if layers.bias is not None:
        found["attention.relative_bias"] = layers.bias.table
    windows = [layer.attention.window for layer in layers.layers]
    if any(windows):
        found["attention.windows"] = np.array(windows, np.float32)
    for number, angles in enumerate(tables := _angles(layers)):
        found[f"rotary.{number}.cosine"], found[f"rotary.{number}.sine"] = angles
    if len(tables) > 1:
        places = [_place(tables, layer.attention.rotation) for layer in layers.layers]
        found["attention.rotary"] = np.array(places, np.float32)
    return found


def _angles(layers: Encoder) -> list[Angles]:
    """Return the tables of angles, each once.

    Raises:
        EngineError: The layers turn other pairs, or some of them none.
    """
    rotations = [layer.attention.rotation for layer in layers.layers]
    kinds = {None if item is None else (item.pairs, item.of_neighbours) for item in rotations}
    if len(kinds) > 1:
        refuse(f"{len(rotations)} layers with rotary positions of several kinds")
    found = list[Angles]()
    for rotation in rotations:
        if rotation is not None and not any(rotation.angles is angles for angles in found):
            found.append(rotation.angles)
    return found


def _place(tables: list[Angles], rotation: Rotation | None) -> int:
    return next(i for i, item in enumerate(tables) if rotation and item is rotation.angles)


def _most_tokens(layers: Encoder, rows: int | None) -> int:
    """Return the longest input that all tables of positions have rows for."""
    return min([rows or MOST_TOKENS, *(len(angles.cosine) for angles in _angles(layers))])


def _kind_of_norms(layers: Encoder, answer: Head, first: Norm | None) -> tuple[NormKind, float]:
    """Return the kind and the epsilon that all norms have."""
    found = [first, layers.final_norm, *(behind for _, _, behind in answer.dense)]
    found += [item for layer in layers.layers for item in layer.norms.values()]
    kinds = {(item.kind, item.epsilon) for item in found if item is not None}
    if len(kinds) > 1:
        refuse(f"norms of several kinds, or with several epsilons ({sorted(kinds)})")
    return kinds.pop()


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

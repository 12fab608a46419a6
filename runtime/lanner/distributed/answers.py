"""The answers of each head as columns of Arrow."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from lanner.artifact.heads import Head
from lanner.artifact.manifest import Manifest
from lanner.errors import InputError
from lanner.vectors.precision import packed_width, require_precision

EMBEDDING = "embedding"
Options = Mapping[str, Any]
_TYPES = {
    "float32": pa.float32(),
    "int8": pa.int8(),
    "uint8": pa.uint8(),
    "binary": pa.int8(),
    "ubinary": pa.uint8(),
}
_ENTITY = pa.struct(
    [
        ("text", pa.string()),
        ("label", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("score", pa.float32()),
    ]
)


@dataclass(frozen=True)
class Answering:
    """The way a head answers a column of texts.

    Attributes:
        options: The arguments of its method that a worker takes.
        fields: Returns the fields of the answer, by the manifest and the options.
        columns: Returns the columns of the answer: of a model, to inputs, with the options.
    """

    options: tuple[str, ...]
    fields: Callable[[Manifest, Options], list[Any]]
    columns: Callable[[Any, list[Any], Options], list[Any]]


def answering(manifest: Manifest, options: Options) -> Answering:
    """Return the way a model answers, after a check of its options.

    Raises:
        InputError: The head has no such option, or an option has no such value.
    """
    found = _OF_HEADS[manifest.head]
    for name in options:
        if name not in found.options:
            msg = (
                f"the head {manifest.head!r} of {manifest.name} has no option {name!r} here: use "
                f"{', '.join(found.options)}"
            )
            raise InputError(msg)
    found.fields(manifest, options)  # which checks their values
    return found


def _vector_fields(manifest: Manifest, options: Options) -> list[Any]:
    precision = require_precision(options.get("precision", "float32"))
    width = options.get("truncate_dim") or manifest.dimension
    if not 1 <= width <= manifest.dimension:
        msg = f"truncate_dim must be from 1 to {manifest.dimension}, not {width}"
        raise InputError(msg)
    if precision in ("binary", "ubinary"):
        width = packed_width(width)
    return [pa.field(EMBEDDING, pa.list_(_TYPES[precision], width))]


def _vectors(model: Any, texts: list[Any], options: Options) -> list[Any]:
    others = {name: value for name, value in options.items() if name != "task"}
    task = options.get("task")
    model.way(task)  # which checks it
    # As by `lanner encode --task`: with the prompt of the task, and by its way.
    encode = {"query": model.encode_query, None: model.encode}.get(task, model.encode_document)
    vectors = np.ascontiguousarray(encode(texts, **others))
    return [pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])]


def _sparse_fields(*_: object) -> list[Any]:
    return [
        pa.field("indices", pa.list_(pa.int32())),
        pa.field("values", pa.list_(pa.float32())),
    ]


def _sparse(model: Any, texts: list[Any], options: Options) -> list[Any]:
    rows = model.sparse_vectors(texts, **options).rows
    starts = _starts([row.indices for row in rows])
    indices = np.concatenate([np.empty(0, np.int32), *(row.indices for row in rows)])
    values = np.concatenate([np.empty(0, np.float32), *(row.values for row in rows)])
    return [pa.ListArray.from_arrays(starts, pa.array(part)) for part in (indices, values)]


def _token_fields(manifest: Manifest, _: Options) -> list[Any]:
    return [pa.field("embeddings", pa.list_(pa.list_(pa.float32(), manifest.dimension)))]


def _tokens(model: Any, texts: list[Any], options: Options) -> list[Any]:
    found = model.token_vectors(texts, **options)
    rows = np.concatenate([np.empty((0, found.width), np.float32), *found.rows])
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), found.width)
    return [pa.ListArray.from_arrays(_starts(found.rows), vectors)]


def _score_fields(*_: object) -> list[Any]:
    return [pa.field("score", pa.float32())]


def _scores(model: Any, pairs: list[Any], options: Options) -> list[Any]:
    return [pa.array(model.score(pairs, **options), pa.float32())]


def _label_fields(*_: object) -> list[Any]:
    return [
        pa.field("label", pa.string()),
        pa.field("score", pa.float32()),
        pa.field("labels", pa.list_(pa.string())),
    ]


def _labels(model: Any, inputs: list[Any], options: Options) -> list[Any]:
    found = model.classify(inputs, top_k=1, **options)
    return [
        pa.array([one.label for one in found], pa.string()),
        pa.array([one.score for one in found], pa.float32()),
        pa.array([one.labels for one in found], pa.list_(pa.string())),
    ]


def _entity_fields(*_: object) -> list[Any]:
    return [pa.field("entities", pa.list_(_ENTITY))]


def _entities(model: Any, texts: list[Any], options: Options) -> list[Any]:
    found = model.tag(texts, **options)
    return [pa.array([[one.to_json() for one in some] for some in found], pa.list_(_ENTITY))]


def _starts(rows: Sequence[Any]) -> Any:
    return pa.array(np.cumsum([0, *map(len, rows)]), pa.int32())


_OF_HEADS: dict[str, Answering] = {
    Head.EMBED: Answering(
        (
            "prompt_name",
            "precision",
            "normalize_embeddings",
            "truncate_dim",
            "on_long",
            "chunk_overlap",
            "task",
        ),
        _vector_fields,
        _vectors,
    ),
    Head.SPARSE: Answering(("prompt_name", "task", "max_active_dims"), _sparse_fields, _sparse),
    Head.TOKENS: Answering(("prompt_name", "task"), _token_fields, _tokens),
    Head.SCORE: Answering(("on_long",), _score_fields, _scores),
    Head.CLASSIFY: Answering(("threshold", "on_long"), _label_fields, _labels),
    Head.TAG: Answering(("aggregation_strategy", "ignore_labels"), _entity_fields, _entities),
}

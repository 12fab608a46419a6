"""A .parquet file of vectors, written in two steps, since a .parquet file cannot be continued.

The body is a stream of Arrow record batches, one per chunk. When it is complete, each becomes a row
group. Until then the values of a .jsonl file are kept as JSON: only all of them together determine
the type of a column.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lanner.errors import MissingExtraError
from lanner.files.rows import Row
from lanner.files.vector_file import EMBEDDING, TEXT, Layout, VectorFile

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    what = "writing .parquet files"
    raise MissingExtraError(what, "parquet", "pyarrow") from error

#: The largest integer such that float64 represents all smaller ones.
_EXACT_IN_FLOAT = 2**53
_JOINED = {frozenset(("int", "long")): "long", frozenset(("int", "float")): "float"}


class ParquetFile(VectorFile):
    """A .parquet file with the kept columns, the text and the vectors; a row group per chunk."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self._types = layout.rows.types
        # For each column of JSON values, the kind that fits all values so far.
        self.state = {name: "null" for name, found in self._types.items() if found == "json"}
        self._body_schema = self._schema(dict.fromkeys(self.state, pa.string()))

    def takes(self, state: Mapping[str, Any]) -> bool:
        """See `VectorFile.takes`."""
        return super().takes(state) and all(kind in list(_TYPE_OF_KIND) for kind in state.values())

    def start(self, body: BinaryIO) -> None:
        """Write the schema of the stream."""
        body.write(self._body_schema.serialize())

    def append(self, body: BinaryIO, rows: Sequence[Row], vectors: NDArray[Any]) -> None:
        """Write the rows of a chunk; see `VectorFile.append`."""
        columns: dict[str, Any] = {}
        for name, found in self._types.items():
            values = [row.values[name] for row in rows]
            if found == "json":
                self.state[name] = kind_of_all([self.state[name], *map(kind_of, values)])
                columns[name] = pa.array([json.dumps(value) for value in values], pa.string())
            elif found == "text":
                columns[name] = pa.array(values, pa.string())
            else:
                columns[name] = pa.concat_arrays(values)
        if self.layout.with_text:
            texts = [row.values[self.layout.rows.columns.texts[0]] for row in rows]
            columns[TEXT] = pa.array(texts, pa.string())
        columns[EMBEDDING] = pa.FixedSizeListArray.from_arrays(
            pa.array(np.ascontiguousarray(vectors).reshape(-1)), vectors.shape[1]
        )
        batch = pa.record_batch(list(columns.values()), schema=self._body_schema)
        body.write(batch.serialize())

    def finish(self, body: Path, count: int) -> Path:
        """Write the .parquet file next to the body."""
        del count
        whole = body.with_name("whole")
        schema = self._schema({name: _TYPE_OF_KIND[kind] for name, kind in self.state.items()})
        # Vectors are all different: a dictionary and bounds would only cost space.
        others = [name for name in schema.names if name != EMBEDDING]
        try:
            with (
                body.open("rb") as source,
                whole.open("wb") as target,
                pq.ParquetWriter(
                    target, schema, use_dictionary=others, write_statistics=others
                ) as writer,
            ):
                for batch in pa.ipc.open_stream(source):
                    writer.write_batch(self._typed(batch, schema))
        except BaseException:
            whole.unlink(missing_ok=True)  # so that a full disk has room again
            raise
        return whole

    def _schema(self, types: Mapping[str, Any]) -> Any:
        fields = [
            (name, pa.string() if found == "text" else types.get(name, found))
            for name, found in self._types.items()
        ]
        if self.layout.with_text:
            fields.append((TEXT, pa.string()))
        vectors = self.layout.vectors
        items = pa.from_numpy_dtype(vectors.dtype)
        fields.append((EMBEDDING, pa.list_(items, vectors.shape[1])))
        origin = {} if self.layout.origin is None else asdict(self.layout.origin)
        return pa.schema(fields, {f"lanner.{name}": value for name, value in origin.items()})

    def _typed(self, batch: Any, schema: Any) -> Any:
        """Return a batch of the body with JSON columns in their final types."""
        columns = []
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            kind = self.state.get(name)
            if kind is None:
                columns.append(column)
                continue
            values = map(json.loads, column.to_pylist())
            if kind == "other":
                values = map(_as_text, values)
            columns.append(pa.array(values, schema.field(name).type))
        return pa.record_batch(columns, schema=schema)


def kind_of(value: Any) -> str:
    """Return the kind of a JSON value; ``"long"`` is an integer that float64 may round."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        if -(2**63) <= value < 2**63:
            return "int" if abs(value) <= _EXACT_IN_FLOAT else "long"
        return "other"
    return {float: "float", str: "string"}.get(type(value), "other")


def kind_of_all(kinds: Iterable[str]) -> str:
    """Return the kind that fits values of all these kinds, in any order.

    The kind never changes a value: mixed numbers, texts and objects, or long integers together with
    fractions, are ``"other"``.
    """
    joined = "null"
    for kind in dict.fromkeys(kinds):
        if joined == "null":
            joined = kind
        elif kind not in ("null", joined):
            joined = _JOINED.get(frozenset((joined, kind)), "other")
    return joined


_TYPE_OF_KIND = {
    "null": pa.string(),
    "bool": pa.bool_(),
    "int": pa.int64(),
    "long": pa.int64(),
    "float": pa.float64(),
    "string": pa.string(),
    "other": pa.string(),
}


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)

"""The worker of every engine of data: record batches of texts to record batches with answers."""

import time
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import pyarrow as pa

from lanner._version import __version__
from lanner.artifact.heads import InputKind
from lanner.distributed.answers import answering
from lanner.distributed.model_source import ModelSource
from lanner.engines import find_engine
from lanner.errors import (
    DeadlineError,
    InputError,
    ModelUnavailableError,
    Overloaded,
    ServerUnavailableError,
)
from lanner.machine.machine import package_versions
from lanner.models.base import TEXTS_AT_ONCE

if TYPE_CHECKING:
    from pyarrow import Schema

#: The most characters that are encoded by one call, which bounds the memory for long texts.
WINDOW_CHARACTERS = 2**24
#: A server that refuses or is away is asked again after 0.5 s, 1 s and so on, at most this often.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
#: A record batch, a table, or an iterator of record batches.
Batches = TypeVar("Batches")
_PASSING = (Overloaded, ServerUnavailableError, ModelUnavailableError, DeadlineError)


class ArrowEncoder:
    """A worker for engines of data: it adds a model's answers to record batches of texts.

    It is picklable, and a process opens its model once, at the first batch. All processes open the
    same one: the artifact's checksum, the variant and the engine are decided here, and another
    artifact at the same place is refused. Batches are gathered to windows, whose texts are sorted
    by length and cut into batches of the model by their tokens; so the size of the given batches
    does not matter. Order and number of the rows stay.

    The answers are the columns `embedding` (head `embed`), `indices` and `values` (`sparse`),
    `embeddings` (`tokens`), `score` (`score`), `label`, `score` and `labels` (`classify`) or
    `entities` (`tag`).

    Args:
        artifact: A directory that every node has; a URL of storage, such as
            ``s3://models/minilm.lanner``, which fsspec reads once a node; or a model on a server,
            such as ``grpc://host:8001/minilm``.
        column: The column of the texts.
        pair_column: The column of the second texts, for the heads `score` and `classify`.
        keep: The columns to pass on; None for all.
        variant: See `lanner.load`.
        engine: See `lanner.load`. ``"auto"`` is decided where the object is made.
        device: See `lanner.load`.
        threads: Cores of a process; None for the cores of its task, which Ray and Spark announce,
            or else for all.
        window_rows: The most rows that are encoded by one call.
        on_bad_row: ``"fail"``, or ``"null"``: a row without a text gets null for an answer.
        patience_s: Seconds to wait for a server that is overloaded or away.
        options: The arguments of the head's method that change its answer, such as
            ``prompt_name``, ``normalize_embeddings`` or ``precision``.

    Raises:
        InputError: An argument has no meaning.
        MissingExtraError: pyarrow is not installed, or fsspec for a URL of storage.
        LannerError: See `lanner.load` and `lanner.connect`.
    """

    def __init__(
        self,
        artifact: str | Path,
        *,
        column: str = "text",
        pair_column: str | None = None,
        keep: Sequence[str] | None = None,
        variant: str = "auto",
        engine: str = "auto",
        device: str = "auto",
        threads: int | None = None,
        window_rows: int = TEXTS_AT_ONCE,
        on_bad_row: str = "fail",
        patience_s: float = 600.0,
        **options: object,
    ) -> None:
        if on_bad_row not in ("fail", "null"):
            msg = f"on_bad_row must be 'fail' or 'null', not {on_bad_row!r}"
            raise InputError(msg)
        if window_rows < 1:
            msg = f"window_rows must be at least 1, not {window_rows}"
            raise InputError(msg)
        self.source, self.manifest = ModelSource.pinned(
            artifact, variant=variant, engine=engine, device=device, threads=threads
        )
        self.column, self.pair_column = column, pair_column
        self.keep = None if keep is None else tuple(keep)
        self.window_rows, self.on_bad_row = window_rows, on_bad_row
        self.patience_s = patience_s
        self.options: dict[str, Any] = dict(options)
        record = self.manifest.head_record
        if pair_column is not None and not (record.takes_pairs and self.manifest.takes_pairs):
            msg = f"{self.manifest.name} takes no pairs: omit pair_column"
            raise InputError(msg)
        if pair_column is None and record.inputs is InputKind.PAIRS:
            msg = f"{self.manifest.name} scores pairs: name that of the second texts, pair_column"
            raise InputError(msg)
        answering(self.manifest, self.options)

    def __repr__(self) -> str:
        source = self.source
        return f"ArrowEncoder({source.place!r}, {source.variant} in {source.engine})"

    def with_threads(self, threads: int) -> Self:
        """Return the same worker with another number of cores."""
        found = copy(self)
        found.source = replace(self.source, threads=threads)
        return found

    @property
    def identity(self) -> dict[str, str]:
        """Return all that the answers depend on besides the texts, for people and comparisons."""
        source = self.source
        record = find_engine(source.engine)
        packages = ["numpy", "tokenizers", "pyarrow", *(() if record is None else record.packages)]
        return {
            "artifact": source.checksum,
            "variant": source.variant,
            "engine": source.engine,
            "device": source.device,
            **{name: str(value) for name, value in sorted(self.options.items())},
            "lanner version": __version__,
            **{f"{name} version": v for name, v in package_versions(*packages).items()},
        }

    def schema(self, given: "Schema") -> "Schema":
        """Return the schema of the output for one of the input.

        Raises:
            InputError: A column is missing, is no text, or has the name of an answer.
        """
        for name in (self.column, self.pair_column):
            if name is not None:
                _require_text(given, name)
        names = given.names if self.keep is None else self.keep
        fields = [_field(given, name) for name in names]
        answers = answering(self.manifest, self.options).fields(self.manifest, self.options)
        for field in answers:
            if field.name in names:
                msg = (
                    f"the input has a column {field.name!r}, as the answer is called: rename it, "
                    "or leave it out of keep"
                )
                raise InputError(msg)
        return pa.schema([*fields, *answers])

    def __call__(self, batches: Batches) -> Batches:
        """Answer a record batch, a table, or an iterator of batches; return the same kind.

        Raises:
            InputError: A column is missing, or a row has no text.
            LannerError: See the method of the head.
        """
        given: Any = batches
        answered: Any
        if isinstance(given, pa.Table):
            schema = self.schema(given.schema)
            answered = pa.Table.from_batches(
                list(self._answered(given.to_batches())), schema=schema
            )
        elif isinstance(given, pa.RecordBatch):
            answered = self._window([given], 0)[0]
        else:
            answered = self._answered(given)
        return cast("Batches", answered)

    def _answered(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Answer batches window by window."""
        window: list[Any] = []
        rows = size = done = 0
        for batch in batches:
            for part in _parts(batch, self.window_rows):
                part_bytes = part.nbytes
                if window and (
                    rows + part.num_rows > self.window_rows or size + part_bytes > WINDOW_CHARACTERS
                ):
                    yield from self._window(window, done)
                    done += rows
                    window, rows, size = [], 0, 0
                window.append(part)
                rows += part.num_rows
                size += part_bytes
        if window:
            yield from self._window(window, done)

    def _window(self, batches: list[Any], first_row: int) -> list[Any]:
        """Answer the texts of some batches by one call.

        Args:
            batches: Record batches of one schema.
            first_row: The number of rows before them, for messages.
        """
        schema = self.schema(batches[0].schema)
        columns = [self.column] if self.pair_column is None else [self.column, self.pair_column]
        inputs: list[Any] = []
        places: list[int | None] = []
        row = first_row
        for batch in batches:
            texts = [_texts(batch, name, row) for name in columns]
            for item in zip(*texts, strict=True):
                if None in item:
                    self._refuse(row, columns[item.index(None)])
                    places.append(None)
                else:
                    places.append(len(inputs))
                    inputs.append(item[0] if len(item) == 1 else item)
                row += 1
        answers = self._patiently(inputs)
        if len(inputs) < len(places):
            taken = pa.array(places, pa.int64())
            answers = [column.take(taken) for column in answers]
        names = schema.names[: len(schema.names) - len(answers)]
        found, start = [], 0
        for batch in batches:
            own = [column.slice(start, batch.num_rows) for column in answers]
            kept = [batch.column(batch.schema.get_field_index(name)) for name in names]
            found.append(pa.record_batch([*kept, *own], schema=schema))
            start += batch.num_rows
        return found

    def _refuse(self, row: int, column: str) -> None:
        if self.on_bad_row == "fail":
            msg = (
                f"row {row + 1} has no text in the column {column!r}, but null: fill it, or pass "
                "on_bad_row='null'"
            )
            raise InputError(msg)

    def _patiently(self, inputs: list[Any]) -> list[Any]:
        """Return the columns of the answers; wait for a server that is overloaded or away."""
        own = answering(self.manifest, self.options)
        pause_s, waited_s = _FIRST_PAUSE_S, 0.0
        while True:
            try:
                return own.columns(self.source.model(), inputs, self.options)
            except _PASSING:
                if not self.source.is_remote or waited_s + pause_s > self.patience_s:
                    raise
            time.sleep(pause_s)
            waited_s += pause_s
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _parts(batch: Any, most_rows: int) -> Iterator[Any]:
    """Yield a batch in parts of at most so many rows."""
    for start in range(0, max(1, batch.num_rows), most_rows):
        yield batch.slice(start, most_rows)


def _texts(batch: Any, name: str, first_row: int) -> list[str | None]:
    column = batch.column(batch.schema.get_field_index(name))
    try:
        found: list[str | None] = column.to_pylist()
    except UnicodeDecodeError:
        for row in range(len(column)):
            try:
                column[row].as_py()
            except UnicodeDecodeError:
                msg = f"row {first_row + row + 1} is not UTF-8 in the column {name!r}: convert it"
                raise InputError(msg) from None
        raise
    return found


def _field(schema: Any, name: str) -> Any:
    if schema.names.count(name) != 1:
        known = ", ".join(schema.names)[:200] or "nothing"
        msg = f"the input must have one column {name!r}, and it has {known}"
        raise InputError(msg)
    return schema.field(name)


def _require_text(schema: Any, name: str) -> None:
    found = _field(schema, name).type
    if pa.types.is_dictionary(found):
        found = found.value_type
    types = pa.types
    if not (types.is_string(found) or types.is_large_string(found) or types.is_string_view(found)):
        msg = f"the column {name!r} is {found}, not text: name another"
        raise InputError(msg)

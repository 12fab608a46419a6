"""A job: the files of an input, encoded fragment by fragment into a folder, each exactly once.

The output of a fragment depends on the fragment and the fingerprint of the job alone. So it does
not matter which process encodes it, when, and how often; a run that is repeated encodes what is
missing or new.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from lanner.distributed.arrow_encoder import ArrowEncoder
from lanner.distributed.fragments import Fragment, list_fragments
from lanner.distributed.output import Output, Record, bad_rows_name, part_name
from lanner.distributed.reading import Bad, parts_of
from lanner.distributed.storage import filesystem
from lanner.errors import InputError
from lanner.files.row_files import COLUMN_SUFFIXES, require_suffix
from lanner.files.rows import Columns
from lanner.files.vector_file import TEXT

_BAD_SCHEMA = pa.schema(
    [("file", pa.string()), ("start", pa.int64()), ("row", pa.int64()), ("reason", pa.string())]
)


class Done(NamedTuple):
    """The result of a fragment.

    Attributes:
        name: The name of the fragment.
        rows: The number of rows with an answer.
        bad_rows: The number of bad rows.
        busy_s: Seconds that it took.
    """

    name: str
    rows: int
    bad_rows: int
    busy_s: float


class Summary(NamedTuple):
    """The result of a run.

    Attributes:
        fragments: The number of fragments of the input.
        earlier: The number of those that earlier runs had done.
        rows: The number of rows that this run has answered.
        bad_rows: The number of bad rows that this run has found.
        stale: The number of fragments whose output was removed, since their file has changed.
    """

    fragments: int
    earlier: int
    rows: int
    bad_rows: int
    stale: int


class Executor(Protocol):
    """Something that encodes fragments, in any order."""

    def __call__(self, work: "Work", fragments: Sequence[Fragment]) -> Iterator[Done]:
        """Yield the result of each fragment as it is done."""


@dataclass(frozen=True)
class Work:
    """All that a worker needs to encode a fragment; picklable.

    Attributes:
        encoder: The worker.
        output: The folder of the output.
        columns: The columns of a row: one text, and those to copy.
        fingerprint: The beginning of the SHA-256 of all that the output depends on.
        with_text: Write the texts, too.
    """

    encoder: ArrowEncoder
    output: str
    columns: Columns
    fingerprint: str
    with_text: bool = True

    def encode(self, fragment: Fragment) -> Done:
        """Encode a fragment, and write its output; repeating it is harmless.

        Raises:
            InputError: The file is missing or damaged, or lacks a column.
            LannerError: See `ArrowEncoder`.
        """
        begin_s = time.perf_counter()
        output = Output(self.output)
        bad: list[Bad] = []
        rows = 0

        def good_batches() -> Iterator[Any]:
            for part in parts_of(fragment, self.columns):
                bad.extend(part.bad)
                yield part.batch

        with output.written(part_name(fragment, self.fingerprint)) as path:
            writer = None
            try:
                for batch in self.encoder(good_batches()):
                    named = self._named(batch, fragment)
                    if writer is None:
                        writer = _writer(path, named.schema)
                    if named.num_rows:
                        writer.write_batch(named)
                    rows += named.num_rows
            finally:
                if writer is not None:
                    writer.close()
            if bad:  # before the part, which says that the fragment is done
                self._write_bad(output, fragment, bad)
        return Done(fragment.name, rows, len(bad), time.perf_counter() - begin_s)

    def _named(self, batch: Any, fragment: Fragment) -> Any:
        """Return the columns of the output in their order, with their names and its origin."""
        text = self.columns.texts[0]
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        names = list(self.columns.kept)
        arrays = [columns[name] for name in names]
        if self.with_text:
            names.append(TEXT)
            arrays.append(columns[text])
        for name, column in columns.items():
            if name not in self.columns.names:
                names.append(name)
                arrays.append(column)
        source = self.encoder.source
        origin = {
            "lanner.variant": source.variant,
            "lanner.engine": source.engine,
            "lanner.artifact": source.checksum[:16],
            "lanner.fragment": json.dumps(asdict(fragment)),
        }
        schema = pa.schema(
            [pa.field(n, one.type) for n, one in zip(names, arrays, strict=True)], origin
        )
        return pa.record_batch(arrays, schema=schema)

    def _write_bad(self, output: Output, fragment: Fragment, bad: Sequence[Bad]) -> None:
        columns = [
            [fragment.file] * len(bad),
            [0 if fragment.suffix == ".parquet" else fragment.start] * len(bad),
            [one.row for one in bad],
            [one.reason for one in bad],
        ]
        with output.written(bad_rows_name(fragment, self.fingerprint)) as path:
            pq.write_table(pa.table(columns, schema=_BAD_SCHEMA), path)


def _writer(path: Any, schema: Any) -> Any:
    # Vectors are all different: a dictionary and bounds would only cost space.
    others = [name for name in schema.names if not pa.types.is_nested(schema.field(name).type)]
    return pq.ParquetWriter(path, schema, use_dictionary=others, write_statistics=others)


@dataclass(frozen=True)
class Job:
    """The encoding of files into a folder.

    Attributes:
        encoder: The worker; its column is that of the texts.
        source: A file, a folder or a pattern: a path or a URL of fsspec.
        output: The folder: a path or a URL of fsspec.
        columns: The columns of a row: one text, and those to copy.
        kind: The suffix of the input files, if their names do not end in it.
        with_text: Write the texts, too.
        restart: Remove the output of another job.
    """

    encoder: ArrowEncoder
    source: str
    output: str
    columns: Columns
    kind: str | None = None
    with_text: bool = True
    restart: bool = False

    def work(self) -> Work:
        """Return all that a worker needs."""
        return Work(
            self.encoder,
            self.output,
            self.columns,
            _fingerprint(self.identity),
            self.with_text,
        )

    @property
    def identity(self) -> dict[str, str]:
        """Return all that the output depends on besides the input."""
        return {
            **self.encoder.identity,
            "columns": json.dumps([list(part) for part in self.columns]),
            "texts in the output": str(self.with_text),
        }

    def run(
        self,
        executor: Executor,
        progressed: Callable[[Done], object] = lambda _: None,
    ) -> Summary:
        """Encode the fragments that are missing or new.

        Args:
            executor: Encodes fragments here, or on a cluster.
            progressed: Called after each fragment.

        Raises:
            InputError: There is no input, or a file is damaged or lacks a column. What is done
                stays.
            OutputError: The folder holds the output of another job.
        """
        fragments = list_fragments(self.source, kind=self.kind)
        self._require_fitting(fragments)
        output = Output(self.output)
        work = self.work()
        stale = 0
        earlier = None if self.restart else output.record()
        if earlier is not None and earlier.fingerprint == work.fingerprint:
            stale = output.remove_stale(fragments)
        described = {one.name: str(one) for one in fragments}
        record = Record(self.identity, work.fingerprint, self.source, described)
        output.begin(record, restart=self.restart)
        done = output.parts()
        missing = [one for one in fragments if one.name not in done]
        rows = bad_rows = 0
        for found in executor(work, missing):
            rows += found.rows
            bad_rows += found.bad_rows
            progressed(found)
        output.remove_unfinished()
        return Summary(len(fragments), len(fragments) - len(missing), rows, bad_rows, stale)

    def _require_fitting(self, fragments: Sequence[Fragment]) -> None:
        """Check that the files have columns, and that the output is no part of the input."""
        if not self.columns.is_one_text:
            for fragment in fragments:
                require_suffix(fragment.file, fragment.suffix, COLUMN_SUFFIXES)
        files, source = filesystem(self.source)
        others, output = filesystem(self.output)
        if type(files) is type(others) and f"{output}/".startswith(f"{source.rstrip('/')}/"):
            msg = f"the output {self.output} lies in the input {self.source}: choose another folder"
            raise InputError(msg)


def _fingerprint(identity: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]

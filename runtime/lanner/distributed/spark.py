"""Spark: the fragments of a job as tasks of a cluster, and data frames."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lanner.distributed.arrow_encoder import ArrowEncoder
from lanner.distributed.fragments import Fragment
from lanner.distributed.job import Done, Work
from lanner.errors import MissingExtraError

try:
    from pyspark.sql import SparkSession
    from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema
except ImportError as error:
    what = "encoding on Spark"
    raise MissingExtraError(what, "spark", "pyspark") from error

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_DONE = "name string, rows long, bad_rows long, busy_s double"


@dataclass(frozen=True)
class Spark:
    """Encodes the fragments of a job on a cluster.

    Attributes:
        master: The URL of the cluster; empty for the one of the configuration.
    """

    master: str = ""

    def __call__(self, work: Work, fragments: Sequence[Fragment]) -> Iterator[Done]:
        """See `lanner.distributed.job.Executor`; the results come when all are done."""
        if not fragments:
            return
        builder = SparkSession.builder.appName("lanner encode")
        session = (builder.master(self.master) if self.master else builder).getOrCreate()
        count = len(fragments)

        def encode_some(batches: Iterator[Any]) -> Iterator[Any]:
            for batch in batches:
                done = [work.encode(fragments[row]) for row in batch.column(0).to_pylist()]
                yield pa.RecordBatch.from_pylist([one._asdict() for one in done])

        # One fragment a task, so that a task that fails repeats one alone.
        numbers = session.range(0, count, 1, count)
        for row in numbers.mapInArrow(encode_some, _DONE).collect():
            yield Done(row["name"], row["rows"], row["bad_rows"], row["busy_s"])


def encode(frame: "DataFrame", artifact: str | Path | ArrowEncoder, **options: Any) -> "DataFrame":
    """Add a model's answers to a data frame.

    A task takes ``spark.task.cpus`` cores. Vectors are arrays; uint8 becomes short.

    Args:
        frame: A data frame with a column of texts.
        artifact: An artifact, see `ArrowEncoder`; or a worker, which has its options already.
        options: The arguments of `ArrowEncoder`, such as ``column``.

    Returns:
        The data frame with the columns of the answer, lazily.

    Raises:
        LannerError: See `ArrowEncoder`.
    """
    encoder = artifact if isinstance(artifact, ArrowEncoder) else ArrowEncoder(artifact, **options)
    given = encoder.schema(to_arrow_schema(frame.schema))
    schema = pa.schema([field.with_type(_type(field.type)) for field in given])

    def encode_batches(batches: Iterator[Any]) -> Iterator[Any]:
        for batch in encoder(batches):
            columns = [
                column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)
            ]
            yield pa.record_batch(columns, schema=schema)

    return frame.mapInArrow(encode_batches, from_arrow_schema(schema))


def _type(found: Any) -> Any:
    """Return the type of Arrow that Spark has for another one."""
    types = pa.types
    if types.is_fixed_size_list(found) or types.is_list(found):
        return pa.list_(_type(found.value_type))
    if types.is_struct(found):
        return pa.struct([field.with_type(_type(field.type)) for field in found])
    return pa.int16() if types.is_uint8(found) else found

"""The state of a job, by the folder of its output."""

from dataclasses import asdict, dataclass
from typing import Any

import pyarrow.parquet as pq

from lanner.distributed.output import Output
from lanner.errors import InputError
from lanner.files.bulk import BAD_ROWS_SHOWN


@dataclass(frozen=True)
class Status:
    """The state of a job.

    Attributes:
        source: The input.
        variant: The variant that encodes.
        engine: Its engine.
        fragments: The number of fragments of the input, when the last run began.
        done: The number of those that are encoded.
        of_other_files: The number of encoded fragments of files that were no input of the last run.
        rows: The number of encoded rows of all.
        bad_rows: The number of bad rows of all.
        first_bad_rows: The reasons of the first of these.
    """

    source: str
    variant: str
    engine: str
    fragments: int
    done: int
    of_other_files: int
    rows: int
    bad_rows: int
    first_bad_rows: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        done = f"{self.done:,} of {self.fragments:,} fragments of {self.source} are done"
        rows = f"{self.rows:,} rows, {self.bad_rows:,} bad rows"
        lines = [f"{done}, by {self.variant} in {self.engine}: {rows}"]
        if self.of_other_files:
            lines.append(
                f"{self.of_other_files:,} fragments are of files that are no input any more"
            )
        more = ["..."] if self.bad_rows > len(self.first_bad_rows) else []
        return "\n  ".join([*lines, *self.first_bad_rows, *more])


def status_of(place: str) -> Status:
    """Return the state of a job.

    Args:
        place: The folder of its output, a path or a URL.

    Raises:
        InputError: No job has written there.
        OutputError: The folder's record is damaged.
    """
    output = Output(place)
    record = output.record()
    if record is None:
        msg = f"{place} holds no output of lanner encode --on: check the path"
        raise InputError(msg)
    parts, bad = output.parts(), output.bad_rows()
    rows = bad_rows = 0
    for path in parts.values():
        with output.open(path) as file:
            rows += pq.read_metadata(file).num_rows
    reasons: list[str] = []
    for name, path in sorted(bad.items()):
        if name not in parts:
            continue  # it is being encoded
        with output.open(path) as file:
            # A thread of Arrow that drops the file while the interpreter ends aborts the process.
            found = pq.ParquetFile(file).read(columns=["reason"], use_threads=False)
        bad_rows += found.num_rows
        reasons += found.column("reason").slice(0, BAD_ROWS_SHOWN).to_pylist()
    return Status(
        source=record.source,
        variant=record.identity.get("variant", ""),
        engine=record.identity.get("engine", ""),
        fragments=len(record.fragments),
        done=len(parts.keys() & record.fragments.keys()),
        of_other_files=len(parts.keys() - record.fragments.keys()),
        rows=rows,
        bad_rows=bad_rows,
        first_bad_rows=reasons[:BAD_ROWS_SHOWN],
    )

"""Jobs of the tests: inputs, what is run, and what comes out."""

import random
from pathlib import Path
from typing import Any

from lanner.distributed import ArrowEncoder
from lanner.distributed.job import Job
from lanner.files.rows import Columns

#: Words of `tests.support.word_artifact`.
WORDS = "abcdef"


def write_parquet(folder: Path, *, files: int, rows: int) -> None:
    """Write files with the columns "id" and "text"."""
    import pyarrow as pa  # noqa: PLC0415 (an extra)
    import pyarrow.parquet as pq  # noqa: PLC0415

    folder.mkdir()
    chance = random.Random(5)  # noqa: S311 (chance, no secret)
    for number in range(files):
        texts = [" ".join(chance.choices(WORDS, k=chance.randint(1, 4))) for _ in range(rows)]
        pq.write_table(
            pa.table({"id": range(number * rows, (number + 1) * rows), "text": texts}),
            folder / f"{number:03}.parquet",
        )


def job(artifact: Path | str, source: Path | str, output: Path | str, **changes: Any) -> Job:
    encoder = ArrowEncoder(artifact, variant="fp32", threads=1)
    columns = Columns(["text"], ["id"], ["id"])
    return Job(encoder, str(source), str(output), columns, **changes)


def contents(output: Path) -> dict[str, bytes]:
    """Return the files of an output."""
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in sorted(output.rglob("*.parquet"))
    }

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lanner.errors import InputError
from lanner.files.row_files import open_rows
from lanner.files.rows import Columns, GivenRows, Row, Rows
from lanner.files.vector_file import Layout, json_line
from lanner.files.vector_formats import vector_file


def rows_of(rows: Rows) -> list[Row]:
    return [row for row in rows if isinstance(row, Row)]


def write(path: Path, rows: Rows, vectors: NDArray[Any], chunk: int, **options: Any) -> bytes:
    """Return the file, written in chunks of so many rows."""
    writer = vector_file(path.suffix, Layout(rows, vectors[:0], **options))
    every = rows_of(rows)
    with path.open("wb") as body:
        writer.start(body)
        for start in range(0, len(every), chunk):
            writer.append(body, every[start : start + chunk], vectors[start : start + chunk])
    return writer.finish(path, len(every)).read_bytes()


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8])
@pytest.mark.parametrize("count", [0, 1, 12_345])
def test_an_npy_is_what_numpy_writes(tmp_path: Path, dtype: type, count: int) -> None:
    vectors: NDArray[Any] = np.random.default_rng(0).integers(-9, 9, (count, 3)).astype(dtype)
    expected = io.BytesIO()
    np.save(expected, vectors)
    written = write(tmp_path / "a.npy", GivenRows(["x"] * count), vectors, chunk=1_000)
    assert written == expected.getvalue()


def test_a_jsonl_has_kept_columns_first(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"body": "ä", "id": 1, "x": {"y": null}}\n{"body": "b", "id": "2", "x": []}')
    vectors = np.array([[1, 0.5], [0, -2]], np.float32)
    columns = Columns(["body"], ["id", "x"])
    with open_rows(source, columns) as rows:
        written = write(tmp_path / "out.jsonl", rows, vectors, chunk=1)
    assert written.decode() == (
        '{"id": 1, "x": {"y": null}, "text": "ä", "embedding": [1.0, 0.5]}\n'
        '{"id": "2", "x": [], "text": "b", "embedding": [0.0, -2.0]}\n'
    )
    with open_rows(source, columns) as rows:
        written = write(tmp_path / "out.jsonl", rows, vectors, chunk=2, with_text=False)
    assert [list(json.loads(line)) for line in written.splitlines()] == [
        ["id", "x", "embedding"]
    ] * 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_holds_no_nan(value: float) -> None:
    row = Row("in.parquet, row 3", {}, 0)
    message = (
        r"^in.parquet, row 3 holds NaN or an infinity, which JSON cannot: keep it in a .parquet "
        r"--output, or leave the column out$"
    )
    with pytest.raises(InputError, match=message):
        json_line(row, {"id": [{"a": value}]})
    assert json_line(row, {"id": "é"}) == '{"id": "é"}\n'

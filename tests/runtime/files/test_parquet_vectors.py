import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pa = pytest.importorskip("pyarrow", reason="needs the parquet extra")

import pyarrow.parquet as pq  # noqa: E402 (once it is known to be there)

from lanner.errors import InputError  # noqa: E402
from lanner.files.parquet_vectors import ParquetFile, kind_of, kind_of_all  # noqa: E402
from lanner.files.row_files import open_rows  # noqa: E402
from lanner.files.rows import Columns, GivenRows, Row, Rows  # noqa: E402
from lanner.files.vector_file import Layout  # noqa: E402
from lanner.files.vector_formats import vector_file  # noqa: E402
from lanner.vectors.origin import Origin  # noqa: E402

VECTORS = np.array([[1, 0.5], [0, -2], [3, 4]], np.float32)


def write(path: Path, rows: Rows, vectors: NDArray[Any], chunk: int, **options: Any) -> Any:
    """Return the table, written in chunks of so many rows, each by a writer of its own."""
    every = [row for row in rows if isinstance(row, Row)]
    layout = Layout(rows, vectors[:0], **options)
    writer = ParquetFile(layout)
    with path.open("wb") as body:
        writer.start(body)
        for start in range(0, len(every), chunk):
            state = dict(writer.state)
            writer = ParquetFile(layout)
            writer.state.update(state)
            writer.append(body, every[start : start + chunk], vectors[start : start + chunk])
    return pq.read_table(writer.finish(path, len(every)))


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8])
def test_vectors_are_lists_of_fixed_size(tmp_path: Path, dtype: type) -> None:
    vectors: NDArray[Any] = abs(VECTORS).astype(dtype)
    table = write(tmp_path / "body", GivenRows(["a", "🦅", ""]), vectors, chunk=2)
    assert table.schema.field("embedding").type == pa.list_(pa.from_numpy_dtype(dtype), 2)
    assert table.to_pylist() == [
        {"text": text, "embedding": vector.tolist()}
        for text, vector in zip(["a", "🦅", ""], vectors, strict=True)
    ]
    file = pq.ParquetFile(tmp_path / "whole")
    assert [file.metadata.row_group(group).num_rows for group in range(2)] == [2, 1]


def test_the_file_says_what_made_its_vectors(tmp_path: Path) -> None:
    layout = Layout(GivenRows(["a"]), VECTORS[:0], origin=Origin("int8", "x"))
    writer = ParquetFile(layout)
    with (tmp_path / "body").open("wb") as body:
        writer.start(body)
    schema = pq.read_schema(writer.finish(tmp_path / "body", 0))
    assert {b"lanner.variant": b"int8", b"lanner.engine": b"x"}.items() <= schema.metadata.items()


def test_no_rows_are_a_table_with_columns(tmp_path: Path) -> None:
    table = write(tmp_path / "body", GivenRows([]), VECTORS[:0], chunk=2)
    assert table.num_rows == 0
    assert table.schema.names == ["text", "embedding"]


def test_columns_of_a_csv_are_text(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,text,n\n1,a,\n2,b,x\n3,c,07\n")
    with open_rows(tmp_path / "in.csv", Columns(["text"], ["id", "n"])) as rows:
        table = write(tmp_path / "body", rows, VECTORS, chunk=2, with_text=False)
    assert table.schema.names == ["id", "n", "embedding"]
    assert table.column("id").to_pylist() == ["1", "2", "3"]
    assert table.column("n").to_pylist() == ["", "x", "07"]
    assert table.schema.field("id").type == pa.string()


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1, None, 2**53], "int64", None),
        ([1, -(2**63), 2**63 - 1], "int64", None),
        ([1, 2**63, 3], "string", ["1", "9223372036854775808", "3"]),
        ([1, 2.5, None], "double", [1.0, 2.5, None]),
        ([2**53 + 1, 2.5, None], "string", ["9007199254740993", "2.5", None]),
        ([True, None, False], "bool", None),
        ([True, 1, 2], "string", ["true", "1", "2"]),
        (["a", None, ""], "string", None),
        (["a", 1, {"b": [None, "ä"]}], "string", ["a", "1", '{"b": [null, "ä"]}']),
        ([[1], [2], []], "string", ["[1]", "[2]", "[]"]),
        ([None, None, None], "string", None),
    ],
)
@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_columns_of_a_jsonl_get_the_type_that_holds_all(
    tmp_path: Path, values: list[Any], kind: str, expected: list[Any] | None, chunk: int
) -> None:
    lines = [json.dumps({"text": "a", "x": value}) for value in values]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    with open_rows(tmp_path / "in.jsonl", Columns(["text"], ["x"])) as rows:
        table = write(tmp_path / "body", rows, VECTORS, chunk)
    assert str(table.schema.field("x").type) == kind
    assert table.column("x").to_pylist() == (values if expected is None else expected)


def test_the_kind_of_all_does_not_depend_on_their_order() -> None:
    values: list[Any] = [None, True, 1, 2**60, 2**63, 0.5, "a", [1], {}]
    kinds = [kind_of(value) for value in values]
    assert kinds == ["null", "bool", "int", "long", "other", "float", "string", "other", "other"]
    for a in kinds:
        for b in kinds:
            for c in kinds:
                expected = kind_of_all([a, b, c])
                assert kind_of_all([c, kind_of_all([b, a])]) == expected
                assert kind_of_all([kind_of_all([b, c]), a]) == expected


def test_columns_of_a_parquet_keep_their_types(tmp_path: Path) -> None:
    columns = {
        "id": pa.array([1, 2, 3], pa.uint64()),
        "when": pa.array([1, None, 3], pa.timestamp("ns", "UTC")),
        "price": pa.array([None, 1, 2], pa.decimal128(10, 2)),
        "raw": pa.array([b"\xff", None, b""]),
        "tags": pa.array([["a"], None, []], pa.list_(pa.string())),
        "object": pa.array([{"a": 1}, None, {"a": None}]),
        "vector": pa.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], pa.list_(pa.float32(), 2)),
        "kind": pa.array(["x", "y", None]).dictionary_encode(),
    }
    source = tmp_path / "in.parquet"
    table = pa.table({"text": ["a", "b", "c"], **columns})
    pq.write_table(table, source, row_group_size=1)
    with open_rows(source, Columns(["text"], list(columns))) as rows:
        found = write(tmp_path / "body", rows, VECTORS, chunk=2)
    decoded = table.set_column(8, "kind", columns["kind"].dictionary_decode())
    assert found.select(list(columns)).equals(decoded.select(list(columns)))


def test_json_has_no_bytes(tmp_path: Path) -> None:
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table({"text": ["a"], "raw": [b"x"]}), source)
    with (
        open_rows(source, Columns(["text"], ["raw"])) as rows,
        pytest.raises(
            InputError,
            match=r"the column 'raw' of .* is binary, which JSON does not have: keep it in a "
            r".parquet --output, or omit it$",
        ),
    ):
        vector_file(".jsonl", Layout(rows, VECTORS[:0]))

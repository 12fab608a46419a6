"""Parquet files with false footers and pages: clear errors, in bounded memory and time."""

import io
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.support import footers
from tests.support.bounds import limited_memory, use

from lanner.errors import InputError
from lanner.files.row_files import open_rows
from lanner.files.rows import Columns

pa = pytest.importorskip("pyarrow", reason="needs the parquet extra")

import pyarrow.parquet as pq  # noqa: E402 (once it is known to be there)

ROWS = 50
KINDS: list[dict[str, Any]] = [
    {"use_dictionary": False},
    {"compression": "zstd"},
    {"row_group_size": 7},
    {"use_dictionary": False, "compression": "gzip", "data_page_version": "2.0"},
]


def written(columns: dict[str, list[Any]], **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, **options)
    return buffer.getvalue()


def read(path: Path) -> int:
    with open_rows(path, Columns(["text"], ["id"])) as rows:
        return sum(1 for _ in rows)


def test_hundreds_of_footers_that_lie(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {
        "text": [f"a man {i % 9}" for i in range(ROWS)],
        "id": list(range(ROWS)),
    }
    files = [written(columns, **kind) for kind in KINDS]
    path, counts = tmp_path / "a.parquet", Counter[int]()
    with limited_memory():
        for seed in range(400):
            rng = random.Random(seed)  # noqa: S311 (the same each time)
            path.write_bytes(footers.damaged(rng.choice(files), rng))
            error = use(lambda: counts.update([read(path)]))
            assert error is None or isinstance(error, InputError)
            counts["error"] += error is not None  # type: ignore[index]
    # A lie about what nobody needs changes nothing; no other number of rows comes out.
    assert set(counts) == {ROWS, "error"}
    assert min(counts.values()) > 100


def changed(path: tuple[int, ...], value: int) -> bytes:
    data = written({"text": ["a"] * ROWS, "id": [1] * ROWS}, use_dictionary=False)
    root = footers.footer(data)
    for found, node in footers.numbers(root):
        if found == path:
            node.value = value
    return footers.with_footer(data, root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed((3,), 10**12), "the rows of its parts are not those of the whole"),
        (changed((4, 0, 3), -1), "the rows of its parts are not those of the whole"),
        (changed((4, 0, 1, 0, 3, 9), 10**12), "its column 'text' would not fit into the file"),
        (changed((4, 0, 1, 0, 3, 7), 10**12), "its column 'text' would not fit into the file"),
        (changed((4, 0, 1, 0, 3, 5), -1), "its column 'text' would not fit into the file"),
        (b"PAR1" + b"\x19\xfc\xff\xff\xff\xff\x0f" + b"\x07\0\0\0PAR1", "its footer is not of Par"),
        (b"PAR1" + b"\x1c" * 99 + b"\x63\0\0\0PAR1", "its footer is not of Parquet's format"),
        (b"PAR1" + b"\xff\xff\xff\x7fPAR1", "it does not end as one"),
        (b"PAR1", "it does not end as one"),
    ],
    ids=["rows", "-rows", "place", "size", "values", "endless", "deep", "longer", "short"],
)
def test_what_lies_is_said(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.parquet is not a \.parquet .*damaged: {message}"):
        read(path)


def test_rows_that_are_not_there(tmp_path: Path) -> None:
    data = written({"text": ["a"] * ROWS, "id": [1] * ROWS}, use_dictionary=False)
    root = footers.footer(data)
    for found, node in footers.numbers(root):
        if found in ((3,), (4, 0, 3)):
            node.value = 10**12
    path = tmp_path / "a.parquet"
    path.write_bytes(footers.with_footer(data, root))
    with pytest.raises(
        InputError, match=r"a\.parquet is damaged: it has 50 rows, where it says 10"
    ):
        read(path)


def test_a_page_that_claims_gigabytes(tmp_path: Path) -> None:
    data = written({"text": ["a"] * ROWS}, use_dictionary=False)
    path = tmp_path / "a.parquet"
    path.write_bytes(footers.with_first_page(data, 2**31 - 1))
    columns = Columns(["text"])

    def act() -> None:
        with open_rows(path, columns) as rows:
            list(rows)

    with limited_memory():
        error = use(act)
    assert str(error).endswith(
        f"the column 'text' of {path} unpacks 2,147,483,647 bytes from 26, as no text does: write "
        "the file again"
    ), error
    path.write_bytes(footers.with_first_page(data, -1))
    with pytest.raises(InputError, match=r"damaged: its footer is not of Parquet's format$"):
        act()

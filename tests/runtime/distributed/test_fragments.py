"""Fragments: whole files, row groups, and bytes that end with a line."""

import threading
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow", reason="needs the extra 'distributed'")
import pyarrow as pa

pytest.importorskip("fsspec", reason="needs the extra 'distributed'")
import pyarrow.parquet as pq

import lanner.distributed.fragments as fragments_module
from lanner.distributed.fragments import list_fragments
from lanner.distributed.reading import Part, parts_of
from lanner.errors import InputError
from lanner.files.parquet_footer import read_footer
from lanner.files.rows import Columns


def texts(parts: list[Part]) -> list[str]:
    return [text for part in parts for text in part.batch.column("text").to_pylist()]


@pytest.mark.parametrize("size", [1, 2, 7, 13, 10_000])
def test_lines_are_in_one_fragment_each_wherever_it_is_cut(tmp_path: Path, size: int) -> None:
    path = tmp_path / "rows.jsonl"
    lines = ['{"text": "a"}', '"b\u00e9"', "", '{"text": "' + "c" * 40 + '"}', '"d"']
    path.write_bytes("\r\n".join(lines).encode())
    fragments = list_fragments(str(path), fragment_bytes=size)
    assert len({one.name for one in fragments}) == len(fragments)
    parts = [part for one in fragments for part in parts_of(one, Columns(["text"]))]
    assert texts(parts) == ["a", "b\u00e9", "c" * 40, "d"]
    assert not any(part.bad for part in parts)


def test_a_folder_has_the_files_of_known_kinds(tmp_path: Path) -> None:
    for name in ("b/two.txt", "one.csv", "_hidden.txt", ".old/three.txt", "readme.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text\n")
    files = [one.file for one in list_fragments(str(tmp_path))]
    assert files == [str(tmp_path / "b/two.txt"), str(tmp_path / "one.csv")]
    assert [one.file for one in list_fragments(f"{tmp_path}/*.csv")] == [str(tmp_path / "one.csv")]
    url = f"file://{tmp_path}/one.csv"
    assert [one.file for one in list_fragments(url)] == [url]
    for source, message in (
        (f"{tmp_path}/*.jsonl", r"^there is no input file at \S+jsonl: check the path$"),
        (f"{tmp_path}/none.txt", r"^there is no input file at \S+none.txt: check the path$"),
        (f"{tmp_path}/readme.md", r"^\S+readme.md has an unsupported format: use .txt, .csv"),
    ):
        with pytest.raises(InputError, match=message):
            list_fragments(source)


def test_row_groups_are_gathered_and_bad_rows_put_apart(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    rows = pa.table(
        {"id": [1, 2, None, 4, 5], "text": ["a", None, "c", "d", "e"], "other": [0] * 5}
    )
    pq.write_table(rows, path, row_group_size=2)
    fragments = list_fragments(str(path), fragment_rows=3)
    assert [(one.start, one.end, one.first_row) for one in fragments] == [(0, 2, 0), (2, 3, 4)]
    columns = Columns(["text"], ["id"], ["id"])
    parts = [part for one in fragments for part in parts_of(one, columns)]
    assert texts(parts) == ["a", "d", "e"]
    assert [bad for part in parts for bad in part.bad] == [
        (2, f"{path}, row 2: no text in the column 'text', but null"),
        (3, f"{path}, row 3: no value in the column 'id'"),
    ]
    assert parts[0].batch.schema.field("id").type == pa.int64()


def test_texts_that_are_not_utf8_are_bad_rows(tmp_path: Path) -> None:
    raw = pa.array([b"a", b"\xff", b"c"]).cast(pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": raw}), tmp_path / "rows.parquet")
    (fragment,) = list_fragments(str(tmp_path))
    parts = list(parts_of(fragment, Columns(["text"])))
    assert texts(parts) == ["a", "c"]
    assert [bad.row for part in parts for bad in part.bad] == [2]


def test_a_file_that_changes_meanwhile_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_text("a\n")
    (fragment,) = list_fragments(str(path))
    path.write_text("a\nb\n")
    with pytest.raises(
        InputError, match=r"rows.txt has changed since the run began: start it agai"
    ):
        list(parts_of(fragment, Columns(["text"])))
    path.unlink()
    with pytest.raises(
        InputError, match=r"rows.txt has changed since the run began: start it agai"
    ):
        list(parts_of(fragment, Columns(["text"])))


def test_columns_that_a_file_lacks(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["a"]}), tmp_path / "rows.parquet")
    (fragment,) = list_fragments(str(tmp_path))
    with pytest.raises(InputError, match=r"rows.parquet has no column 'text' in its schema, which"):
        list(parts_of(fragment, Columns(["text"])))


def test_footers_are_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):
        pq.write_table(pa.table({"text": ["a"] * (number + 1)}), tmp_path / f"{number}.parquet")
    together = threading.Barrier(8)

    def read(*args: Any) -> Any:
        together.wait(20)  # for the seven others
        return read_footer(*args)

    monkeypatch.setattr(fragments_module, "read_footer", read)
    found = list_fragments(str(tmp_path))
    assert [Path(one.file).name for one in found] == [f"{number}.parquet" for number in range(8)]

import io
import sys
from pathlib import Path

import pytest

from lanner.errors import InputError
from lanner.files.row_files import open_rows
from lanner.files.rows import BadRow, Columns, Row

TEXT_AND_ID = Columns(["text"], ["id"], ["id"])


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "columns", "message"),
    [
        (
            "a.txt",
            "x",
            TEXT_AND_ID,
            r"a.txt has an unsupported format: use .csv, .jsonl, .parquet$",
        ),
        (
            "a.md",
            "x",
            Columns(["t"]),
            r"a.md has an unsupported format: use .txt, .csv, .jsonl, .parquet$",
        ),
        ("a.csv", "text\nx", TEXT_AND_ID, r"a.csv has no column 'id' in its first line, which hol"),
        ("a.csv", "id,text,id\n", TEXT_AND_ID, r"a.csv has 2 columns 'id': rename all but one"),
        ("a.csv", b"id,text,\xff\n", TEXT_AND_ID, r"a.csv, line 1: not UTF-8: convert the file"),
    ],
)
def test_files_without_such_columns_are_refused(
    tmp_path: Path, name: str, content: str | bytes, columns: Columns, message: str
) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(InputError, match=message), open_rows(path, columns):
        pass


def test_standard_input_of_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    def stdin(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    stdin(b'{"text": "a", "id": 1}\n"b"')
    expected = "standard input, line 2: expected an object with 'text' as text and 'id'"
    with open_rows("-", TEXT_AND_ID, kind=".jsonl") as rows:
        first, second = rows
    assert isinstance(first, Row)
    assert first.values == {"text": "a", "id": 1}
    assert isinstance(second, BadRow)
    assert second.message == expected
    assert not sys.stdin.buffer.closed
    stdin(b"a\nb")
    with open_rows("-", Columns(["text"])) as rows:
        assert rows.total is None
    with (
        pytest.raises(
            InputError, match=r"standard input has an unsupported format: use .csv, .jsonl$"
        ),
        open_rows("-", TEXT_AND_ID, kind=".parquet"),
    ):
        pass


def test_the_kind_of_a_file_may_be_said(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.JSONL", '"a"')
    with open_rows(path, Columns(["text"])) as rows:
        assert [row.values for row in rows if isinstance(row, Row)] == [{"text": "a"}]
        assert rows.total == 3
    with open_rows(path, Columns(["text"]), kind=".txt") as rows:
        assert [row.values for row in rows if isinstance(row, Row)] == [{"text": '"a"'}]

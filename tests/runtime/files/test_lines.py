from pathlib import Path

import pytest

from lanner.files.row_files import open_rows
from lanner.files.rows import BadRow, Columns, Row, Rows

TEXT_AND_ID = Columns(["text"], ["id"], ["id"])


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def found(path: Path | str, columns: Columns, **options: str) -> list[object]:
    """Return the values of good rows, and the messages of bad ones without the directory."""
    with open_rows(path, columns, **options) as rows:
        return [
            dict(row.values)
            if isinstance(row, Row)
            else row.message.removeprefix(f"{Path(path).parent}/")
            for row in rows
        ]


def test_bad_lines_of_a_txt_are_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"\xef\xbb\xbfone\r\n\xff\n\n\xf0\x9f\xa6\x85")
    assert found(path, Columns(["t"])) == [
        {"t": "one"},
        "a.txt, line 2: not UTF-8: convert the file, for example with iconv",
        {"t": ""},
        {"t": "🦅"},
    ]


def test_bad_rows_of_a_csv_are_passed_over(tmp_path: Path) -> None:
    lines = [
        b"id,text,more",
        b'1,"a',
        b'b",x',
        b"2",
        b",no id,x",
        b"3,c,d,e",
        b"",
        b'4,"a"b,x',
        b"5,\xff,x",
        b"6,short",
        b'7,"open',
    ]
    assert found(write(tmp_path / "a.csv", b"\n".join(lines)), TEXT_AND_ID) == [
        {"id": "1", "text": "a\nb", "more": "x"},
        "a.csv, line 4: no value in the column 'text'",
        "a.csv, line 5: no value in the column 'id'",
        "a.csv, line 6: 4 values for the 3 columns of the first line",
        "a.csv, from line 8 on: not valid CSV (',' expected after '\"')",
        "a.csv, line 9: not UTF-8: convert the file, for example with iconv",
        {"id": "6", "text": "short", "more": None},
        "a.csv, from line 11 on: not valid CSV (unexpected end of data)",
    ]


def test_bad_lines_of_a_jsonl_are_passed_over(tmp_path: Path) -> None:
    lines = [
        b'{"id": 1, "text": "a", "more": [2]}',
        b"{oops",
        b"",
        b'"alone"',
        b'{"id": 2, "text": null}',
        b'{"text": "a"}',
        b'{"id": null, "text": "a"}',
        b'{"id": 3, "text": "\\ud83e\\udd85"}',
        b'{"id": 4, "text": "\\uD83E"}',
        b'{"id": 5, "text": "\xff"}',
        b"[" * 100_000,
        b"7",
        b'{"id": NaN, "text": "a"}',
        b'{"id": -Infinity, "text": "a"}',
    ]
    expected = "expected an object with 'text' as text"
    assert found(write(tmp_path / "a.jsonl", b"\n".join(lines)), TEXT_AND_ID) == [
        {"id": 1, "text": "a", "more": [2]},
        f"a.jsonl, line 2: {expected} and 'id'",
        f"a.jsonl, line 4: {expected} and 'id'",
        f"a.jsonl, line 5: {expected}",
        "a.jsonl, line 6: expected an object with 'id'",
        "a.jsonl, line 7: no value at the key 'id'",
        {"id": 3, "text": "🦅"},
        "a.jsonl, line 9: 'text' is not valid Unicode (it has half of a surrogate pair)",
        "a.jsonl, line 10: not UTF-8: convert the file, for example with iconv",
        f"a.jsonl, line 11: {expected} and 'id'",
        f"a.jsonl, line 12: {expected} and 'id'",
        "a.jsonl, line 13: NaN is no JSON: write null",
        "a.jsonl, line 14: -Infinity is no JSON: write null",
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "a\nb\n\nd\n"),
        ("a.csv", 'text\na\n"b\nb"\n\n"x"x\nd\n'),
        ("a.jsonl", '"a"\n\n{oops\n"c"\n"d"\n'),
    ],
)
def test_rows_that_were_passed_over_count_as_read(tmp_path: Path, name: str, content: str) -> None:
    path = write(tmp_path / name, content)

    def state(rows: Rows) -> tuple[int, str]:
        return rows.position, rows.digest()

    with open_rows(path, Columns(["text"])) as read, open_rows(path, Columns(["text"])) as skipped:
        rows = [next(read), next(read)]
        assert skipped.skip(2) == len(rows)
        assert state(read) == state(skipped)
        rest = list(read)
        assert list(skipped) == rest
        assert len(rest) == 2
        assert state(read) == state(skipped) != (0, "")
        assert read.position == read.total == path.stat().st_size
        assert skipped.skip(1) == 0


def test_the_digest_is_that_of_what_was_read(tmp_path: Path) -> None:
    old, new = write(tmp_path / "old.txt", "a\nb\nc\n"), write(tmp_path / "new.txt", "a\nb\nx\n")
    with open_rows(old, Columns(["t"])) as left, open_rows(new, Columns(["t"])) as right:
        assert left.skip(2) == right.skip(2) == 2
        assert left.digest() == right.digest()
        assert left.skip(1) == right.skip(1) == 1
        assert left.digest() != right.digest()


def test_a_quote_that_is_never_closed_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lanner.files.lines.FIELD_CHARACTERS", 10)
    path = write(tmp_path / "a.csv", 'text\n"open\nmany\nmore\nlines\n')
    with open_rows(path, Columns(["text"])) as rows:
        first, *rest = rows
    assert isinstance(first, BadRow)
    assert "a.csv, from line 2 on: not valid CSV (field larger than field limit (10))" in (
        first.message
    )
    assert [row.values for row in rest if isinstance(row, Row)] == [{"text": "lines"}]


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
@pytest.mark.parametrize("suffix", ["txt", "jsonl", "csv"])
def test_a_line_without_end_is_a_bad_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, end: str
) -> None:
    monkeypatch.setattr("lanner.files.lines.LINE_CHARACTERS", 10)
    lines = {"txt": ["a", "b"], "jsonl": ['"a"', '"b"'], "csv": ["t", "a", "b"]}[suffix]
    content = "\n".join([*lines[:-1], "x" * 34, lines[-1]]) + end
    with open_rows(write(tmp_path / f"a.{suffix}", content), Columns(["t"])) as rows:
        first, bad, last = rows
        assert rows.position == len(content)
    assert isinstance(first, Row)
    assert isinstance(last, Row)
    assert [row.values["t"] for row in (first, last)] == ["a", "b"]
    assert isinstance(bad, BadRow)
    assert bad.message in (
        f"{tmp_path}/a.{suffix}, line 2: longer than 10 characters",
        f"{tmp_path}/a.csv, from line 3 on: not valid CSV (a line longer than 10 characters)",
    )


def test_a_line_that_is_just_as_long_as_it_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lanner.files.lines.LINE_CHARACTERS", 4)
    with open_rows(write(tmp_path / "a.txt", "abc\nd\nabcde\n"), Columns(["t"])) as rows:
        found = [row.values["t"] if isinstance(row, Row) else None for row in rows]
    assert found == ["abc", "d", None]

import io
from pathlib import Path

import pytest

from lanner.errors import InputError
from lanner.files.texts import (
    read_first_row,
    read_labelled_pairs,
    read_pairs,
    read_records,
    read_texts,
    shipped_sentences,
)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_text_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "\ufeffone\r\n\nzwei 🦅\n三")
    assert read_texts(path) == ["one", "", "zwei 🦅", "三"]


def test_a_column_of_a_csv(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'id,body\n1,"one, two"\n2,"new\nline"\n')
    assert read_texts(path, column="body") == ["one, two", "new\nline"]


def test_objects_and_strings_of_a_jsonl(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "one", "id": 1}\n\n"two"\n')
    assert read_texts(path) == ["one", "two"]


def test_lines_of_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("eins\nzwei 🦅\n".encode())))
    assert read_texts("-") == ["eins", "zwei 🦅"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"ok\n\xff\n")))
    with pytest.raises(InputError, match=r"standard input, line 2: not UTF-8: convert the file"):
        read_texts("-")


def test_long_fields_of_a_csv(tmp_path: Path) -> None:
    long = "word " * 100_000
    assert read_texts(write(tmp_path / "a.csv", f"text\n{long}\n")) == [long]
    pairs = read_labelled_pairs(write(tmp_path / "pairs.csv", f"{long},b,1\nc,d,2\n"))
    assert pairs.left == [long, "c"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", "", r"a.xlsx has an unsupported format: use .txt, .csv, .jsonl"),
        ("a.txt", b"\xff\xfe", r"a.txt, line 1: not UTF-8: convert the file, for example with ic"),
        (
            "a.csv",
            "id,body\n1,x\n",
            r"a.csv has no column 'text' in its first line, which holds id, body",
        ),
        ("a.csv", "", r"a.csv has no column 'text' in its first line, which holds nothing"),
        ("a.csv", "id,text\n1,x\n2\n", r"a.csv, line 3: no value in the column 'text'"),
        (
            "a.csv",
            'text\n"open\n',
            r"a.csv, from line 2 on: not valid CSV \(unexpected end of data\)",
        ),
        ("a.jsonl", '"x"\n{"body": 1}\n', r"a.jsonl, line 2: expected a JSON string or an object"),
        ("a.jsonl", "{oops\n", r"a.jsonl, line 1: expected a JSON string or an object with 'text'"),
        ("a.jsonl", '{"text": 3}\n', r"a.jsonl, line 1: expected a JSON string"),
    ],
)
def test_bad_files_name_the_place(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_texts(write(tmp_path / name, content))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no file .*gone.txt: check the path"):
        read_texts(tmp_path / "gone.txt")


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(InputError, match=r"a.txt cannot be read: Is a directory"):
        read_texts(tmp_path / "a.txt")


@pytest.mark.parametrize("header", ["", "sentence1,sentence2,score\n"])
def test_labelled_pairs(tmp_path: Path, header: str) -> None:
    path = write(tmp_path / "pairs.csv", header + 'a,b,5.0\n\n"c, d",e,0\n')
    assert list(read_labelled_pairs(path)) == [["a", "c, d"], ["b", "e"], [5.0, 0.0]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b,5\nc,d\n", r"pairs.csv, line 2: expected sentence1,sentence2,score with a number"),
        ("a,b,5\nc,d,high\n", r"line 2: .* found 3 columns: 'c,d,high'"),
        ("a,b,high\nc,d,1\n", r"line 1: .* found 3 columns: 'a,b,high'"),
        ("a,b,5\nc,d,nan\n", r"line 2: .* with a number last, found 3 columns: 'c,d,nan'"),
        ("a,b\n", r"pairs.csv, line 1: .* found 2 columns: 'a,b'"),
        ("", r"pairs.csv holds no pairs: expected rows of sentence1,sentence2,score"),
        ("sentence1,sentence2,score\n", r"pairs.csv holds no pairs"),
    ],
)
def test_bad_pairs_name_the_line(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_labelled_pairs(write(tmp_path / "pairs.csv", content))


def test_the_shipped_sentences_are_varied() -> None:
    sentences = shipped_sentences()
    assert len(sentences) >= 150
    assert len(set(sentences)) == len(sentences)
    assert all(sentences)
    assert any("猫" in sentence for sentence in sentences)


def test_pairs_of_a_csv_and_of_a_jsonl(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text('text,score,text_pair\na,1,b\n"c\nd",2,\n')
    assert read_pairs(tmp_path / "pairs.csv") == [("a", "b"), ("c\nd", "")]
    (tmp_path / "pairs.jsonl").write_text('{"q": "a", "r": "b"}\n\n{"q": "", "r": "d"}\n')
    assert read_pairs(tmp_path / "pairs.jsonl", columns=("q", "r")) == [("a", "b"), ("", "d")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("pairs.txt", "a", r"pairs.txt has an unsupported format: use .csv, .jsonl"),
        ("pairs.csv", "text,b\na,b\n", r"has no column 'text_pair' in its first line, which holds"),
        ("pairs.csv", "text,text_pair\na\n", r"line 2: no value in the column 'text_pair'"),
        ("pairs.jsonl", '"a"', r"line 1: expected an object with 'text' as text"),
        ("pairs.jsonl", '{"text": "a"}', r"line 1: expected an object with 'text_pair' as text"),
    ],
)
def test_what_holds_no_pairs_is_named(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_pairs(tmp_path / name)


def test_records_of_a_csv_and_of_a_jsonl(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", '\ufefftext,label,more\n"a\nb",1,x\n\nc,2\n')
    assert read_records(path, columns=["label", "text"]) == [
        (f"{path}, line 3", {"text": "a\nb", "label": "1", "more": "x"}),
        (f"{path}, line 5", {"text": "c", "label": "2", "more": None}),
    ]
    path = write(tmp_path / "a.jsonl", '\n{"text": "a", "label": [1], "x": null}\n')
    assert read_records(path, columns=["label"]) == [
        (f"{path}, line 2", {"text": "a", "label": [1], "x": None})
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "a", r"a.txt has an unsupported format: use .csv, .jsonl"),
        ("a.csv", "text\na\n", r"a.csv has no column 'label' in its first line, which holds text"),
        ("a.csv", "text,label\na\n", r"a.csv, line 2: no value in the column 'label'"),
        ("a.jsonl", '{"x": 1}', r"a.jsonl, line 1: expected an object with 'text' and 'label'"),
        ("a.jsonl", '{"text": 1}\n', r"a.jsonl, line 1: expected an object with 'label'"),
        ("a.jsonl", "[1]\n", r"a.jsonl, line 1: expected an object with 'text' and 'label'"),
    ],
)
def test_bad_records_name_the_place(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_records(write(tmp_path / name, content), columns=["text", "label"])


def test_the_first_row_of_a_csv(tmp_path: Path) -> None:
    assert read_first_row(write(tmp_path / "a.csv", '\n"a,b",c\nd,e\n')) == ["a,b", "c"]
    assert read_first_row(write(tmp_path / "a.csv", "")) == []


def test_a_damaged_header_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "header.csv"
    path.write_text('"te"xt,label\nhello,x\n')
    with pytest.raises(InputError, match=r"header.csv, line 1: not valid CSV \(.+\)$"):
        read_texts(path)

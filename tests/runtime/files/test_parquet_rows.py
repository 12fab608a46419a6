import datetime
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from lanner.errors import InputError
from lanner.files.row_files import open_rows
from lanner.files.rows import BadRow, Columns, Row
from lanner.files.texts import read_pairs, read_texts

pa = pytest.importorskip("pyarrow", reason="needs the parquet extra")

import pyarrow.parquet as pq  # noqa: E402 (once it is known to be there)

from lanner.files import parquet_footer  # noqa: E402


def write(path: Path, columns: dict[str, object], **options: object) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def test_whole_files_of_texts_and_pairs(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"text": ["a", "🦅"], "text_pair": ["c", ""]})
    assert read_texts(path) == ["a", "🦅"]
    assert read_pairs(path) == [("a", "c"), ("🦅", "")]
    with pytest.raises(InputError, match=r"a.parquet has no column 'body' in its schema, which ho"):
        read_texts(path, column="body")


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_texts_of_any_type_of_string(tmp_path: Path, kind: object) -> None:
    assert read_texts(write(tmp_path / "a.parquet", {"text": pa.array(["a"], kind)})) == ["a"]


def test_texts_of_a_dictionary(tmp_path: Path) -> None:
    texts = pa.array(["a", "b", "a"]).dictionary_encode()
    columns = Columns(["text"], ["same"])
    path = write(tmp_path / "a.parquet", {"text": texts, "same": texts})
    with open_rows(path, columns) as rows:
        assert rows.types == {"same": pa.string()}
        found = [row.values["same"].to_pylist() for row in rows if isinstance(row, Row)]
    assert found == [["a"], ["b"], ["a"]]


REPEATED = """
import resource, sys
from pathlib import Path
from lanner.files.row_files import open_rows
from lanner.files.rows import Columns
def peak_bytes(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
with open_rows(Path(sys.argv[1]), Columns(["text"], ["text"])) as rows:
    before = peak_bytes()
    print(sum(len(row.values["text"]) for row in rows))
print(peak_bytes() - before)
"""


def test_a_long_text_that_all_rows_have_is_in_memory_once(tmp_path: Path) -> None:
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 512), pa.array(["x" * 2**22]))
    path = write(tmp_path / "a.parquet", {"text": long}, store_schema=False)
    assert path.stat().st_size < 2**19  # of 2 GB
    command = [sys.executable, "-c", REPEATED, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    characters, grown_bytes = map(int, done.stdout.split())
    assert characters == 512 * 2**22
    assert grown_bytes < 2**27


def test_a_page_that_unpacks_to_gigabytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_footer, "_PLAIN_BYTES", 2**20)
    options = {"use_dictionary": False, "compression": "zstd"}
    path = write(tmp_path / "a.parquet", {"text": ["x" * 2**22], "other": ["y" * 2**22]}, **options)
    with pytest.raises(
        InputError,
        match=r"^the column 'text' of .*a.parquet unpacks 4,194,\d+ bytes from [\d,]{3}, as no "
        r"text does: write the file again$",
    ):
        read_texts(path)


def test_bad_rows_have_their_number(tmp_path: Path) -> None:
    not_utf8 = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.array([0, 1], pa.int32()).buffers()[1], pa.py_buffer(b"\xff")]
    )
    texts = pa.chunked_array([pa.array(["a", None, "b"]), not_utf8])
    path = write(tmp_path / "a.parquet", {"text": texts, "id": [1, 2, None, 4]})
    with open_rows(path, Columns(["text"], ["id"], ["id"])) as rows:
        first, *bad = rows
    assert isinstance(first, Row)
    assert [row.message for row in bad if isinstance(row, BadRow)] == [
        f"{path}, row 2: no text in the column 'text', but null",
        f"{path}, row 3: no value in the column 'id'",
        f"{path}, row 4: not UTF-8 in the column 'text'",
    ]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 9])
def test_passing_over_rows_of_row_groups(tmp_path: Path, count: int) -> None:
    texts = ["a", "b", "c", "d", "e"]
    path = write(tmp_path / "a.parquet", {"text": texts}, row_group_size=2)
    with open_rows(path, Columns(["text"])) as rows:
        assert rows.skip(count) == min(count, 5) == rows.position
        assert [row.values["text"] for row in rows if isinstance(row, Row)] == texts[count:]
        assert rows.position == rows.total == 5


def test_the_digest_tells_of_another_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"text": ["a"]})
    with open_rows(path, Columns(["text"])) as rows:
        before = rows.digest()
        list(rows)
        assert rows.digest() == before
    write(path, {"text": ["b"]})
    with open_rows(path, Columns(["text"])) as rows:
        assert rows.digest() != before


def test_values_as_json_has_them(tmp_path: Path) -> None:
    columns = {
        "n": pa.array([7], pa.int8()),
        "when": pa.array([1], pa.timestamp("ns", "UTC")),
        "day": [datetime.date(2020, 1, 2)],
        "price": [Decimal("1.20")],
        "list": [[1, None]],
        "object": [{"a": "x"}],
        "nothing": pa.array([None], pa.string()),
    }
    path = write(tmp_path / "a.parquet", {"text": ["a"], **columns})
    with open_rows(path, Columns(["text"], list(columns))) as rows:
        assert rows.json_problem() == ""
        row = next(rows)
        assert isinstance(row, Row)
        assert {name: rows.json_value(row.values[name]) for name in columns} == {
            "n": 7,
            "when": "1970-01-01 00:00:00.000000001Z",
            "day": "2020-01-02",
            "price": "1.20",
            "list": [1, None],
            "object": {"a": "x"},
            "nothing": None,
        }


@pytest.mark.parametrize(
    "values", [pa.array([b"x"]), pa.array([[datetime.date(2020, 1, 2)]]), pa.array([[b"x"]])]
)
def test_types_that_json_does_not_have(tmp_path: Path, values: object) -> None:
    path = write(tmp_path / "a.parquet", {"text": ["a"], "raw": values})
    with open_rows(path, Columns(["text"], ["raw"])) as rows:
        assert rows.json_problem().startswith(f"the column 'raw' of {path} is ")
        assert rows.json_problem().endswith(", which JSON does not have")


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    with pytest.raises(InputError, match=r"there is no file .*a.parquet: check the path"):
        read_texts(path)
    for content in (b"", b"no parquet at all"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a.parquet is not a .parquet file, or is damaged: "):
            read_texts(path)
    write(path, {"text": [1]})
    with pytest.raises(InputError, match=r"column 'text' of .* is int64, not text: name anoth"):
        read_texts(path)
    nested = pa.array([["a"]], pa.list_(pa.dictionary(pa.int8(), pa.string())))
    write(path, {"text": ["a"], "tags": nested})
    with (
        pytest.raises(InputError, match=r"the column 'tags' of .*, which cannot be kept"),
        open_rows(path, Columns(["text"], ["tags"])),
    ):
        pass


def test_damage_within_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"text": [f"text {n}" * 9 for n in range(999)]})
    raw = bytearray(path.read_bytes())
    raw[40:60] = b"\xff" * 20
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"a.parquet is damaged behind row 0: "):
        read_texts(path)

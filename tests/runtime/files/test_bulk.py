import contextlib
import json
import os
import resource
from dataclasses import make_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lanner.errors import InputError, OutputError
from lanner.files.bulk import Bulk, Outcome, chunks
from lanner.files.partial import PartialFile, directory_of
from lanner.files.row_files import open_rows
from lanner.files.rows import Columns, GivenRows
from lanner.files.vector_formats import FORMATS

#: Formats for vectors of one size.
DENSE = [suffix for suffix, format_ in FORMATS.items() if format_.holds_dense]
#: The whole text of a chunk affects each of its vectors, as the last bits of real ones may.
WIDTH = 3


class Killed(BaseException):
    """Stands for a kill, because nothing catches it."""


def encode(texts: list[str]) -> NDArray[np.float32]:
    total = sum(map(len, texts))
    return np.array([[len(text), total, 0.5] for text in texts], np.float32).reshape(-1, WIDTH)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lanner.files.bulk.CHUNK_ROWS", 2)


def write_jsonl(path: Path, texts: list[str | None]) -> Path:
    lines = [json.dumps({"text": text, "id": row}) for row, text in enumerate(texts)]
    path.write_text("\n".join(lines))
    return path


def run(source: Path, output: Path, **options: Any) -> Outcome:
    if output.suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="needs the parquet extra")
    kept = ["id"] if FORMATS[output.suffix].holds_columns else []
    with open_rows(source, Columns(["text"], kept)) as rows:
        return Bulk(rows, options.pop("encode", encode), output, **options).run()


def left(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_rows_are_encoded_in_chunks(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", ["a", "bb", "ccc"])
    outcome = run(source, tmp_path / "out.npy")
    assert np.load(tmp_path / "out.npy").tolist() == [[1, 3, 0.5], [2, 3, 0.5], [3, 3, 0.5]]
    assert (outcome.written.rows, outcome.written.vectors, outcome.earlier_rows) == (3, 3, 0)
    assert left(tmp_path) == ["in.jsonl", "out.npy"]


def test_a_chunk_of_long_texts_has_fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lanner.files.bulk.CHUNK_CHARACTERS", 5)
    found = chunks(GivenRows(["a", "b", "a" * 9, "a", "aaaa", "b"]))
    assert [[row.values["text"][:1] for row in chunk.rows] for chunk in found] == [
        ["a", "b"],
        ["a"],
        ["a", "a"],
        ["b"],
    ]


@pytest.mark.parametrize("suffix", DENSE)
def test_no_rows_at_all(tmp_path: Path, suffix: str) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", [])
    assert run(source, tmp_path / f"out{suffix}").written.vectors == 0
    assert left(tmp_path) == ["in.jsonl", f"out{suffix}"]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the operations of a run on files; at a count of 0, raise a kill."""
    count = [0]

    def counted(module: object, name: str) -> None:
        real = getattr(module, name)

        def step(*args: Any, **options: Any) -> Any:
            count[0] += 1
            if count[0] == 0:
                raise Killed
            result = real(*args, **options)
            count[0] += 1
            if count[0] == 0:
                if isinstance(result, int):
                    os.close(result)
                raise Killed
            return result

        monkeypatch.setattr(module, name, step)

    counted(os, "fsync")
    counted(Path, "replace")
    counted(Path, "mkdir")
    counted(os, "replace")
    counted(os, "open")
    monkeypatch.setattr(PartialFile, "remove", lambda _: None)  # a kill removes nothing
    return count


@pytest.mark.parametrize("suffix", DENSE)
def test_killed_at_any_step_it_goes_on_to_the_same_bytes(
    tmp_path: Path, suffix: str, steps: list[int]
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", ["a", "bb", None, "dddd", "e", "ff", "g"])
    output, whole = tmp_path / f"out{suffix}", tmp_path / f"whole{suffix}"
    steps[0] = 0
    run(source, whole, skips_bad_rows=True)
    total, earlier = steps[0], 0
    assert total > 20
    for step in range(1, total + 1):
        for remains in (directory_of(output).glob("*")), [output]:
            for path in remains:
                path.unlink(missing_ok=True)
        steps[0] = -step
        with pytest.raises(Killed):
            run(source, output, skips_bad_rows=True)
        steps[0] = 1
        earlier += run(source, output, skips_bad_rows=True).earlier_rows > 0
        assert output.read_bytes() == whole.read_bytes(), step
    assert earlier > total / 2


@pytest.mark.parametrize("at_once", [1, 2, 3, 1_024])
def test_rows_of_a_parquet_are_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    pa = pytest.importorskip("pyarrow", reason="needs the parquet extra")
    import pyarrow.parquet as pq  # noqa: PLC0415 (an extra)

    monkeypatch.setattr("lanner.files.parquet_rows._ROWS_AT_ONCE", at_once)
    monkeypatch.setattr("lanner.files.bulk.CHUNK_CHARACTERS", 6)
    texts = ["a", "bb", None, "dddd", "e", "ffffff", "g", "h", "i"]
    table = pa.table({"text": texts, "id": [1, None, 3, 4, None, 6, 7, 8, 9]})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=4)
    source, output, whole = (tmp_path / f"{name}.parquet" for name in ("in", "out", "whole"))
    total = run(source, whole, skips_bad_rows=True).written.rows
    assert total == len(texts)
    for rows in range(1, total + 1):
        with contextlib.suppress(Killed):
            run(source, output, skips_bad_rows=True, progressed=stop_after(rows))
        run(source, output, skips_bad_rows=True)
        assert output.read_bytes() == whole.read_bytes()


def test_a_kill_while_it_encodes(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", ["a", "bb", "ccc", "d"])
    calls: list[list[str]] = []

    def encode_twice(texts: list[str]) -> NDArray[np.float32]:
        if texts:
            calls.append(texts)
        if texts == ["ccc", "d"]:
            raise Killed
        return encode(texts)

    with pytest.raises(Killed):
        run(source, tmp_path / "out.npy", encode=encode_twice)
    assert left(tmp_path) == [".out.npy.partial", "in.jsonl"]
    outcome = run(source, tmp_path / "out.npy")
    assert (outcome.earlier_rows, outcome.written.rows) == (2, 4)
    assert calls == [["a", "bb"], ["ccc", "d"]]
    assert left(tmp_path) == ["in.jsonl", "out.npy"]


def test_a_bad_row_keeps_what_was_done_before_it(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    texts: list[str | None] = ["a", "bb", "ccc", "d", None, "f"]
    source = write_jsonl(tmp_path / "in.jsonl", texts)
    place = r"in.jsonl, line 5: expected an object with 'text' as text \(fix it, or .*\)"
    with pytest.raises(
        InputError, match=place + r"; the same command then continues behind row 4$"
    ):
        run(source, output)
    assert not output.exists()
    # A repaired row is not among the finished ones.
    write_jsonl(source, [*texts[:4], "eeeee", "f"])
    assert run(source, output).earlier_rows == 4
    run(source, tmp_path / "whole.jsonl")
    assert output.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_bad_row_in_the_first_chunk_leaves_nothing(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", ["a", None])
    with pytest.raises(InputError, match=r"line 2: .* with --on-bad-row skip\)$"):
        run(source, tmp_path / "out.npy")
    assert left(tmp_path) == ["in.jsonl"]


def test_bad_rows_that_are_skipped_are_counted(tmp_path: Path) -> None:
    texts: list[str | None] = ["a", None, None, None, None, None, "b", None, None]
    source = write_jsonl(tmp_path / "in.jsonl", texts)
    written = run(source, tmp_path / "out.npy", skips_bad_rows=True).written
    assert (written.rows, written.vectors, written.skipped) == (9, 2, 7)
    expected = "expected a JSON string or an object with 'text' as text"
    assert written.bad_rows == [f"{source}, line {n}: {expected}" for n in (2, 3, 4, 5, 6)]
    assert np.load(tmp_path / "out.npy").tolist() == [[1, 1, 0.5], [1, 1, 0.5]]


def stop_after(rows: int) -> Any:
    def stop(written: Any) -> None:
        if written.rows == rows:
            raise Killed

    return stop


def test_what_differs_from_the_earlier_run_is_refused(tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    source = write_jsonl(tmp_path / "in.jsonl", ["a", None, "c", "d"])
    fp32, int8 = {"variant": "fp32", "engine": "x"}, {"variant": "int8", "engine": "x"}
    with pytest.raises(Killed):
        run(source, output, identity=fp32, skips_bad_rows=True, progressed=stop_after(2))
    with pytest.raises(
        OutputError,
        match=r"/.out.npy.partial holds the first 2 rows of a run with another variant "
        r"\(fp32, now int8\): use the earlier options to continue, or --restart to discard them$",
    ):
        run(source, output, identity=int8, skips_bad_rows=True)
    with pytest.raises(
        InputError, match=r"the earlier run skipped 1 bad rows \(.*line 2: .*\): sk"
    ):
        run(source, output, identity=fp32)
    write_jsonl(source, ["x", None, "c", "d"])
    with pytest.raises(
        InputError,
        match=r"the first 2 rows of .*in.jsonl are not those that the earlier run encoded: use "
        r"the same input, or --restart to discard its results$",
    ):
        run(source, output, identity=fp32, skips_bad_rows=True)
    write_jsonl(source, ["a"])
    with pytest.raises(InputError, match=r"the first 2 rows of .* are not those"):
        run(source, output, identity=fp32, skips_bad_rows=True)
    assert left(tmp_path) == [".out.npy.partial", "in.jsonl"]  # no row was lost
    outcome = run(source, output, identity=int8, restart=True)
    assert (outcome.earlier_rows, outcome.written.rows) == (0, 1)
    assert left(tmp_path) == ["in.jsonl", "out.npy"]


def test_a_field_of_the_job_that_is_added_counts_by_itself(tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    source = write_jsonl(tmp_path / "in.jsonl", ["a", "b", "c", "d"])
    with pytest.raises(Killed):
        run(source, output, progressed=stop_after(2))
    later: Any = make_dataclass("LaterBulk", [("pieces", int, 1)], bases=(Bulk,), frozen=True)
    with (
        pytest.raises(OutputError, match=r"of a run with another pieces \(None, now 2\): use"),
        open_rows(source, Columns(["text"], [])) as rows,
    ):
        later(rows, encode, output, pieces=2).run()
    with pytest.raises(OutputError, match=r"of a run with another with_text \(True, now False\)"):
        run(source, output, with_text=False)


def test_rows_that_were_added_are_encoded_too(tmp_path: Path) -> None:
    source, output = write_jsonl(tmp_path / "in.jsonl", ["a", "bb"]), tmp_path / "out.npy"
    with pytest.raises(Killed):
        run(source, output, progressed=stop_after(2))
    with source.open("a") as file:
        file.write("\n")
        file.write(json.dumps({"text": "ccc"}))
    # The line that was last now ends differently.
    with pytest.raises(InputError, match=r"the first 2 rows of .* are not those"):
        run(source, output)


@pytest.mark.parametrize("suffix", DENSE)
def test_a_full_disk_is_one_sentence_and_keeps_what_was_done(tmp_path: Path, suffix: str) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", ["a" * 500] * 40)
    output, whole = tmp_path / f"out{suffix}", tmp_path / f"whole{suffix}"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    wide = 9_000 if FORMATS[suffix].holds_columns else 1_500

    def encode_wide(texts: list[str]) -> NDArray[np.float32]:
        return np.repeat(encode(texts), 16, axis=1)

    run(source, whole, encode=encode_wide)
    resource.setrlimit(resource.RLIMIT_FSIZE, (wide, before[1]))
    try:
        with pytest.raises(
            OutputError,
            match=rf"there is no room for .*out{suffix} \(File too large\): free space and run the "
            r"same command again, which continues behind row \d+$",
        ):
            run(source, output, encode=encode_wide)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not output.exists()
    assert run(source, output, encode=encode_wide).earlier_rows > 0
    assert output.read_bytes() == whole.read_bytes()

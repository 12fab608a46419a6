"""Bounds on files that somebody else wrote."""

import os
from pathlib import Path

import pytest

from lanner.artifact.bounded import MAX_DEPTH, MAX_VALUES, TooLargeError, parse_json, read_bounded


def test_a_file_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    with pytest.raises(TooLargeError, match=r"file has more than the 4 bytes that such a file may"):
        read_bounded(path, 4)


def test_a_file_that_says_less_than_it_holds() -> None:
    with pytest.raises(TooLargeError, match=r"has more than the 10 bytes"):
        read_bounded(Path("/proc/self/maps"), 10)


def test_a_fifo_and_a_directory_do_not_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match=r"^not a regular file$"):
        read_bounded(tmp_path / "fifo", 10)
    with pytest.raises(IsADirectoryError, match=r"Is a directory"):
        read_bounded(tmp_path, 10)


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}'])
def test_no_json(text: str) -> None:
    with pytest.raises(ValueError, match=r"it holds (NaN|-?Infinity), which is not JSON"):
        parse_json(text)


def test_nesting_ends_somewhere() -> None:
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert parse_json(deep[1:-1]) is not None
    with pytest.raises(ValueError, match=r"it is nested more than 64 levels deep"):
        parse_json(f'{{"a": {deep}}}')
    with pytest.raises(ValueError, match=r"it is nested too deeply"):
        parse_json("[" * 10**6)


@pytest.mark.parametrize("text", ["1e999", b"[-1e999]", '{"a": 1.5e400}'])
def test_numbers_that_become_infinite(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"it holds -?1\.?5?e\d+, which is not JSON"):
        parse_json(text)
    assert parse_json("[1e308, -0.0, 1e-400]") == [1e308, 0, 0]


@pytest.mark.parametrize(
    "text", ['"\\ud800"', b'["a", {"b\\uDC00": 1}]', '"\\udc00\\ud800"'], ids=ascii
)
def test_half_a_surrogate_pair(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"it holds half of a surrogate pair"):
        parse_json(text)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_half_a_surrogate_pair_as_bytes(encoding: str) -> None:
    with pytest.raises(UnicodeDecodeError, match=r"can't decode"):
        parse_json('"\ud800"'.encode(encoding, "surrogatepass"))


def test_whole_surrogate_pairs() -> None:
    assert parse_json(b'"\\ud83e\\udd85"') == "\U0001f985"


@pytest.mark.parametrize("pattern", ["0,", "[],", '{"":0},'])
def test_more_values_than_anybody_writes(pattern: str) -> None:
    with pytest.raises(ValueError, match=rf"it holds more than {MAX_VALUES:,} values"):
        parse_json("[" + pattern * MAX_VALUES + "0]")

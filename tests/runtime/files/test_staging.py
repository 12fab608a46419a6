import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lanner.errors import InputError, OutputExistsError
from lanner.files import staging
from lanner.files.staging import (
    require_other_file,
    require_output_file,
    staged_directory,
    staged_file,
)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    with staged_file(tmp_path / "out.txt") as file:
        file.write(b"whole")
        assert not (tmp_path / "out.txt").exists()
    assert (tmp_path / "out.txt").read_bytes() == b"whole"
    assert names(tmp_path) == ["out.txt"]


def test_a_file_that_failed_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "out.txt").write_text("old")
    with pytest.raises(KeyboardInterrupt, match="stop"), staged_file(tmp_path / "out.txt") as file:
        file.write(b"half")
        raise KeyboardInterrupt("stop")
    assert (tmp_path / "out.txt").read_text() == "old"
    assert names(tmp_path) == ["out.txt"]


def test_places_for_no_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a directory: choose the name of a file"):
        require_output_file(tmp_path)
    with pytest.raises(InputError, match=r"there is no directory .*/no for out.txt: make it first"):
        require_output_file(tmp_path / "no" / "out.txt")


def test_parents_that_were_made_go_with_a_failure(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"), staged_directory(tmp_path / "a" / "b" / "out"):
        raise ValueError("no")
    assert names(tmp_path) == []


def test_a_stop_between_the_renames_brings_the_old_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    rename = Path.rename

    def rename_then_stop(path: Path, target: Path) -> Path:
        moved = rename(path, target)
        if path.name == "out":
            raise KeyboardInterrupt("stop")
        return moved

    monkeypatch.setattr(staging, "_exchanged", lambda *_: False)
    monkeypatch.setattr(Path, "rename", rename_then_stop)
    with (
        pytest.raises(KeyboardInterrupt, match="stop"),
        staged_directory(tmp_path / "out", replace=True) as staged,
    ):
        (staged / "new").touch()
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["old"]


def test_there_is_no_moment_without_the_old_or_the_new(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "number").write_text("0")
    with ThreadPoolExecutor(1) as threads:
        stop = threading.Event()

        def read() -> set[str]:
            found = set()
            while not stop.is_set():
                # One look: the first directory may vanish between two looks.
                found.add("there" if output.exists() else "gone")
            return found

        reading = threads.submit(read)
        for number in range(1, 300):
            with staged_directory(output, replace=True) as staged:
                (staged / "number").write_text(str(number))
        stop.set()
        assert reading.result() == {"there"}
    assert (output / "number").read_text() == "299"
    assert names(tmp_path) == ["out"]


def test_a_file_system_that_exchanges_no_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    assert not staging._exchanged(tmp_path / "out", tmp_path / "gone")
    monkeypatch.setattr(staging, "_exchanged", lambda *_: False)
    with staged_directory(tmp_path / "out", replace=True) as staged:
        (staged / "new").touch()
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["new"]


def test_what_killed_runs_left_is_cleared_away(tmp_path: Path) -> None:
    for name in (".out.lanner-0a_b1c2d", ".out.lanner-zzzzzzzz", ".outer.lanner-0a_b1c2d"):
        (tmp_path / name / "new").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").touch()
    (tmp_path / ".out.lanner-link").symlink_to("elsewhere")
    with staged_directory(tmp_path / "out") as staged:
        (staged / "a").touch()
    with staged_file(tmp_path / "outer") as file:
        file.write(b"whole")
    assert names(tmp_path) == [".out.lanner-link", "elsewhere", "out", "outer"]
    assert names(tmp_path / "elsewhere") == ["file"]


def test_a_run_that_was_killed_between_the_renames_has_lost_nothing(tmp_path: Path) -> None:
    (tmp_path / ".out.lanner-0a_b1c2d" / "old").mkdir(parents=True)
    (tmp_path / ".out.lanner-0a_b1c2d" / "old" / "kept").touch()
    with (
        pytest.raises(ValueError, match="no"),
        staged_directory(tmp_path / "out", replace=True),
    ):
        raise ValueError("no")
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["kept"]


def test_two_runs_at_once_make_no_directory_together(tmp_path: Path) -> None:
    output = tmp_path / "out"
    message = rf"^another process writes {output}: wait for it, or choose another name$"
    with staged_directory(output) as staged:
        with pytest.raises(OutputExistsError, match=message), staged_directory(output):
            pass
        (staged / "a").touch()
    assert names(output) == ["a"]
    with staged_file(tmp_path / "file") as first, staged_file(tmp_path / "file") as second:
        first.write(b"first")
        second.write(b"second")
    assert (tmp_path / "file").read_bytes() == b"first"  # the one that finished last
    assert names(tmp_path) == ["file", "out"]


def test_others_may_read_the_file_as_the_umask_says(tmp_path: Path) -> None:
    with staged_file(tmp_path / "staged") as file:
        file.write(b"")
    (tmp_path / "plain").touch()
    assert (tmp_path / "staged").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_directory_appears_when_it_is_whole(tmp_path: Path) -> None:
    with staged_directory(tmp_path / "deep" / "out") as staged:
        (staged / "a").touch()
        assert not (tmp_path / "deep" / "out").exists()
    assert names(tmp_path / "deep" / "out") == ["a"]
    assert names(tmp_path / "deep") == ["out"]


def test_a_directory_that_failed_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    with (
        pytest.raises(ValueError, match="no"),
        staged_directory(tmp_path / "out", replace=True) as staged,
    ):
        (staged / "half").touch()
        raise ValueError("no")
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["old"]


def test_the_old_directory_goes_when_the_new_one_is_whole(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    with staged_directory(tmp_path / "out", replace=True) as staged:
        (staged / "new").touch()
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["new"]


def test_a_directory_in_use_is_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    with (
        pytest.raises(OutputExistsError, match=r"out was made by something else meanwhile: choose"),
        staged_directory(tmp_path / "out") as staged,
    ):
        (staged / "new").touch()
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["old"]


def test_a_directory_that_was_made_stays_for_what_else_is_in_it(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), staged_directory(tmp_path / "a" / "b" / "out"):
        (tmp_path / "a" / "note").write_text("x")
        raise KeyboardInterrupt
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["note"]


def test_an_output_is_not_what_is_read(tmp_path: Path) -> None:
    source, other = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.touch()
    require_other_file(other, source)
    other.symlink_to(source)
    with pytest.raises(
        InputError, match=r"/out.jsonl is the input: choose another name for the output$"
    ):
        require_other_file(other, source)


def test_what_takes_its_name_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, replace, rename = os.fsync, Path.replace, Path.rename

    def flushed(handle: int) -> None:
        order.append(Path(f"/proc/self/fd/{handle}").readlink().name.partition(".x")[0])
        fsync(handle)

    def named(path: Path, target: Path) -> Path:
        order.append(f"name {target.name}")
        return (rename if path.is_dir() else replace)(path, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", named)
    monkeypatch.setattr(Path, "rename", named)
    with staged_file(tmp_path / "out") as file:
        file.write(b"whole")
    assert [one.partition(".")[0] for one in order[1:]] == ["name out", tmp_path.name]
    order.clear()
    with staged_directory(tmp_path / "made") as staged:
        (staged / "inner").mkdir()
        (staged / "inner" / "file").touch()
    assert order == ["inner", "file", "new", "name made", tmp_path.name]

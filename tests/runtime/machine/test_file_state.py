import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lanner.machine.file_state import file_state, file_state_if_any


def in_place(path: Path) -> None:
    path.write_text("two")


def with_the_times_of_before(path: Path) -> None:
    status = path.stat()
    path.write_text("two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def by_another_file(path: Path) -> None:
    status = path.stat()
    other = path.with_name("other")
    other.write_text("two")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.rename(path)


@pytest.mark.parametrize("write", [in_place, with_the_times_of_before, by_another_file])
def test_another_content_of_the_same_length_is_another_state(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    os.utime(path, ns=(0, 0))
    before = file_state(path)
    assert file_state(path) == before
    write(path)
    assert file_state(path) != before


def test_a_link_has_the_state_of_its_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    link = tmp_path / "link"
    link.symlink_to("one")
    assert file_state(link) == file_state(tmp_path / "one") != file_state(tmp_path / "two")
    assert file_state(link).bytes == 3


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: '.*/none'$"):
        file_state(tmp_path / "none")
    assert file_state_if_any(tmp_path / "none") is None

import subprocess
import sys
from pathlib import Path

import pytest

from lanner.errors import OutputError
from lanner.files.partial import Written, directory_of, partial_file


def begin(output: Path, content: bytes, *, rows: int, vectors: int = 0) -> None:
    with partial_file(output) as partial:
        partial.recall({"v": 1}, restart=False)
        with partial.opened() as body:
            body.write(content)
            partial.commit(body, Written(rows=rows, vectors=vectors))


def test_what_was_committed_is_found_again(tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    begin(output, b"abc", rows=2, vectors=1)
    with partial_file(output) as partial:
        assert partial.has_rows
        partial.recall({"v": 1}, restart=False)
        assert partial.written == Written(rows=2, vectors=1, bytes=3)
        with partial.opened() as body:
            body.write(b"half of a chunk")
            body.flush()
    with partial_file(output) as partial:
        partial.recall({"v": 1}, restart=False)
        with partial.opened() as body:
            body.write(b"d")
            partial.commit(body, Written(rows=3))
        assert partial.body.read_bytes() == b"abcd"
        partial.remove()
    assert list(tmp_path.iterdir()) == []


def test_without_a_row_nothing_is_left(tmp_path: Path) -> None:
    with partial_file(tmp_path / "out.npy") as partial:
        partial.recall({}, restart=False)
        with partial.opened() as body:
            body.write(b"header")
    assert list(tmp_path.iterdir()) == []


def test_a_restart_discards(tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    begin(output, b"abc", rows=2)
    with partial_file(output) as partial:
        partial.recall({"v": 2}, restart=True)
        assert partial.written == Written()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_gets_back_what_does_not_count(tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    begin(output, b"abc", rows=2)
    with partial_file(output) as partial:
        partial.recall({"v": 1}, restart=False)
        with pytest.raises(OSError, match="full"), partial.opened() as body:
            body.write(b"half of a chunk")
            raise OSError("full")
        assert partial.body.read_bytes() == b"abc"


@pytest.mark.parametrize("damage", ["cut", "no json", "other keys"])
def test_damage_is_named(tmp_path: Path, damage: str) -> None:
    output = tmp_path / "out.npy"
    begin(output, b"abc", rows=2)
    directory = directory_of(output)
    if damage == "cut":
        (directory / "body").write_bytes(b"ab")
    else:
        (directory / "state.json").write_text("{" if damage == "no json" else '{"identity": {}}')
    message = r"/.out.npy.partial is damaged: give --restart to discard it$"
    with partial_file(output) as partial, pytest.raises(OutputError, match=message):
        partial.recall({"v": 1}, restart=False)
    assert directory.exists()


def test_a_state_without_its_body_is_discarded(tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    begin(output, b"abc", rows=2)
    (directory_of(output) / "body").rename(output)  # and then came a kill
    with partial_file(output) as partial:
        partial.recall({"v": 1}, restart=False)
        assert partial.written == Written()
        assert not partial.has_rows
    assert list(tmp_path.iterdir()) == [output]


def test_two_processes_do_not_write_the_same_output(tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    code = (
        "import pathlib, sys\nfrom lanner.files.partial import partial_file\n"
        "with partial_file(pathlib.Path(sys.argv[1])): print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(output)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with (
            pytest.raises(OutputError, match=r"another process writes .*out.npy: wait for it, or "),
            partial_file(output),
        ):
            pass
        other.kill()
    with partial_file(output):
        pass

import fcntl
import json
import os
import shutil
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
        # FIPS 180-2, appendix B.1
        digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        assert partial.written == Written(rows=2, vectors=1, bytes=3, sha256=digest)
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


@pytest.mark.parametrize("damage", ["cut", "changed", "no json", "other keys", "deep"])
def test_damage_is_named(tmp_path: Path, damage: str) -> None:
    output = tmp_path / "out.npy"
    begin(output, b"abc", rows=2)
    directory = directory_of(output)
    if damage in ("cut", "changed"):
        (directory / "body").write_bytes(b"ab" if damage == "cut" else b"abx")
    else:
        texts = {"no json": "{", "other keys": '{"identity": {}}', "deep": "[" * 10**6}
        (directory / "state.json").write_text(texts[damage])
    message = r"/.out.npy.partial is damaged: use --restart to discard it$"
    with partial_file(output) as partial, pytest.raises(OutputError, match=message):
        partial.recall({"v": 1}, restart=False)
    assert directory.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": "2"},
        {"rows": -1},
        {"rows": 10**30},
        {"rows": True},
        {"vectors": 3},
        {"rows": 0, "vectors": 0},  # which is still bytes
        {"skipped": 1},
        {"bytes": 10**12},
        {"bytes": 3.0},
        {"unchecked_bytes": -1},
        {"unchecked_bytes": 4},
        {"digest": None},
        {"bad_rows": ["a"]},
        {"bad_rows": [1], "skipped": 1},
        {"writer": []},
        {"more": 1},
    ],
    ids=str,
)
def test_a_state_that_no_run_writes(tmp_path: Path, changes: dict[str, object]) -> None:
    output = tmp_path / "out.npy"
    begin(output, b"abc", rows=2, vectors=1)
    path = directory_of(output) / "state.json"
    content = json.loads(path.read_text())
    content["written"] |= changes
    path.write_text(json.dumps(content))
    with (
        partial_file(output) as partial,
        pytest.raises(OutputError, match=r"/.out.npy.partial is damaged: use --restart to discard"),
    ):
        partial.recall({"v": 1}, restart=False)


@pytest.mark.parametrize(
    ("earlier", "difference"),
    [
        ({}, r"v \(None, now 1\)"),
        ({"v": 1, "w": None}, r"w \(None, now None\)"),
        ({"v": "x" * 10**6}, rf"v \({'x' * 100}, now 1\)"),
    ],
    ids=["without", "null", "long"],
)
def test_an_identity_of_other_keys(
    tmp_path: Path, earlier: dict[str, object], difference: str
) -> None:
    output = tmp_path / "out.npy"
    begin(output, b"abc", rows=2)
    path = directory_of(output) / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "identity": earlier}))
    with (
        partial_file(output) as partial,
        pytest.raises(OutputError, match=rf"the first 2 rows of a run with another {difference}:"),
    ):
        partial.recall({"v": 1}, restart=False)


def test_a_state_without_its_body_is_discarded(tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    begin(output, b"abc", rows=2)
    (directory_of(output) / "body").rename(output)  # and then the kill came
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


@pytest.mark.parametrize("name", ["lock", "body", "state.json", "state.new", "whole"])
@pytest.mark.parametrize("kind", ["symbolic", "hard", "dangling", "fifo", "directory"])
def test_a_prepared_link_is_not_followed(tmp_path: Path, name: str, kind: str) -> None:
    output, precious = tmp_path / "out.npy", tmp_path / "precious"
    precious.write_bytes(b"all that I have")
    directory = directory_of(output)
    directory.mkdir()
    if kind == "symbolic":
        (directory / name).symlink_to(precious)
    elif kind == "dangling":
        (directory / name).symlink_to(tmp_path / "new")
    elif kind == "hard":
        (directory / name).hardlink_to(precious)
    elif kind == "fifo":
        os.mkfifo(directory / name)
    else:
        (directory / name).mkdir()
    message = (
        rf"^{directory} is holding '{name}', which Lanner did not make: inspect and remove it, "
        "or choose another output$"
    )
    with pytest.raises(OutputError, match=message), partial_file(output):
        pass
    assert precious.read_bytes() == b"all that I have"
    assert not (tmp_path / "new").exists()
    assert [path.name for path in directory.iterdir()] == [name]


def test_a_directory_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "body").write_bytes(b"precious")
    directory_of(output).symlink_to(tmp_path / "mine")
    message = rf"^{directory_of(output)} is no directory: inspect and remove it, or choose"
    with pytest.raises(OutputError, match=message), partial_file(output):
        pass
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["body"]


def test_files_that_are_not_ours_are_not_removed(tmp_path: Path) -> None:
    directory = directory_of(tmp_path / "out.npy")
    directory.mkdir()
    (directory / "diary.txt").touch()
    with (
        pytest.raises(OutputError, match=r"is holding 'diary.txt', which Lanner did not make"),
        partial_file(tmp_path / "out.npy"),
    ):
        pass
    assert (directory / "diary.txt").exists()


def test_nobody_else_may_enter(tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    directory_of(output).mkdir(mode=0o777)
    begin(output, b"abc", rows=2)
    assert directory_of(output).stat().st_mode & 0o777 == 0o700
    modes = {path.stat().st_mode & 0o077 for path in directory_of(output).iterdir()}
    assert modes == {0}


@pytest.mark.parametrize("is_made_anew", [False, True])
def test_a_lock_whose_file_was_removed_keeps_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_made_anew: bool
) -> None:
    output, directory = tmp_path / "out.npy", directory_of(tmp_path / "out.npy")
    removed: list[Path] = []
    lock = fcntl.flock

    def flock(handle: int, operation: int) -> None:
        # Another process ends between the opening of the lock and the locking here.
        if not removed:
            removed.append(directory / "lock")
            shutil.rmtree(directory)
            if is_made_anew:  # by a third one
                directory.mkdir(mode=0o700)
                (directory / "lock").touch()
        lock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with partial_file(output) as partial:
        partial.recall({}, restart=False)
        assert (directory / "lock").exists()
        with partial.opened() as body:
            body.write(b"abc")
            partial.commit(body, Written(rows=1))
        assert partial.body.read_bytes() == b"abc"


def test_many_at_once_never_write_together(tmp_path: Path) -> None:
    output = tmp_path / "out.npy"
    code = (
        "import pathlib, sys\nfrom lanner.errors import OutputError\n"
        "from lanner.files.partial import partial_file\n"
        "mark = pathlib.Path(sys.argv[1]).with_name('mark')\n"
        "for _ in range(300):\n"
        "    try:\n"
        "        with partial_file(pathlib.Path(sys.argv[1])):\n"
        "            mark.touch(exist_ok=False); mark.unlink()\n"
        "    except OutputError as error:\n"
        "        assert 'another process writes' in str(error), error\n"
    )
    command = [sys.executable, "-c", code, str(output)]
    others = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [other.communicate()[1] for other in others] == ["", ""]
    assert list(tmp_path.iterdir()) == []

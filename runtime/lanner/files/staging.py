"""Atomic output: write next to the target, then rename."""

import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from lanner.errors import InputError, OutputExistsError
from lanner.machine import interruption

#: The errno values that mean "disk full".
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OLD = "old"
#: Flags of renameat2(2): paths are relative to the working directory; exchange two names.
_HERE, _RENAME_EXCHANGE = -100, 2


@contextmanager
def staged_file(path: Path, *, mode: int | None = None) -> Iterator[BinaryIO]:
    """Open a binary file that gets its name when the block succeeds, and is removed otherwise.

    Args:
        path: The final name.
        mode: The permissions of the file, or None for those that the umask leaves.

    Raises:
        InputError: The file cannot be written.
    """
    require_output_file(path)
    with work_beside(path) as work:
        staged = work / "new"
        with staged.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            staged.chmod(mode)
        staged.replace(path)
        flush(path.parent)


def require_output_file(path: Path) -> None:
    """Check that a file can be written; call it before long work.

    Raises:
        InputError: The directory is missing or read-only, or the path is a directory itself.
    """
    if path.is_dir():
        msg = f"{path} is a directory: choose the name of a file"
    elif not path.parent.is_dir():
        msg = f"there is no directory {path.parent} for {path.name}: make it first"
    elif not os.access(path.parent, os.W_OK):
        msg = f"the directory {path.parent} cannot be written to: choose another for {path.name}"
    else:
        return
    raise InputError(msg)


def require_other_file(output: Path, source: str | Path) -> None:
    """Check that the output is not the input.

    Raises:
        InputError: Both are the same file, perhaps by different names.
    """
    with suppress(OSError):  # one of them does not exist
        if output.samefile(source):
            msg = f"{output} is the input: choose another name for the output"
            raise InputError(msg)


@contextmanager
def staged_directory(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a directory that gets its name when the block succeeds, and is removed otherwise.

    Its parent directory is temporary: other temporary files may go there.

    Args:
        path: The final name.
        replace: Replace an existing directory in one step, where the file system can exchange two
            names, or else in two. An empty directory is always replaced.

    Raises:
        OutputExistsError: Another process writes the same directory, or has taken the name.
    """
    made_parents = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with work_beside(path, is_alone=True) as work:
            staged = work / "new"
            staged.mkdir()
            try:
                yield staged
                interruption.check()
                flush_tree(staged)
                _put_in_place(staged, path, replace=replace)
                flush(path.parent)
            finally:
                _bring_back(work, path)
    finally:
        if not path.exists():
            # A directory that is not empty stays.
            with suppress(OSError):
                for parent in made_parents:
                    parent.rmdir()


def _put_in_place(staged: Path, path: Path, *, replace: bool) -> None:
    if replace and path.exists():
        if _exchanged(staged, path):
            return
        path.rename(staged.with_name(_OLD))
    try:
        staged.rename(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        msg = f"{path} was made by something else meanwhile: choose another name"
        raise OutputExistsError(msg) from None


def _bring_back(work: Path, path: Path) -> None:
    """Undo the first of two renames, if the second did not come about."""
    if (work / _OLD).exists() and not path.exists():
        (work / _OLD).rename(path)


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange the names of two directories in one step; return False if that is impossible."""
    import ctypes  # noqa: PLC0415 (rarely needed)

    call = getattr(ctypes.CDLL(None), "renameat2", None)  # only Linux has it
    names = os.fsencode(one), os.fsencode(other)
    return call is not None and call(_HERE, names[0], _HERE, names[1], _RENAME_EXCHANGE) == 0


@contextmanager
def work_beside(path: Path, *, is_alone: bool = False) -> Iterator[Path]:
    """Yield a private directory beside a path, and remove those that killed runs left.

    Args:
        path: The path that will be written.
        is_alone: Refuse to run beside another process that writes the same path.

    Raises:
        OutputExistsError: Another process writes the path.
    """
    prefix = f".{path.name}.lanner-"
    with ExitStack() as held:
        with ExitStack() as briefly:
            if is_alone:  # if two begin at once, the second must see the first
                _locked(path.parent, briefly, is_waiting=True)
            for left in filter(_is_own, _named(path.parent, prefix)):
                with ExitStack() as tried:
                    is_left = _locked(left, tried)
                    if is_left:
                        _bring_back(left, path)
                        shutil.rmtree(left, ignore_errors=True)
                    elif is_left is False and is_alone:
                        msg = f"another process writes {path}: wait for it, or choose another name"
                        raise OutputExistsError(msg)
            work = _new_directory(path.parent, prefix, held)
        yield work


def _new_directory(parent: Path, prefix: str, held: ExitStack) -> Path:
    """Return a private directory that is locked, and removed when the stack is closed."""
    while True:
        work = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        held.callback(shutil.rmtree, work, ignore_errors=True)
        _locked(work, held, is_waiting=True)
        if work.exists():  # before the lock, another run may have taken it for one that was left
            return work


def _named(directory: Path, prefix: str) -> list[Path]:
    try:
        return [entry for entry in directory.iterdir() if entry.name.startswith(prefix)]
    except OSError:  # it may be writable but not readable
        return []


def _is_own(path: Path) -> bool:
    """Return whether a path is a directory, not a link, of this user."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _locked(directory: Path, held: ExitStack, *, is_waiting: bool = False) -> bool | None:
    """Lock a directory until the stack is closed; a kill unlocks it too.

    Returns:
        False if another process has locked it; None if it is gone, or cannot be locked.
    """
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        held.callback(os.close, handle)
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if is_waiting else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def flush_tree(path: Path) -> None:
    """Flush a directory and its content to the disk.

    A rename may reach the disk earlier than the content.
    """
    for entry in [*path.rglob("*"), path]:
        if not entry.is_symlink():
            flush(entry)


def flush(path: Path) -> None:
    """Flush a file, or the names in a directory, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def temporary_place() -> str:
    """Return the directory for temporary files, or the preferred one if none can be used."""
    try:
        return tempfile.gettempdir()
    except OSError:  # the search tries to write into each directory
        return os.environ.get("TMPDIR", "/tmp")  # noqa: S108 (to be named in an error)

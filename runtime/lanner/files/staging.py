"""Atomic output: write next to the target, then rename."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from lanner.errors import InputError, OutputExistsError
from lanner.machine import interruption

#: The errno values that mean "disk full".
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    staged = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        staged.chmod(0o666 & ~_umask() if mode is None else mode)
        staged.replace(path)
        flush(path.parent)
    finally:
        staged.unlink(missing_ok=True)


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
        replace: Replace an existing directory, which is removed after the new one is complete. An
            empty directory is always replaced.

    Raises:
        OutputExistsError: Another process has taken the name meanwhile.
    """
    made_parents = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    staged, old = work / "new", work / "old"
    try:
        staged.mkdir()
        yield staged
        interruption.check()
        flush_tree(staged)
        if replace and path.exists():
            path.rename(old)
        try:
            staged.rename(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            msg = f"{path} was made by something else meanwhile: choose another name"
            raise OutputExistsError(msg) from None
        flush(path.parent)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)  # stopped between the two renames
        shutil.rmtree(work, ignore_errors=True)
        if not path.exists():
            # A directory that is not empty stays.
            with suppress(OSError):
                for parent in made_parents:
                    parent.rmdir()


def flush_tree(path: Path) -> None:
    """Flush a directory with all that is in it to the disk: a rename may come there earlier."""
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


def _umask() -> int:
    # The umask can only be read by setting it; temporary files are private whatever the umask.
    mask = os.umask(0)
    os.umask(mask)
    return mask

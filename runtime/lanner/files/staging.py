"""Writing beside and renaming: an output is either whole or not there."""

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

#: What an `OSError` is of where there is no room for a file.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def staged_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes its name when the block ends well, and else is removed.

    Raises:
        InputError: No file can be written there.
    """
    require_output_file(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    staged = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        staged.chmod(0o666 & ~_umask())
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)


def require_output_file(path: Path) -> None:
    """Refuses a place where no file can be written; to be called before long work.

    Raises:
        InputError: Its directory is missing or read-only, or it is a directory itself.
    """
    if path.is_dir():
        msg = f"{path} is a directory: give the name of a file"
    elif not path.parent.is_dir():
        msg = f"there is no directory {path.parent} for {path.name}: make it first"
    elif not os.access(path.parent, os.W_OK):
        msg = f"the directory {path.parent} cannot be written to: choose another for {path.name}"
    else:
        return
    raise InputError(msg)


def require_other_file(output: Path, source: str | Path) -> None:
    """Refuses to write a file over what is read.

    Raises:
        InputError: Both are the same file, by whatever names.
    """
    with suppress(OSError):  # one of them is not there
        if output.samefile(source):
            msg = f"{output} is what is read: give another name for the output"
            raise InputError(msg)


@contextmanager
def staged_directory(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A directory that takes its name when the block ends well, and else is removed.

    Beside it, in its parent, is room for what is needed meanwhile; it goes when the block ends.

    Args:
        path: The name it takes.
        replace: Whether a directory of that name gives way; it goes only after the new one is
            whole. Unasked, an empty directory does too.

    Raises:
        OutputExistsError: Something took the name meanwhile.
    """
    made_parents = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    staged, old = work / "new", work / "old"
    try:
        staged.mkdir()
        yield staged
        interruption.check()
        if replace and path.exists():
            path.rename(old)
        try:
            staged.rename(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            msg = f"{path} was made by something else meanwhile: choose another name"
            raise OutputExistsError(msg) from None
    finally:
        if old.exists() and not path.exists():
            old.rename(path)  # stopped between the two renames
        shutil.rmtree(work, ignore_errors=True)
        if not path.exists():
            # Unless something else is in them by now.
            with suppress(OSError):
                for parent in made_parents:
                    parent.rmdir()


def _umask() -> int:
    # The mask can only be read by setting it; temporary files are made private regardless of it.
    mask = os.umask(0)
    os.umask(mask)
    return mask

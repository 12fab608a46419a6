"""Writing beside and renaming: an output is either whole or not there."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def staged_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes its name when the block ends well, and else is removed."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    staged = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        staged.chmod(0o666 & ~_umask())
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)


@contextmanager
def staged_directory(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A directory that takes its name when the block ends well, and else is removed.

    Args:
        path: The name it takes.
        replace: Whether a directory of that name gives way; it goes only after the new one is
            whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    staged, old = work / "new", work / "old"
    try:
        staged.mkdir()
        yield staged
        if replace and path.exists():
            path.rename(old)
        try:
            staged.rename(path)
        except BaseException:
            if old.exists():
                old.rename(path)
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _umask() -> int:
    # The mask can only be read by setting it; temporary files are made private regardless of it.
    mask = os.umask(0)
    os.umask(mask)
    return mask

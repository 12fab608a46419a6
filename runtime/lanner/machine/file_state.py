"""The state of a file, which tells it from others and from its earlier content, unread."""

from pathlib import Path
from typing import NamedTuple


class FileState(NamedTuple):
    """The facts of a file of which any change of its content changes at least one.

    Attributes:
        device: The disk.
        number: The file's number there, which another file in its place does not have.
        bytes: Its length.
        modified_ns: The time of its content, which programs that copy files may set.
        changed_ns: The time of the last change of all that, which no program sets.
    """

    device: int
    number: int
    bytes: int
    modified_ns: int
    changed_ns: int


def file_state(path: Path) -> FileState:
    """Return the state of a file, or of that to which a link leads.

    Raises:
        OSError: There is no such file.
    """
    status = path.stat()
    return FileState(
        device=status.st_dev,
        number=status.st_ino,
        bytes=status.st_size,
        modified_ns=status.st_mtime_ns,
        changed_ns=status.st_ctime_ns,
    )


def file_state_if_any(path: Path) -> FileState | None:
    """Return the state of a file, or None if there is no such file."""
    try:
        return file_state(path)
    except OSError:
        return None

"""The processes of this machine."""

from collections.abc import Callable
from pathlib import Path


def processes(is_one: Callable[[bytes], bool]) -> list[int]:
    """Return the processes whose command line, with a zero byte after each argument, is one."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:  # it has just ended
            continue
        if is_one(command):
            found.append(int(path.parent.name))
    return found

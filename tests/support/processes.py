"""The processes of this machine."""

import os
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


def own_processes(is_one: Callable[[bytes], bool]) -> list[int]:
    """Return those of them that this process has started, or that those have started."""
    return [process for process in processes(is_one) if os.getpid() in _ancestors(process)]


def _ancestors(process: int) -> list[int]:
    found = []
    while process:
        try:
            stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:  # it has just ended
            break
        process = int(stat.rpartition(")")[2].split()[1])
        found.append(process)
    return found

"""The figures of this process: time, memory, files and threads, from Linux."""

import os
import resource
from contextlib import suppress
from functools import cache
from pathlib import Path

from lanner.monitoring.record import Record
from lanner.service.metrics import families

_PROC = Path("/proc/self")


def write_process(record: Record) -> None:
    """Write the figures of this process into a record; without `/proc` only its CPU time."""
    times = os.times()
    record.add(families.CPU_SECONDS, times.user + times.system)
    with suppress(OSError, ValueError, IndexError):
        # The name of the program may hold spaces, and stands in parentheses.
        fields = (_PROC / "stat").read_text().rpartition(")")[2].split()
        record.set(families.THREADS, int(fields[17]))
        record.set(families.START, _boot_s() + int(fields[19]) / os.sysconf("SC_CLK_TCK"))
        record.set(families.VIRTUAL, int(fields[20]))
        record.set(families.RESIDENT, int(fields[21]) * resource.getpagesize())
        record.set(families.OPEN_FILES, len(os.listdir(_PROC / "fd")) - 1)  # noqa: PTH208 (faster)
        record.set(families.MOST_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


@cache
def _boot_s() -> int:
    """Return the seconds since the epoch at which this machine started."""
    text = Path("/proc/stat").read_text()
    return int(text.partition("\nbtime ")[2].split(maxsplit=1)[0])

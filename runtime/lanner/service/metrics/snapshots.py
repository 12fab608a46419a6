"""The counts of all workers: each writes its own to a file, and any worker can add them up.

Every worker reports the sum over all files, its own included. So a total that one worker has shown
never exceeds a later total of another; Prometheus would take that for a restart.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lanner.errors import MissingExtraError
from lanner.monitoring.record import Record

try:
    import msgspec
except ImportError as error:
    what = "the service"
    raise MissingExtraError(what, "service", "msgspec") from error


class Snapshots:
    """The records of all workers, in a directory that they share.

    Args:
        directory: The directory, new for each start of the service.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def write(self, record: Record) -> None:
        """Write the record of this process in place of its last one."""
        path = self._directory / f"{os.getpid()}.figures"
        part = path.with_suffix(".part")
        # The directory is removed with the service, perhaps before a worker ends.
        with suppress(OSError):
            part.write_bytes(msgspec.msgpack.encode(record))
            part.replace(path)

    def read(self) -> Iterator[tuple[Record, bool]]:
        """Yield the last record of each process, and whether the process is alive."""
        for path in sorted(self._directory.glob("*.figures")):
            record = msgspec.msgpack.decode(path.read_bytes(), type=Record)
            yield record, _is_alive(int(path.stem))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True

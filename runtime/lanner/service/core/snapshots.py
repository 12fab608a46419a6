"""The counts of all workers: each writes its own to a file, and any worker can add them up.

Every worker reports the sum over all files, its own included. So a total that one worker has shown
never exceeds a later total of another; Prometheus would take that for a restart.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from lanner.errors import MissingExtraError

try:
    import msgspec
except ImportError as error:
    what = "the service"
    raise MissingExtraError(what, "service", "msgspec") from error

Labels = tuple[tuple[str, str], ...]


class Snapshot(msgspec.Struct):
    """The counts of a worker at a moment.

    Attributes:
        pid: Its process.
        counts: Counters: the name, the labels and the value of each.
        durations: By route, the numbers of requests up to each limit, and the sum of seconds.
        gauges: The current values.
    """

    pid: int
    counts: list[tuple[str, Labels, float]]
    durations: dict[str, list[float]]
    gauges: dict[str, float]


def total(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Return the sums of snapshots; the gauges of processes that have ended do not count."""
    counts: dict[tuple[str, Labels], float] = {}
    durations: dict[str, list[float]] = {}
    gauges: dict[str, float] = {}
    for one in snapshots:
        for name, labels, value in one.counts:
            counts[name, labels] = counts.get((name, labels), 0.0) + value
        for route, found in one.durations.items():
            before = durations.get(route, [0.0] * len(found))
            durations[route] = [a + b for a, b in zip(before, found, strict=True)]
        for name, value in one.gauges.items():
            gauges[name] = gauges.get(name, 0.0) + (value if _is_alive(one.pid) else 0.0)
    listed = [(name, labels, value) for (name, labels), value in counts.items()]
    return Snapshot(0, listed, durations, gauges)


class Snapshots:
    """The snapshots of all workers, in a directory that they share.

    Args:
        directory: The directory, new for each start of the service.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def write(self, snapshot: Snapshot) -> None:
        """Write the snapshot of this process in place of its last one."""
        path = self._directory / f"{snapshot.pid}.figures"
        part = path.with_suffix(".part")
        # The directory is removed with the service, perhaps before a worker ends.
        with suppress(OSError):
            part.write_bytes(msgspec.json.encode(snapshot))
            part.replace(path)

    def read(self) -> list[Snapshot]:
        """Return the last snapshot of each process, also of those that have ended."""
        paths = sorted(self._directory.glob("*.figures"))
        return [msgspec.json.decode(path.read_bytes(), type=Snapshot) for path in paths]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True

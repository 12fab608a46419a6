"""The CPU quota of the process: the smallest of its control group and of the groups around it.

https://docs.kernel.org/admin-guide/cgroup-v2.html (cpu.max) and
https://docs.kernel.org/scheduler/sched-bwc.html (cpu.cfs_quota_us of version 1).
"""

from collections.abc import Iterator
from pathlib import Path

_SYSTEM = Path("/")


def quota_cores(system: Path = _SYSTEM) -> int | None:
    """Return the whole cores of the CPU quota, at least 1; None without a quota.

    Args:
        system: The root of the file system.
    """
    quotas = [quota for group in _groups(system) if (quota := _quota(group)) is not None]
    return max(1, int(min(quotas))) if quotas else None


def _groups(system: Path) -> Iterator[Path]:
    """Yield the control group of the process and all around it, as far as they are visible."""
    mounted = system / "sys/fs/cgroup"
    # A container often sees its own group as the root, whatever /proc says.
    paths = {mounted: "/", mounted / "cpu": "/", mounted / "cpu,cpuacct": "/"}
    try:
        lines = (system / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            paths |= {mounted: path, mounted / "unified": path}
        elif "cpu" in controllers.split(","):
            paths |= {mounted / "cpu": path, mounted / controllers: path}
    for root, path in paths.items():
        # A path that leads out of the visible groups begins with "/..".
        inner = Path(*(part for part in Path(path).parts if part not in ("/", "..")))
        yield from (root / group for group in (inner, *inner.parents))


def _quota(group: Path) -> float | None:
    """Return the cores of the quota of one group, or None."""
    try:
        quota, period = (group / "cpu.max").read_text().split()  # "max 100000" without a quota
    except (OSError, ValueError):
        try:
            quota = (group / "cpu.cfs_quota_us").read_text()  # -1 without a quota
            period = (group / "cpu.cfs_period_us").read_text()
        except OSError:
            return None
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return cores if cores > 0 else None

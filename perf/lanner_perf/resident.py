"""How much memory this process has, as the kernel counts it. Only the standard library."""

from pathlib import Path

_STATUS = Path("/proc/self/status")


def resident_mb() -> float:
    """Resident memory now, in megabytes of a million bytes."""
    return _read("VmRSS:")


def peak_resident_mb() -> float:
    """The most resident memory so far, to a few parts in ten thousand, as the kernel counts it.

    Not `resource.getrusage`: its figure is that of the starting process where that was larger.
    """
    return _read("VmHWM:")


def _read(name: str) -> float:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024 / 1e6  # the kernel's "kB" are 1,024 bytes

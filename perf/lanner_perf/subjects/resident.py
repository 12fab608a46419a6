"""The resident memory of this process, read from the kernel with the standard library."""

from pathlib import Path

_STATUS, _ROLLUP = Path("/proc/self/status"), Path("/proc/self/smaps_rollup")
_REFERENCES = Path("/proc/self/clear_refs")


def resident_mb() -> float:
    """Return the resident memory now, in MB (a million bytes)."""
    return _read(_STATUS, "VmRSS:")


def peak_resident_mb() -> float:
    """Return the largest resident memory so far in MB, as the kernel counts it.

    The figure is exact to a few parts in ten thousand. `resource.getrusage` is not used: a child
    process inherits its figure from the parent if that was larger.
    """
    return _read(_STATUS, "VmHWM:")


def restart_peak() -> None:
    """Reset the peak that `peak_resident_mb` returns (proc(5): clear_refs)."""
    _REFERENCES.write_text("5")


def proportional_mb() -> float:
    """Return the resident memory in MB, counting a page that is mapped several times once.

    Plain resident memory counts such a page each time, be it mapped by one process or by several.
    """
    return _read(_ROLLUP, "Pss:")


def _read(file: Path, name: str) -> float:
    line = next(line for line in file.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024 / 1e6  # the kernel's "kB" are 1,024 bytes

"""The resident memory of this process, counted by the kernel. Only the standard library."""

from pathlib import Path

_STATUS, _ROLLUP = Path("/proc/self/status"), Path("/proc/self/smaps_rollup")
_REFERENCES = Path("/proc/self/clear_refs")


def resident_mb() -> float:
    """Resident memory now, in megabytes of a million bytes."""
    return _read(_STATUS, "VmRSS:")


def peak_resident_mb() -> float:
    """The most resident memory so far, to a few parts in ten thousand, as the kernel counts it.

    Not `resource.getrusage`: its figure is that of the starting process where that was larger.
    """
    return _read(_STATUS, "VmHWM:")


def restart_peak() -> None:
    """Reset the peak that `peak_resident_mb` returns (proc(5): clear_refs)."""
    _REFERENCES.write_text("5")


def proportional_mb() -> float:
    """Resident memory, in which a page that is mapped several times counts once.

    Resident memory as such counts it each time, be it in this process or in several.
    """
    return _read(_ROLLUP, "Pss:")


def _read(file: Path, name: str) -> float:
    line = next(line for line in file.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024 / 1e6  # the kernel's "kB" are 1,024 bytes

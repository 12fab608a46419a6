"""Memory bandwidth, by the method of STREAM.

J. D. McCalpin, "Memory Bandwidth and Machine Balance in Current High Performance Computers", IEEE
TCCA Newsletter, December 1995: simple loops over arrays that are much larger than the last level of
cache, counting each byte that a loop names. Copy is a = b, triad is a = b + s c. A third loop only
reads, as a model reads its weights.

This module runs in a process of its own, and imports only the standard library until then.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

_CPUS = Path("/sys/devices/system/cpu")
_UNITS = {"K": 1024, "M": 1024**2, "G": 1024**3}
_LEAST_ARRAY_BYTES = 64 * 1024**2
_ITEM_BYTES = 4

Loops = dict[str, tuple[list[Callable[[], object]], float]]


def stream_loops(threads: int, array_bytes: int) -> Loops:
    """Return the calls of each loop, one for each thread on its own part, and their bytes.

    The bytes are those of one call.
    """
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)
    items = max(1, array_bytes // _ITEM_BYTES // threads)
    # Write every array once, so that all its pages exist.
    parts = [[torch.ones(items) for _ in range(3)] for _ in range(threads)]
    size = float(items * _ITEM_BYTES)
    return {
        "copy": ([partial(a.copy_, b) for a, b, _ in parts], 2 * size),
        "triad": ([partial(torch.add, b, c, alpha=3.0, out=a) for a, b, c in parts], 3 * size),
        "read": ([b.sum for _, b, _ in parts], size),
    }


def reading(threads: int, read_bytes: int) -> tuple[list[Callable[[], object]], float]:
    """Return calls that each read a part of that many bytes, and the bytes of one call."""
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)
    items = max(1, read_bytes // _ITEM_BYTES // threads)
    return [torch.ones(items).sum for _ in range(threads)], float(items * _ITEM_BYTES)


def stream_array_bytes(cache_bytes: int) -> int:
    """Return the array size for STREAM: four times the caches, or a quarter of memory if less."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(max(_LEAST_ARRAY_BYTES, 4 * cache_bytes), memory_bytes // 4 // 3)


def last_cache_bytes(cpus: Path = _CPUS) -> int:
    """Return the total size of the last-level caches of the allowed cores; 0 if it is unknown."""
    sizes: dict[str, int] = {}
    for core in os.sched_getaffinity(0):
        levels = sorted(
            (int((index / "level").read_text()), index)
            for index in (cpus / f"cpu{core}" / "cache").glob("index*")
        )
        if levels:
            last = levels[-1][1]
            size = (last / "size").read_text().strip()
            shared_by = (last / "shared_cpu_list").read_text()
            sizes[shared_by] = int(size[:-1]) * _UNITS[size[-1]]
    return sum(sizes.values())

"""The bounds for untrusted input: it may cause only errors of Lanner, in little memory and time."""

import faulthandler
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings

from lanner.errors import LannerError

#: The most that one case may take. CPU seconds, because other tests may keep the machine busy; and
#: seconds of the clock, after which the case counts as endless.
MOST_CPU_S, MOST_S = 3.0, 60.0
MOST_BYTES = 300 * 2**20
MOST_MESSAGE = 5_000
_ADDRESS_SPACE = 3 * 2**30


def cases(count: int) -> settings:
    """Return settings for this many cases of hypothesis, the same in each run."""
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )


@contextmanager
def at_most_cpu_s(seconds: float) -> Iterator[None]:
    """Fail if the block takes more time of a core, which other programs do not lengthen."""
    start = time.process_time()
    yield
    took = time.process_time() - start
    assert took < seconds, f"{took:.1f} s of a core"


@contextmanager
def limited_memory() -> Iterator[None]:
    """Limit the memory that this process may allocate in the block to some gigabytes more.

    So a decompression bomb fails a test and does not take the machine down.
    """
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + _ADDRESS_SPACE, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def use(action: Callable[[], object]) -> LannerError | None:
    """Do something with untrusted input; return the error.

    Raises:
        AssertionError: It takes too much time or memory, or its message is too long.
        Exception: Any error that is not a `LannerError`.
    """
    before = _peak_bytes(reset=True)
    failed = None
    faulthandler.dump_traceback_later(MOST_S, exit=True)
    try:
        with at_most_cpu_s(MOST_CPU_S):
            try:
                action()
            except LannerError as error:
                failed = error
    finally:
        faulthandler.cancel_dump_traceback_later()
    grown = _peak_bytes() - before
    assert grown < MOST_BYTES, f"{grown / 2**20:.0f} MB"
    assert len(str(failed)) < MOST_MESSAGE, f"{len(str(failed)):,} characters: {str(failed)[:200]}"
    return failed


def _peak_bytes(*, reset: bool = False) -> int:
    """Return the peak memory of this process since the last reset (proc(5): clear_refs)."""
    if reset:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

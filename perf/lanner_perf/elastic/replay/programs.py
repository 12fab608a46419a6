"""Programs of others: found, started, awaited and ended."""

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lanner.errors import BenchmarkError

#: Where `make monitoring` and `make replay` put programs of Debian's packages.
_ROOTS = (Path("build/monitoring/root"), Path("build/replay/root"))
_READY_S = 60.0


def program(name: str) -> str:
    """Return the path of a program.

    Raises:
        BenchmarkError: It is not installed.
    """
    for root in _ROOTS:
        for folder in ("usr/bin", "usr/sbin"):
            if (path := root / folder / name).is_file():
                return str(path.resolve())
    found = shutil.which(name)
    if found is None:
        msg = f"the replay needs {name}: install it, or run 'make replay' on Debian"
        raise BenchmarkError(msg)
    return found


def free_port() -> int:
    """Return a port that is free at the moment."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def answers(url: str, timeout_s: float = 1.0) -> bool:
    """Return whether an address answers with success."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s):  # noqa: S310 (of this machine)
            return True
    except OSError:
        return False


@contextmanager
def running(
    command: Sequence[str], log: Path, *, ready: str | None = None, socket_path: Path | None = None
) -> Iterator[None]:
    """Run a program until the end of the block, which begins when it is ready.

    Args:
        command: The command.
        log: The file of its output.
        ready: An address that answers when it is ready.
        socket_path: A socket that exists when it is ready.

    Raises:
        BenchmarkError: It ended before it was ready.
    """
    # Programs of unpacked packages have their libraries beside them.
    libraries = sorted(str(one) for one in Path(command[0]).parents[1].glob("lib/*-linux-gnu"))
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)}
    with (
        log.open("wb") as file,
        subprocess.Popen(command, stdout=file, stderr=file, env=environment) as process,
    ):
        try:
            deadline_s = time.monotonic() + _READY_S
            while not (
                (ready is None or answers(ready)) and (socket_path is None or socket_path.exists())
            ):
                if process.poll() is not None or time.monotonic() > deadline_s:
                    msg = f"{command[0]} does not run: {log.read_text(errors='replace')[-500:]}"
                    raise BenchmarkError(msg)
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            process.wait()

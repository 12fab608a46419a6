"""The stubs of a Triton server: the processes in which its Python backend runs models.

A stub that was killed is not replaced, and the server and its models still count as ready
(triton-inference-server/server #7862, #8604; seen with 2.51).
"""

import re
import time
from pathlib import Path
from typing import NamedTuple

_PROCESSES = Path("/proc")
#: The beginning of ``/proc/PID/stat``, by proc_pid_stat(5): the name (15 characters), the state and
#: the parent of a stub.
_STAT = re.compile(rb"\d+ \(triton_python_b\w*\) (\S) (\d+) ")
_ENDED = b"Z"
#: The server takes note within milliseconds of a stub that it ended itself, when a model is
#: unloaded; on a machine that is overloaded it may take longer.
_NOTE_S = 2.0


class Stub(NamedTuple):
    """One stub.

    Attributes:
        pid: Its process id.
        model: The model that it runs, ``"minilm version 1"``; empty if unknown.
        has_ended: True if it ended, and the server has not asked how.
    """

    pid: int
    model: str
    has_ended: bool


def stubs(server: int) -> list[Stub]:
    """Return the stubs of a server; none where there is no ``/proc``.

    Args:
        server: The server's process id.
    """
    found = []
    for stat in _PROCESSES.glob("[0-9]*/stat"):
        try:
            matched = _STAT.match(stat.read_bytes())
            # A stub's first argument is REPOSITORY/MODEL/VERSION/model.py; one that ended has none.
            arguments = stat.with_name("cmdline").read_bytes().split(b"\0") if matched else []
        except OSError:  # it has just gone
            continue
        if matched and int(matched[2]) == server:
            parts = (
                Path(arguments[1].decode(errors="replace")).parts[-3:-1] if arguments[1:] else ()
            )
            found.append(Stub(int(stat.parent.name), " version ".join(parts), matched[1] == _ENDED))
    return found


class StubWatch:
    """Finds stubs that died.

    Args:
        server: The server's process id.
    """

    def __init__(self, server: int) -> None:
        self._server = server
        self._models: dict[int, str] = {}
        self._ended: dict[int, float] = {}

    def dead(self) -> list[str]:
        """Return the models whose stubs ended more than two seconds ago, unnoticed, sorted.

        Calls before the last one count: one call alone finds none.
        """
        found, now = stubs(self._server), time.monotonic()
        self._models |= {stub.pid: stub.model for stub in found if stub.model}
        ended = [stub.pid for stub in found if stub.has_ended]
        self._ended = {pid: self._ended.get(pid, now) for pid in ended}
        dead = [pid for pid, since in self._ended.items() if now - since > _NOTE_S]
        return sorted({self._models.get(pid, "a model") for pid in dead})

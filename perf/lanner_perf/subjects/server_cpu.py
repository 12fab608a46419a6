"""The process of a Triton server on this machine.

Only the standard library is imported until the process is searched for.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

_PROGRAM = "tritonserver"


def is_here(host: str) -> bool:
    """Return whether a host is this machine: only its own addresses can be bound to."""
    name = host.rpartition(":")[0].strip("[]")
    with suppress(OSError):
        for family, kind, _, _, address in socket.getaddrinfo(name, 0, type=socket.SOCK_DGRAM):
            with suppress(OSError), socket.socket(family, kind) as probe:
                probe.bind(address)
                return True
    return False


def server_process(host: str) -> Any:
    """The tritonserver that listens there, as psutil has it; None where this user sees none.

    It is not to be seen on another machine, in a container, or where another user runs it.

    Args:
        host: The name and the port for gRPC or HTTP.
    """
    import psutil  # noqa: PLC0415 (an extra)

    if not is_here(host):
        return None
    port = int(host.rpartition(":")[2])
    for one in psutil.net_connections("tcp"):
        if one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.pid is not None:
            with suppress(psutil.Error):
                process = psutil.Process(one.pid)
                if process.name() == _PROGRAM:
                    return process
    return None


def cpu_s(process: Any) -> float:
    """The CPU time of a process of psutil, without that of its children."""
    times = process.cpu_times()
    return float(times.user + times.system)

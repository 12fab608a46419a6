"""The process of a Triton server on this machine, and its CPU time.

This module imports only the standard library until it searches for the process.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

_PROGRAM = "tritonserver"


def is_here(host: str) -> bool:
    """Return True if a host is this machine, which can bind only to its own addresses."""
    name = host.rpartition(":")[0].strip("[]")
    with suppress(OSError):
        for family, kind, _, _, address in socket.getaddrinfo(name, 0, type=socket.SOCK_DGRAM):
            with suppress(OSError), socket.socket(family, kind) as probe:
                probe.bind(address)
                return True
    return False


def server_process(host: str) -> Any:
    """Return the process of the tritonserver that listens at a host; None if none is found.

    A server on another machine, in a container or of another user is not visible.

    Args:
        host: The name and the port for gRPC or HTTP.

    Returns:
        A `psutil.Process`, or None.
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
    """Return the CPU seconds of a process of psutil, without those of its children."""
    times = process.cpu_times()
    return float(times.user + times.system)

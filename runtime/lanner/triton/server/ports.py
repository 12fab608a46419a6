"""The ports of a Triton server, checked before it starts."""

import errno
import socket
from contextlib import ExitStack

from lanner.errors import ServerError, UsageError

DEFAULT_PORTS = {"http": 8000, "grpc": 8001, "metrics": 8002}


def choose_ports(asked: dict[str, int], addresses: dict[str, str]) -> dict[str, int]:
    """Choose free ports for those that are 0, and check the others.

    Args:
        asked: The ports by their names.
        addresses: The address that each listens on.

    Raises:
        UsageError: Two ports are the same.
        ServerError: A port is taken, or may not be used.
    """
    given = [port for port in asked.values() if port]
    if len(set(given)) < len(given):
        ports = ", ".join(f"{name} {port}" for name, port in asked.items())
        msg = f"{', '.join(asked)} need different ports, not {ports}"
        raise UsageError(msg)
    chosen = {}
    with ExitStack() as held:  # hold all until the last is known, so that no two are the same
        for name, port in asked.items():
            try:
                tried = held.enter_context(_bound(addresses[name], port))
            except OSError as error:
                remedy = f"choose another with --{name}-port, or 0 for any free port"
                if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                    remedy = "this machine has no such address"
                msg = (
                    f"port {port} of {addresses[name]} cannot be used for {name} "
                    f"({error.strerror}): {remedy}"
                )
                raise ServerError(msg) from None
            chosen[name] = tried.getsockname()[1]
    return chosen


def _bound(address: str, port: int) -> socket.socket:
    """Return a socket that is bound in the same way as by Triton.

    Raises:
        OSError: The address does not exist, or the port is taken.
    """
    found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, _, _, place = found[0]
    tried = socket.socket(family, kind)
    try:
        # A port that a server has just released is free, even in TIME_WAIT.
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(port != 0))
        tried.bind(place)
    except BaseException:
        tried.close()
        raise
    return tried

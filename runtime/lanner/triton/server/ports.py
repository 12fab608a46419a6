"""The ports of a Triton server, tried before it starts."""

import socket
from contextlib import ExitStack

from lanner.errors import ServerError, UsageError

DEFAULT_PORTS = {"http": 8000, "grpc": 8001, "metrics": 8002}


def choose_ports(asked: dict[str, int]) -> dict[str, int]:
    """Free ports for those that are 0; the others are tried.

    Raises:
        UsageError: Two are the same.
        ServerError: One is taken, or may not be used.
    """
    given = [port for port in asked.values() if port]
    if len(set(given)) < len(given):
        ports = ", ".join(f"{name} {port}" for name, port in asked.items())
        msg = f"{', '.join(asked)} need ports of their own, not {ports}"
        raise UsageError(msg)
    chosen = {}
    with ExitStack() as held:  # all of them until the last is known, so that no two are the same
        for name, port in asked.items():
            tried = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            # A port that a server has just left is free, whatever the kernel still waits for.
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(port != 0))
            try:
                tried.bind(("0.0.0.0", port))  # noqa: S104 (as Triton will)
            except OSError as error:
                msg = (
                    f"port {port} cannot be used for {name} ({error.strerror}): choose another "
                    f"with --{name}-port, or 0 for any that is free"
                )
                raise ServerError(msg) from None
            chosen[name] = tried.getsockname()[1]
    return chosen

"""A real proxy, haproxy, whose servers are pods that come and go."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lanner_perf.elastic.replay.programs import free_port, program, running


class Proxy:
    """The proxy before the pods.

    Args:
        port: Its port.
        control: The socket that takes its commands.
        most: The most pods.
    """

    def __init__(self, port: int, control: Path, most: int) -> None:
        self.port, self._control = port, control
        self._free = [f"pods/pod{number}" for number in range(most, 0, -1)]

    def add(self, port: int) -> str:
        """Send requests to a pod, too; return the name of its place."""
        name = self._free.pop()
        self._tell(f"set server {name} addr 127.0.0.1 port {port}")
        self._tell(f"set server {name} state ready")
        return name

    def drain(self, name: str) -> None:
        """Send no new request to a pod; those that run go on."""
        self._tell(f"set server {name} state drain")

    def remove(self, name: str) -> None:
        """Give a place away."""
        self._tell(f"set server {name} state maint")
        self._free.append(name)

    def _tell(self, command: str) -> None:
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(str(self._control))
            one.sendall(f"{command}\n".encode())
            while one.recv(4096):
                pass


@contextmanager
def proxying(directory: Path, most: int) -> Iterator[Proxy]:
    """Yield a running proxy without pods.

    Args:
        directory: A directory for its files.
        most: The most pods.
    """
    port, control = free_port(), directory / "proxy.sock"
    (directory / "haproxy.cfg").write_text(f"""\
global
    stats socket {control} mode 600 level admin
defaults
    mode http
    option redispatch
    retries 3
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive 60s
frontend clients
    bind 127.0.0.1:{port}
    default_backend pods
backend pods
    balance leastconn
    server-template pod 1-{most} 127.0.0.1:9 disabled
""")
    command = [program("haproxy"), "-db", "-f", str(directory / "haproxy.cfg")]
    with running(command, directory / "haproxy.log", socket_path=control):
        yield Proxy(port, control, most)

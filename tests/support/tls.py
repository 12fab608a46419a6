"""TLS for the tests: certificates made on demand, and a proxy that ends TLS."""

import select
import socket
import socketserver
import ssl
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Self

import trustme


class Identity(NamedTuple):
    """The PEM files of a certificate and its key."""

    certificate: Path
    key: Path


def identity(
    authority: trustme.CA, directory: Path, name: str, *, file: str = "", days: int = 1
) -> Identity:
    """Write a certificate for a name; its files have that name unless `file` is given.

    Args:
        authority: The authority that signs it.
        directory: The directory for the files.
        name: The name of a host.
        file: The name of the files, without ``.pem`` and ``.key``.
        days: The days until it expires; its validity begins two days before that.
    """
    end = datetime.now(UTC) + timedelta(days=days)
    made = authority.issue_cert(name, not_before=end - timedelta(days=2), not_after=end)
    found = Identity(directory / f"{file or name}.pem", directory / f"{file or name}.key")
    found.certificate.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    made.private_key_pem.write_to_path(str(found.key))
    return found


def root(authority: trustme.CA, path: Path) -> Path:
    """Write the PEM file of an authority."""
    authority.cert_pem.write_to_path(str(path))
    return path


class TlsProxy:
    """A proxy that ends TLS in front of a port of this machine, as a cluster's does.

    It is a context manager.

    Args:
        port: The port that gets the bytes without TLS.
        own: The identity of the proxy.
        trusted: The authority that must have signed client certificates; None accepts any client.
    """

    def __init__(self, port: int, own: Identity, trusted: Path | None = None) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=trusted)
        context.load_cert_chain(own.certificate, own.key)
        if trusted is not None:
            context.verify_mode = ssl.CERT_REQUIRED

        class Relay(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                wrapped = context.wrap_socket(
                    self.request, server_side=True, do_handshake_on_connect=False
                )
                with suppress(OSError), wrapped as here:
                    try:
                        here.do_handshake()
                    except ssl.SSLError:  # else the alert with the reason may be lost
                        socket.socket.shutdown(here, socket.SHUT_WR)
                        while socket.socket.recv(here, 2**16):
                            pass
                        return
                    with socket.create_connection(("127.0.0.1", port)) as there:
                        _relay(here, there)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay)
        self._server.daemon_threads = True  # a client may keep its connection open
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def port(self) -> int:
        """Return the port that it listens on."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _relay(here: ssl.SSLSocket, there: socket.socket) -> None:
    other = {here: there, there: here}
    while True:
        # No system call reports bytes that are already decrypted.
        ready = [here] if here.pending() else select.select(list(other), [], [])[0]
        for one in ready:
            content = one.recv(2**16)
            if not content:
                return
            other[one].sendall(content)

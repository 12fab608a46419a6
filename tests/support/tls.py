"""TLS for the tests: certificates that are made when they are needed, and a proxy that ends TLS."""

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
    """Two PEM files, of a certificate and of its key."""

    certificate: Path
    key: Path


def identity(
    authority: trustme.CA, directory: Path, name: str, *, file: str = "", days: int = 1
) -> Identity:
    """A certificate for a name, in files that are called after it unless one says otherwise.

    Args:
        authority: Who signs it.
        directory: Where the files go.
        name: A host's.
        file: What they are called, without ``.pem`` and ``.key``.
        days: How long it is valid, from two days ago on if that is not long enough.
    """
    end = datetime.now(UTC) + timedelta(days=days)
    made = authority.issue_cert(name, not_before=end - timedelta(days=2), not_after=end)
    found = Identity(directory / f"{file or name}.pem", directory / f"{file or name}.key")
    found.certificate.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    made.private_key_pem.write_to_path(str(found.key))
    return found


def root(authority: trustme.CA, path: Path) -> Path:
    """The PEM file of an authority."""
    authority.cert_pem.write_to_path(str(path))
    return path


class TlsProxy:
    """Ends TLS before a port of this machine, as the proxy of a cluster does; a context manager.

    Args:
        port: Where bytes go on to, without TLS.
        own: Who it says that it is.
        trusted: Who must have signed the certificate of its clients; None takes any client.
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
                    except ssl.SSLError:  # closed at once, it might lose the alert that says why
                        socket.socket.shutdown(here, socket.SHUT_WR)
                        while socket.socket.recv(here, 2**16):
                            pass
                        return
                    with socket.create_connection(("127.0.0.1", port)) as there:
                        _relay(here, there)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay)
        self._server.daemon_threads = True  # a client may keep its connection
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
        # What was decrypted already, no system call knows of.
        ready = [here] if here.pending() else select.select(list(other), [], [])[0]
        for one in ready:
            content = one.recv(2**16)
            if not content:
                return
            other[one].sendall(content)

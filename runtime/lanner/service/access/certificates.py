"""Certificates of the service and of its clients, read again when their files change."""

import ssl
from collections.abc import Callable
from pathlib import Path

from lanner.errors import InputError
from lanner.machine.file_state import FileState, file_state_if_any


class Certificates:
    """The TLS of a server: a context whose certificates follow their files.

    Each handshake compares the files' times first. New ones are loaded into a new context, which
    the handshake then uses; files that do not fit (the certificate is replaced, its key not yet)
    leave the old ones in use. Connections that exist keep theirs.

    Args:
        certificate: The PEM file of the certificate and those between it and its authority.
        key: The PEM file of its private key, without a password.
        client_authority: The PEM file of the authorities that sign the certificates of clients
            (mutual TLS). None takes any client.
        tell: Takes a message when changed files were loaded or cannot be.

    Raises:
        InputError: A file cannot be read or used.
    """

    def __init__(
        self,
        certificate: Path,
        key: Path,
        client_authority: Path | None = None,
        tell: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._certificate, self._key, self._authority = certificate, key, client_authority
        self._tell = tell
        self._state = self._states()
        #: The context for the server's sockets.
        self.context = self._load()
        self._current = self.context
        self.context.sni_callback = self._begin

    def _begin(
        self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext
    ) -> None:
        # OpenSSL calls this in every handshake, whether or not the client names a server.
        state = self._states()
        if state != self._state:
            self._state = state
            try:
                self._current = self._load()
            except InputError as error:
                self._tell(f"{error}; the certificate that was read before stays in use")
            else:
                self._tell(f"the certificate in {self._certificate} is loaded again")
        if self._current is not self.context:
            connection.context = self._current

    def _load(self) -> ssl.SSLContext:
        """Return a context with the files as they are."""
        try:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.set_alpn_protocols(["http/1.1"])
            # Without a password that is given here, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(self._certificate, self._key, password=lambda: "")
            if self._authority is not None:
                context.load_verify_locations(self._authority)
                context.verify_mode = ssl.CERT_REQUIRED
                # A resumed session would not show its certificate again: an authority that was
                # removed would stay trusted for as long as the ticket is.
                context.options |= ssl.OP_NO_TICKET
                context.num_tickets = 0
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            files = [self._certificate, self._key, self._authority]
            names = ", ".join(str(path) for path in files if path is not None)
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            msg = f"the certificates cannot be used ({reason}): check {names}"
            raise InputError(msg) from None
        return context

    def _states(self) -> list[FileState | None]:
        files = (self._certificate, self._key, self._authority)
        return [file_state_if_any(path) for path in files if path is not None]

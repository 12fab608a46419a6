"""Certificates that change under a server, with real handshakes."""

import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trustme
from tests.support.tls import Identity, identity, root

from lanner.errors import InputError
from lanner.service.access.certificates import Certificates

HOST = "service.example"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def others() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def own(authority: trustme.CA, tmp_path: Path) -> Identity:
    return identity(authority, tmp_path, HOST)


@contextmanager
def listening(context: ssl.SSLContext) -> Iterator[int]:
    """A server that says "hello" to everybody who has finished a handshake."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client, suppress(OSError):
                        client.settimeout(10)
                        with context.wrap_socket(client, server_side=True) as wrapped:
                            wrapped.sendall(b"hello")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def trusting(authority: trustme.CA, client: Identity | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if client is not None:
        context.load_cert_chain(client.certificate, client.key)
    return context


def serial(
    port: int,
    context: ssl.SSLContext,
    *,
    name: str | None = HOST,
    session: ssl.SSLSession | None = None,
) -> tuple[str, ssl.SSLSession | None]:
    """The serial number of the server's certificate, and the session, after a whole exchange."""
    context.check_hostname = name is not None
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=name, session=session) as wrapped,
    ):
        assert wrapped.recv(100) == b"hello"
        certificate = wrapped.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"]), wrapped.session


def renew(authority: trustme.CA, own: Identity, tmp_path: Path) -> None:
    """Put a new pair in the place of the old one, the certificate first."""
    fresh = identity(authority, tmp_path, HOST, file="fresh")
    fresh.certificate.replace(own.certificate)
    fresh.key.replace(own.key)


@pytest.mark.parametrize("name", [HOST, None], ids=["named", "unnamed"])
def test_a_renewed_certificate_is_used_without_a_restart(
    authority: trustme.CA, own: Identity, tmp_path: Path, name: str | None
) -> None:
    told: list[str] = []
    certificates = Certificates(own.certificate, own.key, tell=told.append)
    with listening(certificates.context) as port:
        before, _ = serial(port, trusting(authority), name=name)
        assert serial(port, trusting(authority), name=name)[0] == before
        assert told == []
        renew(authority, own, tmp_path)
        after, _ = serial(port, trusting(authority), name=name)
        assert after != before
        assert serial(port, trusting(authority), name=name)[0] == after
    assert told == [f"the certificate in {own.certificate} is loaded again"]


def test_a_pair_that_does_not_fit_leaves_the_old_one_in_use(
    authority: trustme.CA, own: Identity, tmp_path: Path
) -> None:
    told: list[str] = []
    certificates = Certificates(own.certificate, own.key, tell=told.append)
    fresh = identity(authority, tmp_path, HOST, file="fresh")
    with listening(certificates.context) as port:
        before, _ = serial(port, trusting(authority))
        fresh.certificate.replace(own.certificate)  # its key is not there yet
        for _ in range(2):
            assert serial(port, trusting(authority))[0] == before
        assert len(told) == 1
        assert "cannot be used (KEY_VALUES_MISMATCH): check" in told[0]
        assert told[0].endswith("; the certificate that was read before stays in use")
        fresh.key.replace(own.key)
        after, _ = serial(port, trusting(authority))
        assert after != before
        own.certificate.unlink()
        assert serial(port, trusting(authority))[0] == after
    assert "(No such file or directory)" in told[-1]


def test_a_connection_keeps_its_certificate(
    authority: trustme.CA, own: Identity, tmp_path: Path
) -> None:
    certificates = Certificates(own.certificate, own.key)
    client, server = socket.socketpair()
    context = trusting(authority)

    def serve() -> None:
        with certificates.context.wrap_socket(server, server_side=True) as wrapped:
            wrapped.sendall(wrapped.recv(100))

    thread = threading.Thread(target=serve)
    thread.start()
    with context.wrap_socket(client, server_hostname=HOST) as wrapped:
        renew(authority, own, tmp_path)
        wrapped.sendall(b"still here")
        assert wrapped.recv(100) == b"still here"
    thread.join()


def test_mutual_tls_takes_clients_of_its_authority_alone(
    authority: trustme.CA, others: trustme.CA, own: Identity, tmp_path: Path
) -> None:
    trusted = root(authority, tmp_path / "clients.pem")
    certificates = Certificates(own.certificate, own.key, trusted)
    client = identity(authority, tmp_path, "client.example")
    stranger = identity(others, tmp_path, "stranger.example")
    with listening(certificates.context) as port:
        _, session = serial(port, trusting(authority, client))
        for context in (trusting(authority), trusting(authority, stranger)):
            with pytest.raises(ssl.SSLError, match=r"(?i)certificate required|unknown ca"):
                serial(port, context)
        # Another authority from now on: who was let in before is not, not even by its session.
        shutil.copy(root(others, tmp_path / "others.pem"), trusted)
        context = trusting(authority, client)
        with pytest.raises(ssl.SSLError, match=r"(?i)unknown ca"):
            serial(port, context)
        assert session is None or not session.has_ticket
        assert serial(port, trusting(authority, stranger))[0]


def test_tls_1_1_is_refused(authority: trustme.CA, own: Identity) -> None:
    context = trusting(authority)
    with listening(Certificates(own.certificate, own.key).context) as port:
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError, match=r"(?i)alert protocol version"):
            serial(port, context)


def test_unusable_files_are_named(own: Identity, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    key = serialization.load_pem_private_key(own.key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    for certificate, private, clients, reason in (
        (tmp_path / "none.pem", own.key, None, "No such file or directory"),
        (nonsense, own.key, None, ".+"),
        (own.certificate, locked, None, ".+"),
        (own.certificate, own.key, nonsense, ".+"),
    ):
        message = rf"the certificates cannot be used \({reason}\): check .*\.pem, .*\.key"
        with pytest.raises(InputError, match=message):
            Certificates(certificate, private, clients)

"""The PEM files of TLS: trusted authorities, and the client's certificate and key."""

import ssl
from pathlib import Path

from lanner.errors import InputError


def tls_context(
    root_certificates: Path | None, certificate_chain: Path | None, private_key: Path | None
) -> ssl.SSLContext:
    """Return the TLS context of a client, after checking the PEM files one by one.

    gRPC would notice a fault only while connecting, then report that no server answers, and end the
    process if a key or its certificate is missing.

    Args:
        root_certificates: The trusted CA certificates; None for those of the system.
        certificate_chain: The client's certificate, if the server asks for one.
        private_key: The client's key; None if it is in the file of the certificate.

    Raises:
        InputError: A file cannot be read, holds something else, or the key is not the
            certificate's.
    """
    for path in (root_certificates, certificate_chain):
        if path is not None:
            require_certificate(path)
    context = ssl.create_default_context(cafile=root_certificates)
    if certificate_chain is not None:
        _add_own(context, certificate_chain, private_key or certificate_chain)
    elif private_key is not None:
        msg = f"{private_key} needs its certificate: give certificate_chain, too"
        raise InputError(msg)
    return context


def require_key_pair(certificate_chain: Path, private_key: Path) -> None:
    """Check that a server can use a certificate and its key.

    Raises:
        InputError: See `tls_context`.
    """
    require_certificate(certificate_chain)
    _add_own(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate_chain, private_key)


def system_roots() -> Path | None:
    """Return the file of the certificates that the system trusts, or None if it is not one file."""
    found = ssl.get_default_verify_paths().cafile
    return None if found is None else Path(found)


def require_certificate(path: Path) -> None:
    """Check that a file holds a certificate.

    Raises:
        InputError: The file holds none, or cannot be read.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        msg = f"{path} holds no certificate in PEM: give a file with -----BEGIN CERTIFICATE-----"
        raise InputError(msg) from None
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}): give a file with a certificate in PEM"
        raise InputError(msg) from None


def _add_own(context: ssl.SSLContext, certificate_chain: Path, private_key: Path) -> None:
    try:
        # Without this function OpenSSL would ask for a password on the terminal.
        context.load_cert_chain(certificate_chain, private_key, password=lambda: "")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            msg = (
                f"the key in {private_key} is not that of the certificate in {certificate_chain}: "
                "give the two that were made together"
            )
        elif error.reason in (None, "PEM_LIB"):  # Python's way to say that the file has no key
            msg = (
                f"{private_key} holds no private key in PEM that can be read without a password: "
                "give a file with -----BEGIN PRIVATE KEY-----"
            )
        else:
            msg = f"{certificate_chain} and {private_key} cannot be used ({error.reason})"
        raise InputError(msg) from None
    except OSError as error:
        msg = f"{private_key} cannot be read ({error.strerror}): give a file with a key in PEM"
        raise InputError(msg) from None

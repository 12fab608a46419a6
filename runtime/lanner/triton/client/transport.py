"""The transport of requests to a Triton server: the common part of gRPC and HTTP."""

import ipaddress
import logging
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from lanner.errors import (
    InputError,
    InputTypeError,
    UsageError,
)
from lanner.triton.client.certificates import tls_context

_log = logging.getLogger("lanner")

#: Scheme -> its protocol, whether it is encrypted, and Triton's default port.
SCHEMES = {
    "grpc": ("grpc", False, 8001),
    "grpcs": ("grpc", True, 8001),
    "http": ("http", False, 8000),
    "https": ("http", True, 8000),
}

#: The time limits for metadata, and for a request whose caller set none: longer than any wait in a
#: queue that is worth it.
METADATA_S, ANSWER_S = 30.0, 300.0
#: The largest answer: many times the largest one that a request can ask for.
MOST_BYTES = 2**28
#: Headers that both gRPC and HTTP can send (grpc, doc/PROTOCOL-HTTP2.md: "Header-Name",
#: "ASCII-Value").
_HEADER_NAME = re.compile(r"[A-Za-z0-9_.-]+")
#: Names of headers whose values are secrets.
_SECRET = re.compile(r"auth|cookie|key|token|secret|password|restricted|protocol-")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")


class ServerAnswer(NamedTuple):
    """The answer of a server.

    Attributes:
        outputs: The requested tensors; None for a missing one.
        version: The version of the model that answered.
    """

    outputs: dict[str, NDArray[Any] | None]
    version: str


@dataclass(frozen=True)
class Address:
    """The address of a server, and the protocol to reach it.

    Attributes:
        url: The URL from the user.
        protocol: ``"grpc"`` or ``"http"``.
        host: Name and port.
        is_encrypted: True for TLS.
        headers: Headers of every request, for example an authorisation.
        root_certificates: A PEM file of trusted CA certificates; None for those of the system.
        private_key: A PEM file of the client's key, if the server asks for one; None if it is in
            that of its certificate.
        certificate_chain: A PEM file of the client's certificate.
    """

    url: str
    protocol: str
    host: str
    is_encrypted: bool
    headers: Mapping[str, str] = field(default_factory=dict)
    root_certificates: Path | None = None
    private_key: Path | None = None
    certificate_chain: Path | None = None

    @classmethod
    def parse(
        cls,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        **files: str | Path | None,
    ) -> "Address":
        """Parse ``"grpc://host:8001"``; the port is optional.

        Args:
            url: The address.
            headers: See the class.
            files: The other attributes.

        Raises:
            UsageError: It is not an address, or a certificate is given without TLS.
            InputError: A file of the options is missing or holds something else (see
                `lanner.triton.client.certificates.tls_context`), or a header cannot be sent.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        # Refuse parts of the URL that would not be sent, instead of ignoring them.
        is_plain = parts.path in ("", "/") and not (parts.query or parts.fragment or parts.username)
        if parts.scheme not in SCHEMES or not parts.hostname or not is_plain:
            msg = (
                f"{url!r} is not the address of a server: write for example "
                f"grpc://localhost:8001, with one of {', '.join(SCHEMES)}"
            )
            raise UsageError(msg)
        protocol, is_encrypted, usual_port = SCHEMES[parts.scheme]
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        address = cls(
            url,
            protocol,
            f"{host}:{usual_port if port is None else port}",
            is_encrypted,
            headers=_sendable({} if headers is None else headers),
            **{name: Path(path) for name, path in files.items() if path is not None},
        )
        for path in (address.root_certificates, address.private_key, address.certificate_chain):
            if path is not None and not _is_file(path):
                msg = f"there is no file {path}, which {url} was to be reached with"
                raise InputError(msg)
            if path is not None and not is_encrypted:
                msg = (
                    f"{url} is not encrypted, so {path} would not be used: write {parts.scheme}s://"
                )
                raise UsageError(msg)
        if is_encrypted:
            address.tls_context()
        elif not address.is_loopback and any(map(_SECRET.search, address.headers)):
            _log.warning(
                "%s is not encrypted, so anyone on the way can read your headers: write %ss://",
                url,
                parts.scheme,
            )
        return address

    @property
    def is_loopback(self) -> bool:
        """True if the server is on this machine, where no proxy is used."""
        name = self.host.rpartition(":")[0].strip("[]").rstrip(".")
        if name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False

    def tls_context(self) -> ssl.SSLContext:
        """Return the TLS context for the server.

        Raises:
            InputError: See `lanner.triton.client.certificates.tls_context`.
        """
        return tls_context(self.root_certificates, self.certificate_chain, self.private_key)


class Transport(Protocol):
    """A connection to one server; any number of threads may use it."""

    def infer(
        self,
        model: str,
        version: str,
        inputs: Mapping[str, NDArray[Any]],
        outputs: tuple[str, ...],
        *,
        timeout_s: float | None,
        priority: int,
    ) -> ServerAnswer:
        """Send one request.

        Args:
            model: The model's name.
            version: Its version; empty for the newest.
            inputs: int64 or, as BYTES, object tensors.
            outputs: The names of the requested outputs.
            timeout_s: The time limit, the server's queue included; None for `ANSWER_S`.
            priority: From 1, served first; 0 for the model's default.

        Raises:
            LannerError: See `lanner.triton.client.refusal.server_error`.
        """

    def config(self, model: str, version: str) -> dict[str, Any]:
        """Return a model's configuration in Triton's JSON form.

        Raises:
            LannerError: See `lanner.triton.client.refusal.server_error`.
        """

    def versions(self, model: str) -> list[str]:
        """Return the ready versions of a model, oldest first.

        Raises:
            LannerError: See `lanner.triton.client.refusal.server_error`.
        """

    def close(self) -> None:
        """Close the connections."""


class Monitor(Protocol):
    """The protocol for a server's state and statistics, which both transports have."""

    def server(self) -> dict[str, Any]:
        """Return name, version and extensions, as in KServe's server metadata.

        Raises:
            LannerError: See `server_error`.
        """

    def statistics(self, model: str, version: str) -> list[dict[str, Any]]:
        """Return the counts of each version since it was loaded, in Triton's JSON form.

        See extension_statistics.md of triton-inference-server/server. Over gRPC zeros are missing,
        and numbers are strings.

        Args:
            model: The model's name.
            version: Its version; empty for all.

        Raises:
            LannerError: See `server_error`.
        """


def input_tensors(inputs: Mapping[str, NDArray[Any]], kind: Callable[..., Any]) -> list[Any]:
    """Return the inputs of a request for tritonclient: INT64, or BYTES for objects.

    Args:
        inputs: The tensors.
        kind: The class ``InferInput`` of the protocol.
    """
    tensors = []
    for name, values in inputs.items():
        datatype = "BYTES" if values.dtype == np.object_ else "INT64"
        tensor = kind(name, list(values.shape), datatype)
        tensor.set_data_from_numpy(values)
        tensors.append(tensor)
    return tensors


def queue_timeout_us(timeout_s: float | None) -> int | None:
    """Return the longest wait in the server's queue, in the unit of Triton's parameter."""
    return None if timeout_s is None else max(1, int(timeout_s * 1e6))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # for example a name that is too long
        return False


def _sendable(headers: object) -> dict[str, str]:
    """Return headers for both protocols: HTTP/2 has names in lower case."""
    if not isinstance(headers, Mapping):
        msg = f"headers must be a dict of names and values, not {type(headers).__name__}"
        raise InputTypeError(msg)
    for name, value in headers.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            msg = f"no header can be called {name!r}: use letters, digits, '-', '_' and '.'"
            raise InputError(msg)
        # The value may be a secret, so it is not shown.
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            msg = f"the header {name} cannot be sent: its value must be text in ASCII on one line"
            raise InputError(msg)
    return {name.lower(): value for name, value in headers.items()}

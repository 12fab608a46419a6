"""How requests reach a Triton server: what gRPC and HTTP have in common."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from lanner.errors import (
    DeadlineError,
    EngineError,
    InputError,
    LannerError,
    ModelUnavailableError,
    Overloaded,
    ServerError,
    ServerUnavailableError,
    UsageError,
)

#: Of each scheme its protocol, whether it is encrypted, and Triton's usual port.
SCHEMES = {
    "grpc": ("grpc", False, 8001),
    "grpcs": ("grpc", True, 8001),
    "http": ("http", False, 8000),
    "https": ("http", True, 8000),
}


#: Codes of gRPC and HTTP, and parts of what Triton says in lower case; the first that fits counts,
#: since one code stands for several things.
_MEANINGS: tuple[tuple[tuple[str, ...], tuple[str, ...], type[LannerError], str], ...] = (
    (
        (),
        ("exceeds maximum queue size",),
        Overloaded,
        "{what} has as many requests waiting as its queue takes: try again later",
    ),
    (
        ("DEADLINE_EXCEEDED",),
        ("request timeout expired",),
        DeadlineError,
        "the deadline passed before {what} answered: allow more time with timeout_ms, or send less",
    ),
    (
        ("NOT_FOUND", "404"),
        ("unknown model", "is not found", "not at ready state", "is not ready", "unloaded"),
        ModelUnavailableError,
        "{what} is not there or not ready: {detail}",
    ),
    (
        ("UNAUTHENTICATED", "PERMISSION_DENIED", "401", "403"),
        (),
        ServerError,
        "{url} refused the request ({detail}): pass headers= that it accepts",
    ),
    (
        ("UNAVAILABLE", "502", "503", "504"),
        ("failed to connect",),
        ServerUnavailableError,
        "no server answers at {url} ({detail}): see whether it runs and can be reached",
    ),
    (
        ("INVALID_ARGUMENT", "400"),
        (),
        InputError,
        "{what} refused the request: {detail}",
    ),
    (("INTERNAL", "500"), (), EngineError, "{what} failed: {detail}"),
)


class Answer(NamedTuple):
    """What a server answered.

    Attributes:
        outputs: The tensors that were asked for; None for one that is not there.
        version: The version of the model that answered.
    """

    outputs: dict[str, NDArray[Any] | None]
    version: str


@dataclass(frozen=True)
class Address:
    """Where a server is, and how it is talked to.

    Attributes:
        url: As the user gave it.
        protocol: ``"grpc"`` or ``"http"``.
        host: Name and port.
        is_encrypted: Whether it is talked to over TLS.
        headers: Sent with every request, for example an authorisation.
        root_certificates: A PEM file of who is trusted; None for who the system trusts.
        private_key: A PEM file of the client's key, where the server asks for one.
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
    def parse(cls, url: str, **options: Any) -> "Address":
        """Reads ``"grpc://host:8001"``; the port may be left out.

        Raises:
            UsageError: It is no such address, or a certificate is given for one without TLS.
            InputError: A file of the options is missing.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        # What would not be sent anyhow is not passed over either.
        is_plain = parts.path in ("", "/") and not (parts.query or parts.fragment or parts.username)
        if parts.scheme not in SCHEMES or not parts.hostname or not is_plain:
            msg = (
                f"{url!r} is no address of a server: write for example grpc://localhost:8001, with "
                f"one of {', '.join(SCHEMES)}"
            )
            raise UsageError(msg)
        protocol, is_encrypted, usual_port = SCHEMES[parts.scheme]
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        address = cls(
            url,
            protocol,
            f"{host}:{usual_port if port is None else port}",
            is_encrypted,
            **{name: value for name, value in options.items() if value is not None},
        )
        for path in (address.root_certificates, address.private_key, address.certificate_chain):
            if path is not None and not Path(path).is_file():
                msg = f"there is no file {path}, which {url} was to be reached with"
                raise InputError(msg)
            if path is not None and not is_encrypted:
                msg = f"{url} is not encrypted, so {path} is of no use: write {parts.scheme}s://"
                raise UsageError(msg)
        return address


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
    ) -> Answer:
        """One request.

        Args:
            model: The model's name.
            version: Its version; empty for the newest.
            inputs: int64 or, as BYTES, object tensors.
            outputs: The names of those that are wanted.
            timeout_s: How long it may take, in the server's queue and in all; None for ever.
            priority: From 1, served first; 0 for the model's default.

        Raises:
            LannerError: See `server_error`.
        """

    def config(self, model: str, version: str) -> dict[str, Any]:
        """A model's configuration, as Triton's JSON form of it has it.

        Raises:
            LannerError: See `server_error`.
        """

    def versions(self, model: str) -> list[str]:
        """The versions of a model that are ready, oldest first.

        Raises:
            LannerError: See `server_error`.
        """

    def close(self) -> None:
        """Gives its connections up."""


class Monitor(Protocol):
    """What a server says of itself and of its work; both transports can be asked."""

    def server(self) -> dict[str, Any]:
        """Its name, its version and its extensions, as KServe's server metadata has them.

        Raises:
            LannerError: See `server_error`.
        """

    def statistics(self, model: str, version: str) -> list[dict[str, Any]]:
        """What it has counted since it loaded a model, of each version as Triton's JSON has it.

        See extension_statistics.md of triton-inference-server/server. Over gRPC what is zero is not
        there, and numbers are strings.

        Args:
            model: The model's name.
            version: Its version; empty for all.

        Raises:
            LannerError: See `server_error`.
        """


def server_error(
    code: str, detail: str, *, address: Address, model: str, version: str = ""
) -> LannerError:
    """What a server's refusal means.

    Args:
        code: The name of a gRPC status, for example ``"UNAVAILABLE"``, or of HTTP its number.
        detail: What the server said.
        address: Which server.
        model: Which model was asked.
        version: Which of its versions, where one was asked for.
    """
    detail = _one_line(detail)
    said = detail.lower()
    what = f"the model {model}{f' (version {version})' if version else ''} on {address.url}"
    for codes, parts, kind, text in _MEANINGS:
        if code in codes or any(part in said for part in parts):
            return kind(text.format(what=what, url=address.url, detail=detail or code))
    msg = f"{what} answered {code}{f': {detail}' if detail else ''}"
    return ServerError(msg)


def input_tensors(inputs: Mapping[str, NDArray[Any]], kind: Callable[..., Any]) -> list[Any]:
    """Tensors as tritonclient takes them: INT64, or of objects BYTES.

    Args:
        inputs: The tensors.
        kind: The class ``InferInput`` of the protocol.
    """
    tensors = []
    for name, tensor in inputs.items():
        datatype = "BYTES" if tensor.dtype == np.object_ else "INT64"
        given = kind(name, list(tensor.shape), datatype)
        given.set_data_from_numpy(tensor)
        tensors.append(given)
    return tensors


def queue_timeout_us(timeout_s: float | None) -> int | None:
    """How long a request may wait in the server's queue, in the unit of Triton's parameter."""
    return None if timeout_s is None else max(1, int(timeout_s * 1e6))


def _one_line(text: str) -> str:
    # A traceback of the Python backend follows its message.
    return re.sub(r"\s+", " ", text.partition("\n\nAt:")[0]).strip()

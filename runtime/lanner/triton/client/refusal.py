"""The errors of the client: the reasons why a Triton server does not answer."""

import re
from urllib.parse import urlsplit

from lanner.errors import (
    DeadlineError,
    EngineError,
    InputError,
    LannerError,
    ModelUnavailableError,
    Overloaded,
    ServerError,
    ServerUnavailableError,
)
from lanner.triton.client.transport import Address

#: Text that gRPC, OpenSSL and BoringSSL put around their messages.
_AROUND = re.compile(
    r"^failed to connect to all addresses; last error: ([A-Z_]+: )?(ipv[46]:\S+: )?"
    r"|Tls handshake failed .*OPENSSL_internal:|: OK$|^\[SSL[^]]*\] | \(_ssl\.c:\d+\)$"
)

#: The reasons why a server cannot be reached, by parts of the message, in lower case.
_OBSTACLES: tuple[tuple[tuple[str, ...], type[LannerError], str], ...] = (
    (
        ("is restricted, expecting header",),
        ServerError,
        "{url} refused the request ({detail}): pass headers= (--header) that it accepts",
    ),
    (
        ("hostname verification check failed", "hostname mismatch", "ip address mismatch"),
        ServerError,
        "the certificate of {url} is for another name ({detail}): write the one that it is for",
    ),
    (
        ("certificate has expired", "certificate is not yet valid"),
        ServerError,
        "the certificate of {url} is not valid now ({detail}): have it renewed, or set the clock",
    ),
    (
        ("certificate_verify_failed", "certificate verify failed"),
        ServerError,
        (
            "the certificate of {url} is not signed by a trusted authority ({detail}): pass its CA "
            "certificate as root_certificates= (--root-certificates)"
        ),
    ),
    (
        ("certificate required", "alert unknown ca", "alert bad certificate"),
        ServerError,
        (
            "{url} wants a certificate of its client that it trusts ({detail}): give it as "
            "certificate_chain= and private_key= (--certificate-chain, --private-key)"
        ),
    ),
    (
        ("wrong_version_number", "wrong version number", "record layer failure"),
        ServerError,
        "{url} does not speak TLS ({detail}): write {other}://, or the port that does",
    ),
    (
        ("socket closed", "connection reset", "closed connection", "eof occurred", "is no http"),
        ServerUnavailableError,
        "{url} broke the connection off ({detail}): see whether {doubts}",
    ),
)

#: Codes of gRPC and HTTP, and parts of Triton's message in lower case; the first match counts,
#: since one code has several meanings.
_MEANINGS: tuple[tuple[tuple[str, ...], tuple[str, ...], type[LannerError], str], ...] = (
    (
        (),
        ("exceeds maximum queue size",),
        Overloaded,
        "{what} has as many requests waiting as its queue takes: try again later",
    ),
    (
        (),
        ("stub process",),
        ModelUnavailableError,
        (
            "{what} is away, because its process there died ({detail}): start the server again; "
            "'lanner serve' ends by itself then"
        ),
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
        "{url} refused the request ({detail}): pass headers= (--header) that it accepts",
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


def server_error(
    code: str,
    detail: str,
    *,
    address: Address,
    model: str,
    version: str = "",
    has_answered: bool = False,
) -> LannerError:
    """Return the error for a server's refusal.

    Args:
        code: The name of a gRPC status, for example ``"UNAVAILABLE"``, or the number of an HTTP
            status.
        detail: The server's message.
        address: The address of the server.
        model: The name of the model.
        version: The requested version, if any.
        has_answered: True if the server has answered before, so that its address is right.
    """
    said = _one_line(detail).lower()
    detail = _AROUND.sub("", _one_line(detail))
    what = f"the model {model}{f' (version {version})' if version else ''} on {address.url}"
    places = {
        "what": what,
        "url": address.url,
        "detail": detail or code,
        "other": _other_scheme(address),
        "doubts": "it still runs" if has_answered else _doubts(address),
    }
    if code == "UNAVAILABLE":
        for parts, kind, text in _OBSTACLES:
            if any(part in said for part in parts):
                return kind(text.format(**places))
    for codes, parts, kind, text in _MEANINGS:
        if code in codes or any(part in said for part in parts):
            return kind(text.format(**places))
    msg = f"{what} answered {code}{f': {detail}' if detail else ''}"
    return ServerError(msg)


def _other_scheme(address: Address) -> str:
    """Return the scheme of the same protocol with TLS if it has none, and vice versa."""
    scheme = urlsplit(address.url).scheme
    return scheme.removesuffix("s") if address.is_encrypted else f"{scheme}s"


def _doubts(address: Address) -> str:
    """Describe what a server may require if it hangs up without a reason."""
    protocol, wanted = address.protocol, f"TLS ({_other_scheme(address)}://)"
    if address.is_encrypted:
        protocol += " over TLS"
        wanted = "a certificate of yours (certificate_chain=, private_key=)"
    return f"it is stopping, whether that is its port for {protocol}, and whether it wants {wanted}"


def _one_line(text: str) -> str:
    # A traceback of the Python backend follows its message.
    return re.sub(r"\s+", " ", text.partition("\n\nAt:")[0]).strip()

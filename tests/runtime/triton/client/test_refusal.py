import pytest

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
from lanner.triton.client.refusal import server_error
from lanner.triton.client.transport import Address

GRPC = Address.parse("grpc://host")
WHAT = "the model minilm on grpc://host"
LATE = f"the deadline passed before {WHAT} answered: allow more time with timeout_ms, or send less"
AWAY = f"{WHAT} is not there or not ready: "


@pytest.mark.parametrize(
    ("code", "detail", "kind", "message"),
    [
        (
            "UNAVAILABLE",
            "[request id: <id_unknown>] Exceeds maximum queue size",
            Overloaded,
            f"{WHAT} has as many requests waiting as its queue takes: try again later",
        ),
        (
            "503",
            "Exceeds maximum queue size",
            Overloaded,
            f"{WHAT} has as many requests waiting as its queue takes: try again later",
        ),
        (
            "INTERNAL",
            "Stub process 'minilm_0_0' is not healthy.",
            ModelUnavailableError,
            (
                f"{WHAT} is away, because its process there died (Stub process 'minilm_0_0' is not "
                "healthy.): start the server again; 'lanner serve' ends by itself then"
            ),
        ),
        (
            "DEADLINE_EXCEEDED",
            "Deadline Exceeded",
            DeadlineError,
            LATE,
        ),
        (
            "UNAVAILABLE",
            "Request timeout expired",
            DeadlineError,
            LATE,
        ),
        (
            "NOT_FOUND",
            "Request for unknown model: 'minilm' is not found",
            ModelUnavailableError,
            f"{AWAY}Request for unknown model: 'minilm' is not found",
        ),
        (
            "400",
            "Request for unknown model: 'minilm' version 7 is not found",
            ModelUnavailableError,
            f"{AWAY}Request for unknown model: 'minilm' version 7 is not found",
        ),
        (
            "UNAVAILABLE",
            "Request for unknown model: 'minilm' version 1 is not at ready state",
            ModelUnavailableError,
            f"{AWAY}Request for unknown model: 'minilm' version 1 is not at ready state",
        ),
        ("404", "", ModelUnavailableError, f"{AWAY}404"),
        (
            "UNAUTHENTICATED",
            "no token",
            ServerError,
            "grpc://host refused the request (no token): pass headers= (--header) that it accepts",
        ),
        (
            "403",
            "Forbidden",
            ServerError,
            "grpc://host refused the request (Forbidden): pass headers= (--header) that it accepts",
        ),
        (
            "UNAVAILABLE",
            "failed to connect to all addresses;\n last error: refused",
            ServerUnavailableError,
            "no server answers at grpc://host (refused): see whether it runs and can be reached",
        ),
        (
            "502",
            "",
            ServerUnavailableError,
            "no server answers at grpc://host (502): see whether it runs and can be reached",
        ),
        (
            "INVALID_ARGUMENT",
            "words takes at most 4 tokens, and a text has 5: cut it",
            InputError,
            f"{WHAT} refused the request: words takes at most 4 tokens, and a text has 5: cut it",
        ),
        (
            "400",
            "shape {-1}",
            InputError,
            f"{WHAT} refused the request: shape {{-1}}",
        ),
        (
            "INTERNAL",
            "division by zero\n\nAt:\n  model.py(3): execute\n",
            EngineError,
            f"{WHAT} failed: division by zero",
        ),
        ("500", "out of memory", EngineError, f"{WHAT} failed: out of memory"),
        ("CANCELLED", "given up", ServerError, f"{WHAT} answered CANCELLED: given up"),
        ("418", "", ServerError, f"{WHAT} answered 418"),
    ],
)
def test_what_a_refusal_means(
    code: str, detail: str, kind: type[LannerError], message: str
) -> None:
    error = server_error(code, detail, address=GRPC, model="minilm")
    assert type(error) is kind
    assert str(error) == message


def test_a_refusal_names_the_version_that_was_asked_for() -> None:
    error = server_error("500", "broken", address=GRPC, model="minilm", version="7")
    assert str(error) == "the model minilm (version 7) on grpc://host failed: broken"


CONNECTING = "failed to connect to all addresses; last error: "
#: The messages of gRPC 1.85 and Python 3.11 about a real server (`test_triton_tls`).
BORING = (
    "UNKNOWN: ipv4:127.0.0.1:1: Tls handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:"
    "1000007d:SSL routines:OPENSSL_internal:"
)


@pytest.mark.parametrize(
    ("url", "detail", "kind", "message"),
    [
        (
            "grpc://host",
            f"{CONNECTING}UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to remote host: refused",
            ServerUnavailableError,
            (
                "no server answers at grpc://host (Failed to connect to remote host: refused): see "
                "whether it runs and can be reached"
            ),
        ),
        (
            "grpc://host",
            "This protocol is restricted, expecting header 'triton-grpc-protocol-a'",
            ServerError,
            (
                "grpc://host refused the request (This protocol is restricted, expecting header "
                "'triton-grpc-protocol-a'): pass headers= (--header) that it accepts"
            ),
        ),
        (
            "grpcs://host",
            f"{CONNECTING}{BORING}CERTIFICATE_VERIFY_FAILED: self signed certificate: OK",
            ServerError,
            (
                "the certificate of grpcs://host is not signed by a trusted authority "
                "(CERTIFICATE_VERIFY_FAILED: self signed certificate): pass its CA certificate as "
                "root_certificates= (--root-certificates)"
            ),
        ),
        (
            "https://host",
            (
                "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: Hostname mismatch, "
                "certificate is not valid for 'host'. (_ssl.c:1006)"
            ),
            ServerError,
            (
                "the certificate of https://host is for another name (certificate verify failed: "
                "Hostname mismatch, certificate is not valid for 'host'.): write the one that it "
                "is for"
            ),
        ),
        (
            "grpcs://host",
            f"{CONNECTING}{BORING}CERTIFICATE_VERIFY_FAILED: certificate has expired: OK",
            ServerError,
            (
                "the certificate of grpcs://host is not valid now (CERTIFICATE_VERIFY_FAILED: "
                "certificate has expired): have it renewed, or set the clock"
            ),
        ),
        (
            "https://host",
            "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required (_ssl.c:1)",
            ServerError,
            (
                "https://host wants a certificate of its client that it trusts (tlsv13 alert "
                "certificate required): give it as certificate_chain= and private_key= "
                "(--certificate-chain, --private-key)"
            ),
        ),
        (
            "https://host",
            "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)",
            ServerError,
            (
                "https://host does not speak TLS (wrong version number): write http://, or the "
                "port that does"
            ),
        ),
        (
            "grpc://host",
            f"{CONNECTING}UNAVAILABLE: ipv4:127.0.0.1:1: Socket closed",
            ServerUnavailableError,
            (
                "grpc://host broke the connection off (Socket closed): see whether it is stopping, "
                "whether that is its port for grpc, and whether it wants TLS (grpcs://)"
            ),
        ),
        (
            "https://host",
            "Remote end closed connection without response",
            ServerUnavailableError,
            (
                "https://host broke the connection off (Remote end closed connection without "
                "response): see whether it is stopping, whether that is its port for http over "
                "TLS, and whether it wants a certificate of yours (certificate_chain=, "
                "private_key=)"
            ),
        ),
    ],
)
def test_why_a_server_cannot_be_reached(
    url: str, detail: str, kind: type[LannerError], message: str
) -> None:
    error = server_error("UNAVAILABLE", detail, address=Address.parse(url), model="")
    assert type(error) is kind
    assert str(error) == message


def test_a_server_that_answered_before_is_at_the_right_address() -> None:
    detail = "Stream removed (Socket closed)"
    error = server_error("UNAVAILABLE", detail, address=GRPC, model="", has_answered=True)
    assert type(error) is ServerUnavailableError
    assert (
        str(error) == f"grpc://host broke the connection off ({detail}): see whether it still runs"
    )


def test_what_a_model_says_of_connections_is_its_own() -> None:
    error = server_error("INTERNAL", "Socket closed", address=GRPC, model="minilm")
    assert type(error) is EngineError

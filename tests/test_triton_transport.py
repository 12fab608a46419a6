import re
from pathlib import Path
from typing import Any

import numpy as np
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
    UsageError,
)
from lanner.triton.transport import Address, input_tensors, server_error

GRPC = Address.parse("grpc://host")


@pytest.mark.parametrize(
    ("url", "protocol", "host", "is_encrypted"),
    [
        ("grpc://localhost:8001", "grpc", "localhost:8001", False),
        ("grpc://localhost", "grpc", "localhost:8001", False),
        ("grpcs://triton.example:443", "grpc", "triton.example:443", True),
        ("grpcs://triton.example", "grpc", "triton.example:8001", True),
        ("http://127.0.0.1:9000/", "http", "127.0.0.1:9000", False),
        ("http://localhost", "http", "localhost:8000", False),
        ("https://localhost", "http", "localhost:8000", True),
        ("grpc://[::1]:8001", "grpc", "[::1]:8001", False),
        ("http://[fe80::1]", "http", "[fe80::1]:8000", False),
        ("GRPC://HOST:1", "grpc", "host:1", False),
    ],
)
def test_addresses(url: str, protocol: str, host: str, is_encrypted: bool) -> None:
    address = Address.parse(url)
    assert (address.protocol, address.host, address.is_encrypted) == (protocol, host, is_encrypted)
    assert (address.url, address.headers) == (url, {})


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8001",
        "minilm.lanner",
        "ftp://localhost",
        "grpc://",
        "grpc://:8001",
        "grpc:localhost",
        "grpc://localhost:port",
        "grpc://localhost:65536",
        "grpc://localhost:-1",
        "grpc://[::1",
        "grpc://[::1]8001:x",
        "grpc://localhost:8001/minilm",
        "http://localhost/triton/",
        "http://user:secret@localhost",
        "http://localhost?a=b",
        "http://localhost#a",
    ],
)
def test_what_is_no_address(url: str) -> None:
    message = (
        f"{url!r} is no address of a server: write for example grpc://localhost:8001, with one of "
        "grpc, grpcs, http, https"
    )
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        Address.parse(url)


def test_options_of_an_address(tmp_path: Path) -> None:
    trusted = tmp_path / "ca.pem"
    trusted.touch()
    headers = {"authorization": "Bearer x"}
    options: dict[str, Any] = {"root_certificates": trusted, "private_key": None}
    address = Address.parse("grpcs://host", headers=headers, **options)
    assert address.headers == headers
    assert (address.root_certificates, address.private_key) == (trusted, None)
    assert Address.parse("grpc://host", headers=None).headers == {}


@pytest.mark.parametrize("option", ["root_certificates", "private_key", "certificate_chain"])
def test_files_of_an_address(tmp_path: Path, option: str) -> None:
    path = tmp_path / "a.pem"
    message = f"there is no file {path}, which https://host was to be reached with"
    with pytest.raises(InputError, match=re.escape(message)):
        Address.parse("https://host", **{option: path})
    path.touch()
    message = f"http://host is not encrypted, so {path} is of no use: write https://"
    with pytest.raises(UsageError, match=re.escape(message)):
        Address.parse("http://host", **{option: path})


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
            "grpc://host refused the request (no token): pass headers= that it accepts",
        ),
        (
            "403",
            "Forbidden",
            ServerError,
            "grpc://host refused the request (Forbidden): pass headers= that it accepts",
        ),
        (
            "UNAVAILABLE",
            "failed to connect to all addresses;\n last error: refused",
            ServerUnavailableError,
            (
                "no server answers at grpc://host (failed to connect to all addresses; last error: "
                "refused): see whether it runs and can be reached"
            ),
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


def test_texts_are_bytes_and_tokens_int64() -> None:
    grpc = pytest.importorskip("tritonclient.grpc", reason="needs the triton extra")
    given = {"input_ids": np.zeros((1, 2), np.int64), "text": np.array([[b"a"]], np.object_)}
    tensors = input_tensors(given, grpc.InferInput)
    assert [(one.name(), one.datatype(), one.shape()) for one in tensors] == [
        ("input_ids", "INT64", [1, 2]),
        ("text", "BYTES", [1, 1]),
    ]

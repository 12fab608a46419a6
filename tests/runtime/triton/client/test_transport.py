import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanner.errors import InputError, UsageError
from lanner.triton.client.transport import Address, input_tensors


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
        f"{url!r} is not the address of a server: write for example grpc://localhost:8001, with "
        "one of grpc, grpcs, http, https"
    )
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        Address.parse(url)


def test_options_of_an_address() -> None:
    assert Address.parse("grpc://host", headers=None, root_certificates=None).headers == {}
    # Names of headers are in lower case in HTTP/2, and in any case in HTTP/1.
    headers = {"Authorization": "Bearer x", "x-1_2.3": ""}
    address = Address.parse("https://host", headers=headers, private_key=None)
    assert address.headers == {"authorization": "Bearer x", "x-1_2.3": ""}
    assert (address.root_certificates, address.private_key) == (None, None)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\n", "\u00e4", 3])
def test_names_that_no_header_has(name: Any) -> None:
    message = f"no header can be called {name!r}: use letters, digits, '-', '_' and '.'"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        Address.parse("grpc://host", headers={name: "x"})


@pytest.mark.parametrize("value", ["a\nb", "\r", "\u00e4", "a\tb", b"a", None])
def test_values_that_no_header_has(value: Any) -> None:
    message = "the header secret cannot be sent: its value must be text in ASCII on one line"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        Address.parse("http://host", headers={"secret": value})


@pytest.mark.parametrize("option", ["root_certificates", "private_key", "certificate_chain"])
def test_files_of_an_address(tmp_path: Path, option: str) -> None:
    path = tmp_path / "a.pem"
    files: dict[str, Any] = {option: path}
    message = f"there is no file {path}, which https://host was to be reached with"
    with pytest.raises(InputError, match=re.escape(message)):
        Address.parse("https://host", **files)
    path.touch()
    with pytest.raises(InputError, match=f"^{re.escape(str(path))} "):  # as `certificates` says
        Address.parse("grpcs://host", **files)
    message = f"http://host is not encrypted, so {path} would not be used: write https://"
    with pytest.raises(UsageError, match=re.escape(message)):
        Address.parse("http://host", **files)


def test_texts_are_bytes_and_tokens_int64() -> None:
    grpc = pytest.importorskip("tritonclient.grpc", reason="needs the triton extra")
    given = {"input_ids": np.zeros((1, 2), np.int64), "text": np.array([[b"a"]], np.object_)}
    tensors = input_tensors(given, grpc.InferInput)
    assert [(one.name(), one.datatype(), one.shape()) for one in tensors] == [
        ("input_ids", "INT64", [1, 2]),
        ("text", "BYTES", [1, 1]),
    ]


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("a.localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("[::1]", True),
        ("10.0.0.1", False),
        ("[fe80::1]", False),
        ("localhost.example", False),
        ("triton", False),
    ],
)
def test_addresses_of_this_machine(host: str, is_loopback: bool) -> None:
    assert Address.parse(f"grpc://{host}:8001").is_loopback is is_loopback


@pytest.mark.parametrize(
    ("url", "header", "is_warned"),
    [
        ("http://triton.example", "Authorization", True),
        ("grpc://10.0.0.1", "x-api-key", True),
        ("grpc://10.0.0.1", "triton-grpc-protocol-a", True),
        ("http://triton.example", "x-request-id", False),
        ("http://localhost", "Authorization", False),
        ("https://triton.example", "Authorization", False),
    ],
)
def test_a_secret_in_the_open(
    caplog: pytest.LogCaptureFixture, url: str, header: str, is_warned: bool
) -> None:
    Address.parse(url, headers={header: "s3cret"})
    warned = "is not encrypted, so anyone on the way can read your headers" in caplog.text
    assert warned is is_warned
    assert "s3cret" not in caplog.text

"""Encrypted connections to a real server, certificates of both sides, and required headers."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import lanner
from lanner.errors import ServerError, ServerUnavailableError

pytest.importorskip("tritonclient.grpc", reason="needs the triton extra")
pytest.importorskip("trustme", reason="needs the dev extra")

import trustme
from tests.support.tls import Identity, TlsProxy, identity, root
from tests.support.word_artifact import write_word_artifact

from lanner.triton.repository.write import write_repository
from lanner.triton.server.installation import Installation
from lanner.triton.server.server import TritonServer

pytestmark = pytest.mark.no_transformers

PROGRAM = Path(sys.executable).with_name("lanner")
Start = Callable[..., TritonServer]
#: Worked out by hand for `tests.support.word_artifact`.
A_B = [0.5, 0.5, 0, 0]


class Ways(NamedTuple):
    """The ways to one model.

    Attributes:
        directory: The directory of the PEM files: ``root`` and ``stranger.root`` sign, ``client``
            and ``stranger`` are clients.
        urls: Addresses by protocol: ``plain``; ``tls``; ``mutual`` for clients with a certificate;
            ``elsewhere`` and ``old`` with a certificate for another host, and an expired one.
    """

    directory: Path
    urls: dict[str, dict[str, str]]

    def files(self, *names: str) -> dict[str, Any]:
        """Return the arguments for the trusted authority, the client's certificate and its key."""
        options = ("root_certificates", "certificate_chain", "private_key")
        kinds = ("pem", "pem", "key")
        return {
            option: self.directory / f"{name}.{kind}"
            for option, name, kind in zip(options, names, kinds, strict=False)
        }


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnx", reason="needs the export extra to write a graph")
    directory = tmp_path_factory.mktemp("words")
    artifact = write_word_artifact(directory / "words.lanner")
    write_repository([artifact], directory / "repository", names=["m"], with_text=False)
    return directory / "repository"


@pytest.fixture(scope="module")
def start(tritonserver: Installation, repository: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def start(*options: str) -> TritonServer:
            ports: dict[str, Any] = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
            # Clients keep their connections open; the server ends without waiting for them.
            server = TritonServer(
                repository, **ports, options=options, installation=tritonserver, grace_s=0
            )
            return stack.enter_context(server)

        yield start


@pytest.fixture(scope="module")
def ways(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    """Yield servers with gRPC over TLS; a proxy adds TLS for HTTP, which Triton does not have."""
    directory = tmp_path_factory.mktemp("tls")
    ours, stranger = trustme.CA(), trustme.CA()
    trusted = root(ours, directory / "root.pem")
    root(stranger, directory / "stranger.root.pem")
    identity(ours, directory, "client")
    identity(stranger, directory, "stranger")
    (directory / "both.pem").write_bytes(
        (directory / "client.pem").read_bytes() + (directory / "client.key").read_bytes()
    )
    here = identity(ours, directory, "localhost")
    tls, mutual = ("--grpc-use-ssl", "true"), ("--grpc-use-ssl-mutual=1",)
    with ExitStack() as stack:

        def serve(own: Identity, *options: str, trusted: Path | None = None) -> dict[str, str]:
            files = {"server-cert": own.certificate, "server-key": own.key, "root-cert": trusted}
            given = [f"--grpc-{name}={path}" for name, path in files.items() if path]
            server = start(*options, *given)
            port = int(server.http_url.rpartition(":")[2])
            proxy = stack.enter_context(TlsProxy(port, own, trusted))
            return {"grpc": server.grpc_url, "http": f"https://localhost:{proxy.port}"}

        plain = start()
        urls = {
            "plain": {"grpc": plain.grpc_url, "http": plain.http_url},
            "tls": serve(here, *tls),
            "mutual": serve(here, *mutual, trusted=trusted),
            "elsewhere": serve(identity(ours, directory, "elsewhere.example"), *tls),
            "old": serve(identity(ours, directory, "localhost", file="old", days=-1), *tls),
        }
        yield Ways(directory, urls)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize(
    ("way", "files"),
    [
        ("tls", ["root"]),
        ("tls", ["root", "client", "client"]),  # nobody asks for it
        ("mutual", ["root", "client", "client"]),
        ("mutual", ["root", "both"]),
    ],
)
def test_who_is_let_in(ways: Ways, protocol: str, way: str, files: list[str]) -> None:
    url = ways.urls[way][protocol]
    assert re.match(r"(grpcs|https)://localhost:\d+$", url)
    model = lanner.connect(url, "m", **ways.files(*files))
    np.testing.assert_allclose(model.encode("a b"), A_B)
    awaited = asyncio.run(lanner.connect_async(url, "m", **ways.files(*files)))
    np.testing.assert_allclose(asyncio.run(awaited.encode("a b")), A_B)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_whom_the_system_trusts_is_trusted(
    ways: Ways, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(ways.directory / "root.pem"))
    monkeypatch.delenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", raising=False)
    model = lanner.connect(ways.urls["tls"][protocol], "m")
    np.testing.assert_allclose(model.encode("a b"), A_B)


UNTRUSTED = (
    "the certificate of {url} is not signed by a trusted authority ({}): pass its CA certificate "
    "as root_certificates= (--root-certificates)"
)
OF_ANOTHER = "the certificate of {url} is for another name ({}): write the one that it is for"
TOO_OLD = "the certificate of {url} is not valid now ({}): have it renewed, or set the clock"
OFF = (
    "{url} broke the connection off ({}): see whether it is stopping, whether that is its port for "
    "{protocol}, and whether it wants {wants}"
)
WITHOUT = OFF.replace("{wants}", "TLS ({other}://)")
UNKNOWN = OFF.replace("{protocol}", "{protocol} over TLS").replace(
    "{wants}", "a certificate of yours (certificate_chain=, private_key=)"
)
NO_CLIENT = (
    "{url} wants a certificate of its client that it trusts ({}): give it as certificate_chain= "
    "and private_key= (--certificate-chain, --private-key)"
)
NO_TLS = "{url} does not speak TLS ({}): write {other}://, or the port that does"


@pytest.mark.parametrize(
    ("way", "protocol", "files", "kind", "message"),
    [
        ("tls", "grpc", [], ServerError, UNTRUSTED),
        ("tls", "http", [], ServerError, UNTRUSTED),
        ("tls", "grpc", ["stranger.root"], ServerError, UNTRUSTED),
        ("tls", "http", ["stranger.root"], ServerError, UNTRUSTED),
        ("elsewhere", "grpc", ["root"], ServerError, OF_ANOTHER),
        ("elsewhere", "http", ["root"], ServerError, OF_ANOTHER),
        ("old", "grpc", ["root"], ServerError, TOO_OLD),
        ("old", "http", ["root"], ServerError, TOO_OLD),
        # A gRPC server does not report this reason.
        ("mutual", "grpc", ["root"], ServerUnavailableError, UNKNOWN),
        ("mutual", "http", ["root"], ServerError, NO_CLIENT),
        (
            "mutual",
            "grpc",
            ["root", "stranger", "stranger"],
            ServerUnavailableError,
            UNKNOWN,
        ),
        ("mutual", "http", ["root", "stranger", "stranger"], ServerError, NO_CLIENT),
    ],
)
def test_who_is_not_let_in(
    ways: Ways, way: str, protocol: str, files: list[str], kind: type[ServerError], message: str
) -> None:
    url = ways.urls[way][protocol]
    with pytest.raises(ServerError, match=pattern(message, url, protocol)) as caught:
        lanner.connect(url, "m", **ways.files(*files))
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("way", "protocol", "scheme", "kind", "message"),
    [
        ("tls", "grpc", "grpc", ServerUnavailableError, WITHOUT),
        ("tls", "http", "http", ServerUnavailableError, WITHOUT),
        ("plain", "grpc", "grpcs", ServerError, NO_TLS),
        # Triton's HTTP server closes at once.
        ("plain", "http", "https", ServerUnavailableError, UNKNOWN),
        ("plain", "http", "grpcs", ServerUnavailableError, UNKNOWN),
        ("plain", "http", "grpc", ServerUnavailableError, WITHOUT),
        ("plain", "grpc", "http", ServerUnavailableError, WITHOUT),
    ],
)
def test_ports_of_something_else(
    ways: Ways, way: str, protocol: str, scheme: str, kind: type[ServerError], message: str
) -> None:
    url = f"{scheme}://{ways.urls[way][protocol].partition('://')[2]}"
    files = ways.files("root") if scheme.endswith("s") else {}
    spoken = scheme.removesuffix("s")
    with pytest.raises(ServerError, match=pattern(message, url, spoken)) as caught:
        lanner.connect(url, "m", **files)
    assert type(caught.value) is kind


def pattern(message: str, url: str, protocol: str) -> str:
    """Compare the whole message; the words of a library are in brackets, and its own."""
    scheme = url.partition(":")[0]
    other = scheme.removesuffix("s") if scheme.endswith("s") else f"{scheme}s"
    said = message.format("SAID", url=url, protocol=protocol, other=other)
    return f"^{re.escape(said).replace('SAID', '[ -~]+')}$"


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_commands_take_certificates(ways: Ways, protocol: str) -> None:
    url = ways.urls["mutual"][protocol]
    options = [
        f"--{name.replace('_', '-')}={path}"
        for name, path in ways.files("root", "client", "client").items()
    ]

    def similarity(*options: str) -> subprocess.CompletedProcess[str]:
        command = [str(PROGRAM), "similarity", f"{url}/m", "a b", "a", *options]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    good = similarity(*options)
    assert (good.returncode, good.stdout, good.stderr) == (0, "0.7071\n", "")  # half of root 2
    bad = similarity(*options[1:])
    # One line: gRPC's own output must not appear.
    assert re.match(pattern(f"lanner: error: {UNTRUSTED}", url, protocol), bad.stderr)
    assert bad.returncode == 1


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_service_stands_before_an_encrypted_server(ways: Ways, protocol: str) -> None:
    pytest.importorskip("uvicorn", reason="needs the extra 'service'")
    from tests.support.service import serving  # noqa: PLC0415 (an extra)

    url = ways.urls["mutual"][protocol]
    files = {name: str(path) for name, path in ways.files("root", "client", "client").items()}
    with serving({"m": url}, **files) as running:
        answer = running.post("/embed", {"inputs": "a b", "normalize": False})
        assert (answer.status, answer.json) == (200, [A_B])
        assert running.get("/ready").status == 200
    message = pattern(UNTRUSTED, url, protocol)
    with pytest.raises(ServerError, match=message), serving({"m": url}):
        pass


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_an_encrypted_server_is_measured(ways: Ways, protocol: str) -> None:
    pytest.importorskip("scipy", reason="needs lanner-bench")
    options = [
        f"--{name.replace('_', '-')}={path}"
        for name, path in ways.files("root", "client", "client").items()
    ]
    command = [str(PROGRAM), "bench", f"{ways.urls['mutual'][protocol]}/m", *options]
    command += ["--quick", "--suites", "latency", "--threads", "1", "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    subjects = json.loads(done.stdout)["subjects"]
    name = {"grpc": "gRPC", "http": "HTTP"}[protocol]
    assert [subject["name"] for subject in subjects] == [f"tokens, {name}"]
    assert all(subject["latency_ms"]["p50"] > 0 for subject in subjects)


def test_what_is_restricted_takes_a_header(start: Start) -> None:
    apis = "health,metadata,model-config,model-repository,inference"
    server = start(
        f"--grpc-restricted-protocol={apis}:authorization=Bearer x=y",
        f"--http-restricted-api={apis}:authorization=Bearer x=y",
    )
    assert server.models() == [{"name": "m", "version": "1", "state": "READY"}]
    names = {
        server.grpc_url: "Triton-Grpc-Protocol-Authorization",
        server.http_url: "Authorization",
    }
    for url, name in names.items():
        model = lanner.connect(url, "m", headers={name: "Bearer x=y"})
        np.testing.assert_allclose(model.encode("a b"), A_B)
        message = (
            rf"^{url} refused the request \(This \w+ is restricted, expecting header "
            rf"'{name.lower()}'\): pass headers= \(--header\) that it accepts$"
        )
        for headers in ({}, {name: "Bearer x"}, {"x": "y"}):
            with pytest.raises(ServerError, match=message):
                lanner.connect(url, "m", headers=headers)

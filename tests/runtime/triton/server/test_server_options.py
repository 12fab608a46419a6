import re
from pathlib import Path

import pytest

from lanner.errors import InputError, UsageError
from lanner.triton.server.server_options import ServerOptions

GIVEN = ["--a=1", "--b", "2", "--a", "3", "--c=x=y", "--d"]


def test_values_of_options() -> None:
    options = ServerOptions(GIVEN)
    assert options.given == GIVEN
    assert options.values("--a") == ["1", "3"]
    assert [options.value(name) for name in ("--a", "--b", "--c", "--d", "--e")] == [
        "3",
        "2",
        "x=y",
        "",
        None,
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--http-port=1"], "--http-port is not allowed among the options after --: put it before"),
        (
            ["--grpc-port", "1"],
            "--grpc-port is not allowed among the options after --: put it before",
        ),
        (
            ["--allow-http=no"],
            "--allow-http is not allowed among the options after --: Lanner needs",
        ),
    ],
)
def test_options_that_lanner_must_know(given: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}"):
        ServerOptions(given)


@pytest.mark.parametrize(
    ("given", "hosts"),
    [
        ([], ("localhost", "localhost", "localhost")),
        (["--http-address=127.0.0.2"], ("127.0.0.2", "localhost", "127.0.0.2")),
        (
            ["--http-address=0.0.0.0", "--grpc-address", "::1", "--metrics-address=10.0.0.1"],
            ("localhost", "[::1]", "10.0.0.1"),
        ),
    ],
)
def test_where_it_is_served(given: list[str], hosts: tuple[str, str, str]) -> None:
    options = ServerOptions(given)
    assert tuple(options.host(name) for name in ("http", "grpc", "metrics")) == hosts


@pytest.mark.parametrize(
    ("given", "address", "is_public"),
    [
        ([], "127.0.0.1", False),
        ([], "localhost", False),
        ([], "::1", False),
        ([], "0.0.0.0", True),  # noqa: S104
        ([], "::", True),
        (["--grpc-address=0.0.0.0"], "127.0.0.1", True),
        (["--http-address=10.0.0.1"], "127.0.0.1", True),
    ],
)
def test_who_reaches_it(given: list[str], address: str, is_public: bool) -> None:
    options = ServerOptions(given, address)
    assert options.is_public is is_public
    assert ServerOptions([]).address("metrics") == "127.0.0.1"


def test_paths_do_not_depend_on_where_the_server_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["--grpc-server-cert=a.pem", "--log-file", "log", "--log-verbose", "1", "--log-info=x"]
    assert ServerOptions(given).given == [
        f"--grpc-server-cert={tmp_path}/a.pem",
        "--log-file",
        f"{tmp_path}/log",
        "--log-verbose",
        "1",
        "--log-info=x",
    ]


def test_administration_is_for_whoever_knows_the_secret() -> None:
    key = "lanner-administration=s3cret"
    apis = "model-repository,shared-memory,trace,logging"
    assert ServerOptions([]).restrictions("s3cret") == [
        f"--http-restricted-api={apis}:{key}",
        f"--grpc-restricted-protocol={apis}:{key}",
    ]
    given = ["--model-control-mode=explicit", "--http-restricted-api=health:a=b"]
    assert ServerOptions(given).restrictions("s3cret") == [
        f"--grpc-restricted-protocol=shared-memory,trace,logging:{key}"
    ]


@pytest.mark.parametrize(
    ("given", "is_encrypted", "wants_certificate"),
    [
        ([], False, False),
        (["--grpc-use-ssl=false"], False, False),
        (["--grpc-use-ssl", "true"], True, False),
        (["--grpc-use-ssl=1"], True, False),
        (["--grpc-use-ssl-mutual=True"], True, True),
    ],
)
def test_grpc_over_tls(given: list[str], is_encrypted: bool, wants_certificate: bool) -> None:
    options = ServerOptions(given)
    assert options.is_grpc_encrypted is is_encrypted
    assert options.wants_client_certificate is wants_certificate


def test_headers_of_restricted_apis() -> None:
    given = ["--http-restricted-api=health,metadata:a=b=c", "--http-restricted-api", "trace:d=e"]
    assert ServerOptions(given).http_headers == {"a": "b=c", "d": "e"}
    assert ServerOptions(["--http-restricted-api=health"]).http_headers == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["--grpc-use-ssl=1"],
            (
                "gRPC over TLS needs --grpc-server-cert, --grpc-server-key: add "
                "--grpc-server-cert=FILE after --"
            ),
        ),
        (
            ["--grpc-use-ssl-mutual=1", "--grpc-server-cert=a.pem", "--grpc-server-key=a.key"],
            (
                "gRPC over TLS needs --grpc-server-cert, --grpc-server-key, --grpc-root-cert: add "
                "--grpc-root-cert=FILE after --"
            ),
        ),
    ],
)
def test_certificates_that_are_missing(given: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        ServerOptions(given).require_certificates()


def test_certificates_that_are_of_no_use(tmp_path: Path) -> None:
    pytest.importorskip("trustme", reason="needs the dev extra")
    import trustme  # noqa: PLC0415
    from tests.support.tls import identity, root  # noqa: PLC0415

    authority = trustme.CA()
    own, other = (identity(authority, tmp_path, name) for name in ("own", "other"))
    trusted = root(authority, tmp_path / "root.pem")

    def require(*files: Path) -> None:
        names = ("server-cert", "server-key", "root-cert")
        given = [f"--grpc-{name}={path}" for name, path in zip(names, files, strict=True)]
        ServerOptions(["--grpc-use-ssl-mutual=1", *given]).require_certificates()

    require(own.certificate, own.key, trusted)
    with pytest.raises(InputError, match=f"^the key in {other.key} is not that of the certificate"):
        require(own.certificate, other.key, trusted)
    with pytest.raises(InputError, match=f"^{own.key} holds no certificate in PEM"):
        require(own.certificate, own.key, own.key)
    ServerOptions([]).require_certificates()

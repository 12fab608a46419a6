import re
from pathlib import Path

import pytest

from lanner.errors import InputError
from lanner.triton.client.certificates import require_key_pair, tls_context

pytest.importorskip("trustme", reason="needs the dev extra")

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from tests.support.tls import identity, root


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write ``root``, and ``one`` and ``two`` signed by it; ``text`` and ``empty`` are neither."""
    directory = tmp_path_factory.mktemp("files")
    authority = trustme.CA()
    root(authority, directory / "root.pem")
    one = identity(authority, directory, "one")
    identity(authority, directory, "two")
    both = one.certificate.read_bytes() + one.key.read_bytes()
    (directory / "both.pem").write_bytes(both)
    (directory / "text.pem").write_text("a text\n")
    (directory / "empty.pem").touch()
    (directory / "cut.pem").write_bytes(one.certificate.read_bytes()[:200])
    key = load_pem_private_key(one.key.read_bytes(), None)
    encryption = BestAvailableEncryption(b"secret")
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    (directory / "locked.key").write_bytes(locked)
    return directory


def path(files: Path, name: str | None) -> Path | None:
    return None if name is None else files / name


@pytest.mark.parametrize(
    ("trusted", "chain", "key"),
    [
        (None, None, None),
        ("root.pem", None, None),
        ("root.pem", "one.pem", "one.key"),
        (None, "both.pem", None),
        ("both.pem", "both.pem", "both.pem"),
    ],
)
def test_what_a_client_encrypts_with(
    files: Path, trusted: str | None, chain: str | None, key: str | None
) -> None:
    context = tls_context(path(files, trusted), path(files, chain), path(files, key))
    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"


NO_CERTIFICATE = "{} holds no certificate in PEM: give a file with -----BEGIN CERTIFICATE-----"
NO_KEY = (
    "{} holds no private key in PEM that can be read without a password: give a file with "
    "-----BEGIN PRIVATE KEY-----"
)


@pytest.mark.parametrize(
    ("trusted", "chain", "key", "message"),
    [
        ("text.pem", None, None, NO_CERTIFICATE.format("{}/text.pem")),
        ("empty.pem", None, None, NO_CERTIFICATE.format("{}/empty.pem")),
        ("cut.pem", None, None, NO_CERTIFICATE.format("{}/cut.pem")),
        ("one.key", None, None, NO_CERTIFICATE.format("{}/one.key")),
        ("root.pem", "text.pem", "one.key", NO_CERTIFICATE.format("{}/text.pem")),
        (
            "gone.pem",
            None,
            None,
            (
                "{}/gone.pem cannot be read (No such file or directory): give a file with a "
                "certificate in PEM"
            ),
        ),
        (None, "one.pem", "text.pem", NO_KEY.format("{}/text.pem")),
        (None, "one.pem", None, NO_KEY.format("{}/one.pem")),
        (None, "one.pem", "locked.key", NO_KEY.format("{}/locked.key")),
        (
            None,
            "one.pem",
            "two.key",
            (
                "the key in {0}/two.key is not that of the certificate in {0}/one.pem: give the "
                "two that were made together"
            ),
        ),
        (
            None,
            "one.pem",
            "gone.key",
            "{}/gone.key cannot be read (No such file or directory): give a file with a key in PEM",
        ),
        (
            None,
            None,
            "one.key",
            "{}/one.key needs its certificate: give certificate_chain, too",
        ),
    ],
)
def test_files_that_are_of_no_use(
    files: Path, trusted: str | None, chain: str | None, key: str | None, message: str
) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message.format(files))}$"):
        tls_context(path(files, trusted), path(files, chain), path(files, key))


def test_what_a_server_serves_with(files: Path) -> None:
    require_key_pair(files / "one.pem", files / "one.key")
    with pytest.raises(InputError, match=r"^the key in .*/two\.key is not that of the certificate"):
        require_key_pair(files / "one.pem", files / "two.key")

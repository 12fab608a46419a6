"""The expiry of certificates, read from their files."""

import re
import ssl
from datetime import UTC, datetime
from pathlib import Path

from lanner.machine.file_state import FileState, file_state

_PEM = re.compile(
    rb"-----BEGIN CERTIFICATE-----\s.*?-----END CERTIFICATE-----", re.DOTALL | re.ASCII
)
#: The tags of ASN.1 for an explicit version and for the two forms of a time.
_VERSION, _SHORT_TIME = 0xA0, 0x17


class CertificateExpiry:
    """The time at which the first certificate of a file expires. The file is read when it changes.

    Args:
        path: A PEM file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state: FileState | None = None
        self._expiry_s: float | None = None

    def seconds(self) -> float | None:
        """Return the time in seconds since the epoch, or None if the file cannot be read."""
        try:
            state = file_state(self._path)
            if state != self._state:
                self._expiry_s = min(map(_expiry_s, _PEM.findall(self._path.read_bytes())))
                self._state = state
        except (OSError, ValueError, IndexError):
            return None
        return self._expiry_s


def _expiry_s(pem: bytes) -> float:
    """Return the end of a certificate's validity; see RFC 5280, section 4.1."""
    der = ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))
    _, certificate, _ = _element(der, 0)
    _, at, _ = _element(der, certificate)
    tag, _, end = _element(der, at)
    # The serial number, the algorithm and the issuer come before the validity.
    for _ in range(3 if tag == _VERSION else 2):
        at = end
        _, _, end = _element(der, at)
    at = end
    _, start, _ = _element(der, at)
    _, _, begin_ends = _element(der, start)
    tag, first, last = _element(der, begin_ends)
    form = "%y%m%d%H%M%SZ" if tag == _SHORT_TIME else "%Y%m%d%H%M%SZ"
    moment = datetime.strptime(der[first:last].decode("ascii"), form)
    return moment.replace(tzinfo=UTC).timestamp()


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """Return the tag of the element at a place, and where its content starts and ends."""
    tag, length, start = der[at], der[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(der[start : start + size], "big")
        start += size
    return tag, start, start + length

"""Releases of Triton that fixed vulnerabilities, by NVIDIA's security bulletins.

A server reports its own version (2.51.0); the bulletins name the release of its container (25.07).
"""

import re
from typing import NamedTuple


class Mended(NamedTuple):
    """The vulnerabilities that a release fixed.

    Attributes:
        version: The server's first version with the fix.
        release: The release of its container.
        what: The vulnerabilities.
    """

    version: tuple[int, int]
    release: str
    what: str


#: Most severe first. https://github.com/NVIDIA/product-security: 2025/5687, 2025/5691, 2026/5875.
MENDED = (
    Mended(
        (2, 59),
        "25.07",
        "one request can end it or run code in it (CVE-2025-23310, CVE-2025-23311, CVE-2025-23319)",
    ),
    Mended((2, 60), "25.08", "a model's name can run code in it (CVE-2025-23316)"),
    Mended((2, 71), "26.07", "it lacks the security updates of 2026"),
)


def vulnerability(version: str) -> str | None:
    """Return the known vulnerabilities of a version of the server, or None.

    Args:
        version: The version that the server reports, ``"2.51.0"``.
    """
    found = re.match(r"(\d{1,4})\.(\d{1,4})", version)
    if found is None:
        return None
    own = (int(found[1]), int(found[2]))
    lacking = [mended for mended in MENDED if own < mended.version]
    if not lacking:
        return None
    newest = lacking[-1]
    return (
        f"Triton {found[0]} is not safe for untrusted callers: {lacking[0].what}; use "
        f"{newest.version[0]}.{newest.version[1]} (container {newest.release}) or later, or allow "
        "trusted callers only"
    )

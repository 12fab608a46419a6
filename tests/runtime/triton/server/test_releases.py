"""The known vulnerabilities of Triton's versions."""

import pytest

from lanner.triton.server.releases import vulnerability


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (
            "2.51.0",
            "Triton 2.51 is not safe for untrusted callers: one request can",
        ),
        ("2.58.0", "CVE-2025-23310"),
        ("2.59.1", "a model's name can run code in it (CVE-2025-23316); use 2.71 (container 26.0"),
        ("2.60.0", "it lacks the security updates of 2026; use 2.71"),
    ],
)
def test_a_version_with_known_vulnerabilities(version: str, said: str) -> None:
    assert said in (vulnerability(version) or "")


@pytest.mark.parametrize("version", ["2.71.0", "2.100.0", "3.0", "", "main"])
def test_a_version_that_nothing_is_known_against(version: str) -> None:
    assert vulnerability(version) is None

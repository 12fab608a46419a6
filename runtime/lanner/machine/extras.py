"""The extras of Lanner and the packages of each, as the installed distribution names them."""

import re
from collections import defaultdict
from functools import cache
from importlib import metadata

#: The extras for a clone, which no message names.
_OF_DEVELOPERS = frozenset({"dev", "docs"})
#: "torch>=2.13; extra == 'export'"
_REQUIREMENT = re.compile(r"([\w.-]+).*;\s*extra\s*==\s*['\"]([\w.-]+)['\"]")


@cache
def extras() -> dict[str, tuple[str, ...]]:
    """Return the packages that each extra installs; empty if Lanner itself is not installed."""
    try:
        requirements = metadata.requires("lanner") or []
    except metadata.PackageNotFoundError:
        requirements = []
    found = defaultdict[str, list[str]](list)
    for package, extra in filter(None, map(_of_extra, requirements)):
        if extra not in _OF_DEVELOPERS:
            found[extra].append(package)
    return {extra: tuple(packages) for extra, packages in found.items()}


def has_package(name: str) -> bool:
    """True if a distribution is installed, of any version."""
    try:
        metadata.distribution(name)  # reading its version would read a long file
    except metadata.PackageNotFoundError:
        return False
    return True


def _of_extra(requirement: str) -> tuple[str, str] | None:
    found = _REQUIREMENT.fullmatch(requirement)
    return None if found is None else (found[1], found[2])

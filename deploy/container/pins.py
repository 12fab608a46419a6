"""Write the files of pins that the images install, each a part of `requirements/hashed.txt`.

    .venv/bin/python deploy/container/pins.py requirements

A package is a part if an extra of Lanner needs it, on any of Lanner's platforms. What each package
needs is read from the environment that runs this, so that no index is asked.
"""

import re
import sys
import tomllib
from collections.abc import Collection, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
#: The extras of each image. The extra native is a wheel that the images build.
EXTRAS = {
    "container-service.txt": ("service", "onnxruntime", "masking", "tiktoken", "otel"),
    "container-exporter.txt": ("export", "parquet", "peft", "sparse", "zh"),
}
#: Packages that the service never imports, with whatever only they need: the client of the Hugging
#: Face hub, which tokenizers loads only to download, and one of HTTP with asyncio, which
#: tritonclient loads only for its own asyncio. A smaller image has fewer faults.
LEFT_OUT = {"container-service.txt": ("huggingface-hub", "aiohttp")}
_VERSIONS = ("3.11", "3.12", "3.13")
_MACHINES = ("x86_64", "aarch64")


def texts() -> dict[str, str]:
    """Return the content of each file by its name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    made = {}
    for name, extras in EXTRAS.items():
        direct = [
            *project["dependencies"],
            *(one for extra in extras for one in project["optional-dependencies"][extra]),
        ]
        title = f"# Written by deploy/container/pins.py: what lanner[{','.join(extras)}] needs."
        made[name] = "\n".join([title, *_lines(closure(direct, project, LEFT_OUT.get(name, ())))])
    return made


def closure(
    direct: list[str], project: Mapping[str, Any], left_out: Collection[str] = ()
) -> set[str]:
    """Return the names of all packages that requirements need, on any platform of Lanner.

    Args:
        direct: The requirements.
        project: The table of Lanner's own pyproject.toml.
        left_out: Packages that are not followed.
    """
    found: set[str] = set()
    left = [Requirement(one) for one in direct]
    seen: set[tuple[str, frozenset[str]]] = set()
    while left:
        one = left.pop()
        name, extras = canonicalize_name(one.name), frozenset(one.extras)
        if (name, extras) in seen or name in left_out:
            continue
        seen.add((name, extras))
        if name == "lanner":
            own = project["optional-dependencies"]
            left += [Requirement(line) for extra in extras for line in own[extra]]
            continue
        found.add(name)
        needs = metadata.requires(name) or []
        left += [need for need in map(Requirement, needs) if _applies(need, extras)]
    return found


def _applies(need: Requirement, extras: frozenset[str]) -> bool:
    if need.marker is None:
        return True
    return any(
        need.marker.evaluate(
            {
                "extra": extra,
                "python_version": version,
                "python_full_version": f"{version}.99",
                "platform_machine": machine,
            }
        )
        for extra in ("", *extras)
        for version in _VERSIONS
        for machine in _MACHINES
    )


def _lines(names: set[str]) -> Iterator[str]:
    """Yield the pins of packages with their hashes, from the file of all; torch has none there."""
    text = (ROOT / "requirements" / "hashed.txt").read_text(encoding="utf-8")
    for pin in re.findall(r"^\S.*\n(?:    --hash.*\n?)*", text, re.MULTILINE):
        if canonicalize_name(Requirement(pin.partition(" \\")[0]).name) in names:
            yield pin.rstrip("\n")
    yield ""


if __name__ == "__main__":
    for file, content in texts().items():
        Path(sys.argv[1], file).write_text(content, encoding="utf-8")

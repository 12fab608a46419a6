"""Write the hashes of all files that the pins of a requirement file may install.

    python -m lanner_perf.tools.hashes requirements/triton.txt
    python -m lanner_perf.tools.hashes constraints.txt --output hashed.txt --without torch

uv asks the package index (`pip install uv`). Only files for Lanner's platforms are kept: wheels for
Linux on x86-64 and ARM with Python 3.11 to 3.13, and source distributions.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from lanner.errors import LannerError
from lanner.files.staging import staged_file

#: The minor versions of Python 3 that pyproject.toml names.
MINORS = (11, 12, 13)
#: A patch version above all real ones, because some packages need a recent patch of 3.11.
PATCH = 99
ARCHITECTURES = ("x86_64", "aarch64")
#: The pinned name and version of each package, and the SHA-256 of its files.
Hashes = Mapping[tuple[str, str], list[str]]


def main() -> int:
    args = _parser().parse_args()
    try:
        text = args.requirements.read_text(encoding="utf-8")
        hashes = hashes_of(locked(text, args.uv))
        lines = "".join(f"{line}\n" for line in hashed_lines(text, hashes, set(args.without)))
        with staged_file(args.output or args.requirements) as file:
            file.write(lines.encode())
    except (LannerError, OSError) as error:
        sys.stderr.write(f"lanner_perf.tools.hashes: error: {error}\n")
        return 1
    return 0


def pins_of(text: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the version of each pin of a requirement file."""
    for line in text.splitlines():
        if (requirement := requirement_of(line)) is not None:
            (one,) = requirement.specifier
            yield canonicalize_name(requirement.name), one.version


def requirement_of(line: str) -> Requirement | None:
    """Return the pin of a line, without its hashes, or None for another line."""
    pin = re.sub(r"--hash.*|\s#.*|\\$", "", line).strip()
    return Requirement(pin) if pin and not pin.startswith("#") else None


def locked(text: str, uv: str) -> dict[str, Any]:
    """Return the content of the pylock.toml that uv writes for the pins of a requirement file.

    Raises:
        LannerError: uv is missing, or fails.
    """
    with tempfile.TemporaryDirectory() as directory:
        pins, lock = Path(directory, "pins.in"), Path(directory, "pylock.toml")
        pins.write_text("\n".join(_without_hashes(text)), encoding="utf-8")
        options = ["--quiet", "--no-deps", "--universal"]
        options += ["--python-version", f"3.{MINORS[0]}.{PATCH}", "--output-file", str(lock)]
        command = [uv, "pip", "compile", *options, str(pins)]
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True)
        except OSError as error:
            msg = f"uv cannot be started ({error}): pip install uv"
            raise LannerError(msg) from error
        if done.returncode:
            msg = f"uv does not find the pins: {done.stderr.strip()}"
            raise LannerError(msg)
        return tomllib.loads(lock.read_text(encoding="utf-8"))


def hashes_of(lock: Mapping[str, Any]) -> Hashes:
    """Return the hashes of the files that Lanner's platforms may install.

    Args:
        lock: The content of a pylock.toml.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for package in lock["packages"]:
        wheels = [one for one in package.get("wheels", []) if fits(_file_name(one))]
        files = [*wheels, *([package["sdist"]] if "sdist" in package else [])]
        pin = canonicalize_name(package["name"]), package["version"]
        found[pin] = sorted(one["hashes"]["sha256"] for one in files)
    return found


def _file_name(file: Mapping[str, Any]) -> str:
    name: str = file.get("name") or file["url"].rpartition("/")[2]
    return name


def fits(file_name: str) -> bool:
    """Return True if a wheel can be installed on one of Lanner's platforms."""
    try:
        *_, tags = parse_wheel_filename(file_name)
    except InvalidWheelFilename:
        return False
    return any(_is_of_python(tag) and _is_of_linux(tag.platform) for tag in tags)


def _is_of_python(tag: Tag) -> bool:
    name, minor = tag.interpreter[:3], tag.interpreter[3:]
    if tag.interpreter.startswith("py3"):
        return tag.abi == "none"
    if name != "cp3" or not minor.isdigit():
        return False
    if tag.abi == "abi3":
        return int(minor) <= MINORS[-1]
    return int(minor) in MINORS and tag.abi in ("none", tag.interpreter)


def _is_of_linux(platform: str) -> bool:
    return platform == "any" or (
        platform.startswith(("manylinux", "linux")) and platform.endswith(ARCHITECTURES)
    )


def hashed_lines(text: str, hashes: Hashes, without: Iterable[str] = ()) -> Iterator[str]:
    """Yield the lines of a requirement file, each pin with its hashes.

    Args:
        text: The content of the file; hashes in it are replaced.
        hashes: The hashes of each pin.
        without: Names of packages to leave out.

    Raises:
        LannerError: A pin has no file that fits.
    """
    for line in _without_hashes(text):
        requirement = requirement_of(line)
        if requirement is None:
            yield line
            continue
        ((name, version),) = pins_of(line)
        if name in without:
            continue
        if not hashes.get((name, version)):
            msg = f"{name} {version} has no file for Python 3.{MINORS[0]} to 3.{MINORS[-1]}"
            raise LannerError(msg)
        yield " \\\n".join([line, *(f"    --hash=sha256:{one}" for one in hashes[name, version])])


def _without_hashes(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if not line.strip().startswith("--hash"):
            yield line.removesuffix("\\").rstrip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lanner_perf.tools.hashes", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("requirements", metavar="FILE", type=Path, help="a file of pins")
    parser.add_argument("--output", type=Path, help="the file to write (default: the same)")
    parser.add_argument(
        "--without", metavar="NAME", nargs="*", default=[], help="packages to leave out"
    )
    parser.add_argument("--uv", default="uv", help="the program uv (default: that of the path)")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Make the root file system of the service from Debian's packages: Python and its libraries.

    python3 root.py /container/debian /image

Without a shell, a package manager and other programs, an intruder finds little, and so does a
scanner of vulnerabilities. The first argument is the status file of dpkg before the tools of the
build were installed, the second the directory to make.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

#: Packages that no library names: the release, the certificates, the name service.
_NAMED = re.compile(r"base-files|netbase|media-types|ca-certificates|(lib)?python3[.\w-]*")
_LEFT_OUT = re.compile(
    r"/usr/share/(doc/(?!.*/copyright$)|man|lintian|locale|bug|menu|apps|pixmaps)|/usr/s?bin/(?!python)"
)
_USER = 65532
_FILES = {
    "etc/passwd": f"root:x:0:0::/root:/nologin\nlanner:x:{_USER}:{_USER}::/tmp:/nologin\n",
    "etc/group": f"root:x:0:\nlanner:x:{_USER}:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}


def main(status: Path, root: Path) -> None:
    """Copy the files of the packages, and describe the packages as dpkg does."""
    installed = {
        re.search(r"^Package: (.*)$", paragraph, re.MULTILINE)[1]: paragraph  # type: ignore[index]
        for paragraph in status.read_text(encoding="utf-8").split("\n\n")
        if "\nStatus: install ok installed\n" in paragraph
    }
    names = {name for name in installed if _NAMED.fullmatch(name)}
    names |= set(owners(libraries()))
    for name in ("tmp", "proc", "sys", "dev", "run", "var/lib/dpkg", "opt", "root", "models"):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(f"usr/{name}")
    for name in names:
        for path in files(name):
            copy(path, root)
    copy(Path("/etc/ssl/certs/ca-certificates.crt"), root)  # its package makes it when installed
    for name, content in _FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, encoding="utf-8")
    (root / "var/lib/dpkg/status").write_text(
        "".join(f"{installed[name]}\n\n" for name in sorted(names)), encoding="utf-8"
    )


def libraries() -> Iterator[Path]:
    """Yield the libraries of the system that Python and its modules load."""
    places = [Path(sysconfig.get_path("stdlib")), Path("/opt/lanner")]
    modules = [path for place in places for path in place.rglob("*.so*") if path.is_file()]
    programs = [Path(sys.executable).resolve(), *modules]
    done = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False)
    for found in sorted(set(re.findall(r"(?:=> |^\t)(/(?!opt)\S+) \(", done.stdout, re.MULTILINE))):
        yield Path(found)


def owners(paths: Iterable[Path]) -> Iterator[str]:
    """Yield the packages of files; the directories /lib and /usr/lib are one."""
    for path in paths:
        real = str(path.resolve())
        asked = [str(path), real, real.removeprefix("/usr"), f"/usr{path}"]
        done = subprocess.run(["dpkg", "-S", *asked], capture_output=True, text=True, check=False)
        if not done.stdout:
            sys.exit(f"root.py: error: no package owns {path}")
        yield done.stdout.partition(":")[0]


def files(package: str) -> Iterator[Path]:
    """Yield the files and links of a package."""
    listed = subprocess.run(["dpkg", "-L", package], capture_output=True, text=True, check=True)
    for line in listed.stdout.splitlines():
        path = Path(line)
        is_there = path.is_symlink() or path.is_file()
        if is_there and not (path.is_symlink() and path.is_dir()) and not _LEFT_OUT.match(line):
            yield path


def copy(path: Path, root: Path) -> None:
    """Copy a file or a link to the same place below a directory."""
    place = root / os.path.realpath(path.parent).lstrip("/") / path.name
    if not place.is_symlink() and not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place, follow_symlinks=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

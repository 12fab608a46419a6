"""The environments of the peers, which need other package versions than the harness.

    python -m lanner_perf.peers.environments build/peers [NAME ...]

Each environment is a venv with the pinned requirements that ship with this package. An existing one
with the same requirements is reused. An environment gets its name only when it is complete.
`--newest` pins the newest versions that the ``.in`` file allows.
"""

import argparse
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lanner.commands.console import steps
from lanner.errors import LannerError
from lanner.files.staging import staged_directory
from lanner_perf.subjects.subject import SubjectError, last_line

REQUIREMENTS = Path(__file__).parent / "requirements"
NAMES = tuple(sorted(file.stem for file in REQUIREMENTS.glob("*.in")))
_STAMP = "requirements.sha256"


class Environment:
    """The environment of some peers.

    Args:
        name: One of `NAMES`, or a requirement file in `requirements`.
        directory: The directory of all environments.
        requirements: The directory of the requirement files.
    """

    def __init__(self, name: str, directory: Path, requirements: Path = REQUIREMENTS) -> None:
        self.name = name
        self.directory = directory.absolute() / name
        self.requirements = requirements / f"{name}.txt"

    @property
    def python(self) -> Path:
        """Return its interpreter, which exists once the environment is made.

        No other script of the environment works, because it refers to the directory in which it was
        made.
        """
        return self.directory / "bin" / "python"

    @property
    def digest(self) -> str:
        """Return the digest of its requirements and of the Python that makes it."""
        content = sys.version.encode() + self.requirements.read_bytes()
        return hashlib.sha256(content).hexdigest()

    def is_made(self) -> bool:
        """Return True if the environment exists, complete and with these requirements."""
        stamp = self.directory / _STAMP
        return self.python.exists() and stamp.is_file() and stamp.read_text() == self.digest

    def make(self) -> None:
        """Install the environment, unless it exists.

        Raises:
            SubjectError: It could not be installed; nothing is left of it.
        """
        if not self.is_made():
            self._install(["--requirement", str(self.requirements)])

    def renew(self) -> None:
        """Install the newest versions that its ``.in`` file allows, and pin them.

        Raises:
            SubjectError: It could not be installed; the pins stay as they were.
        """
        self._install(["--requirement", str(self.requirements.with_suffix(".in"))])
        frozen = self._run("reading its versions", self.python, "-m", "pip", "freeze")
        # A CPU build has this suffix; the index finds it without.
        self.requirements.write_text(frozen.replace("+cpu", ""))
        (self.directory / _STAMP).write_text(self.digest)

    def _install(self, what: Sequence[str]) -> None:
        try:
            with staged_directory(self.directory, replace=True) as staged:
                # A temporary file system may be too small for what pip unpacks.
                temporary = staged.parent / "tmp"
                temporary.mkdir()
                self._run("making it", sys.executable, "-m", "venv", staged)
                pip = (staged / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-input")
                self._run("installing it", *pip, "--no-cache-dir", *what, temporary=temporary)
                (staged / _STAMP).write_text(self.digest if self.requirements.is_file() else "")
        except (OSError, LannerError) as error:
            msg = f"the environment {self.name!r} could not be made: {error}"
            raise SubjectError(msg) from None

    def _run(self, doing: str, *command: object, temporary: Path | None = None) -> str:
        # The environment must not contain the harness's folders.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
        if temporary is not None:
            environment["TMPDIR"] = str(temporary)
        done = subprocess.run(
            [str(part) for part in command],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = pip_error(done.stderr)
            msg = f"the environment {self.name!r} failed at {doing}: {said}"
            raise SubjectError(msg)
        return done.stdout


def pip_error(output: str) -> str:
    """Return pip's last error, even if warnings follow it; without an error, pip's last line."""
    errors = [line for line in output.splitlines() if line.startswith("ERROR: ")]
    return errors[-1].removeprefix("ERROR: ") if errors else last_line(output)


def make_environments(
    environments: Sequence[Environment],
    make: Callable[[Environment], None],
    progress: Callable[[str], object],
) -> dict[str, str]:
    """Make each environment.

    Args:
        environments: The environments.
        make: `Environment.make` or `Environment.renew`.
        progress: Called with the name of each environment that is made.

    Returns:
        The reason of each failure, by the name of the environment; empty if all were made.
    """
    reasons = {}
    for environment in environments:
        progress(f"installing the environment {environment.name}")
        try:
            make(environment)
        except SubjectError as error:
            reasons[environment.name] = str(error)
    return reasons


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lanner_perf.peers.environments", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("directory", metavar="DIR", type=Path, help="directory of the environments")
    parser.add_argument(
        "names", metavar="NAME", nargs="*", help=f"some of {', '.join(NAMES)} (default: all)"
    )
    parser.add_argument(
        "--newest", action="store_true", help="install the newest versions, and pin them"
    )
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in NAMES]:
        parser.error(f"there is no environment {unknown[0]!r}: the names are {', '.join(NAMES)}")
    environments = [Environment(name, args.directory) for name in args.names or NAMES]
    make = Environment.renew if args.newest else Environment.make
    with steps() as begin:
        reasons = make_environments(environments, make, begin)
    for reason in reasons.values():
        sys.stderr.write(f"lanner_perf.peers.environments: error: {reason}\n")
    return 1 if reasons else 0


if __name__ == "__main__":
    sys.exit(main())

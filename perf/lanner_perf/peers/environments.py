"""The environments of the peers, which need other versions than the harness has.

    python -m lanner_perf.peers.environments build/peers [NAME ...]

Each is a venv with the pinned requirements that ship with this package. An existing one with the
same requirements is reused; an environment gets its name when it is complete. `--newest` pins the
newest versions that the ``.in`` file allows.
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
    """One environment.

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
        """Its interpreter, once it is made.

        Of its scripts only that runs: the others would look for it where it was made.
        """
        return self.directory / "bin" / "python"

    @property
    def digest(self) -> str:
        """Return the digest of its requirements and of the Python that makes it."""
        content = sys.version.encode() + self.requirements.read_bytes()
        return hashlib.sha256(content).hexdigest()

    def is_made(self) -> bool:
        """True if the environment exists, complete and with these requirements."""
        stamp = self.directory / _STAMP
        return self.python.exists() and stamp.is_file() and stamp.read_text() == self.digest

    def make(self) -> None:
        """Install it, unless it is there.

        Raises:
            SubjectError: It could not be installed; nothing is left of it.
        """
        if not self.is_made():
            self._install(["--requirement", str(self.requirements)])

    def renew(self) -> None:
        """Install the newest that its ``.in`` file allows, and pin that.

        Raises:
            SubjectError: It could not be installed; the pins stay as they were.
        """
        self._install(["--requirement", str(self.requirements.with_suffix(".in"))])
        frozen = self._run("reading its versions", self.python, "-m", "pip", "freeze")
        # A build for the CPU is named so, and goes by its version alone.
        self.requirements.write_text(frozen.replace("+cpu", ""))
        (self.directory / _STAMP).write_text(self.digest)

    def _install(self, what: Sequence[str]) -> None:
        try:
            with staged_directory(self.directory, replace=True) as staged:
                # What pip unpacks can be more than a temporary file system holds.
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
        # The folders of the harness are no part of it.
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
    """Return pip's last error, even if warnings follow it, or else pip's last line."""
    errors = [line for line in output.splitlines() if line.startswith("ERROR: ")]
    return errors[-1].removeprefix("ERROR: ") if errors else last_line(output)


def make_environments(
    environments: Sequence[Environment],
    make: Callable[[Environment], None],
    progress: Callable[[str], object],
) -> dict[str, str]:
    """Make each of them.

    Args:
        environments: Which.
        make: How, as `Environment.make`.
        progress: Called with the name of each environment that is made.

    Returns:
        Why one could not be made, by its name; empty where all could.
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
    parser.add_argument("directory", metavar="DIR", type=Path, help="where they go")
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"of {', '.join(NAMES)}")
    parser.add_argument(
        "--newest", action="store_true", help="take the newest versions, and pin them"
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

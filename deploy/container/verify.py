#!/opt/lanner/bin/python -I
"""Compare files with their checksums, as `sha256sum --check --strict` does.

    lanner-verify /etc/lanner/settings/artifacts.sha256

The names in the file are relative to the working directory.
"""

import re
import sys
from hashlib import file_digest
from pathlib import Path


def main() -> int:
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    return max([check(line) for line in lines], default=0)


def check(line: str) -> int:
    """Print the result for one line, and return the exit status."""
    found = re.fullmatch(r"([0-9a-f]{64})  (.+)", line)
    if found is None:
        sys.stdout.write(f"this is no checksum and name of a file: {line}\n")
        return 1
    expected, name = found.groups()
    try:
        with Path(name).open("rb") as file:
            actual = file_digest(file, "sha256").hexdigest()
    except OSError as error:
        sys.stdout.write(f"{name}: {error.strerror}\n")
        return 1
    if actual != expected:
        sys.stdout.write(f"{name}: has the checksum {actual}, and not {expected}\n")
        return 1
    sys.stdout.write(f"{name}: OK\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

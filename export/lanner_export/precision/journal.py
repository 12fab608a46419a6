"""The results of a search's trials, in a file next to the output that survives a kill.

Each line is a trial in JSON, with everything that it depends on. So trials of other checkpoints, of
other data or of parallel runs are never confused, and nothing is overwritten.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from lanner.artifact.bounded import read_bounded
from lanner.errors import OutputError

#: Room for a hundred thousand trials.
_MOST_BYTES = 2**24


@dataclass
class Journal:
    """The values of trials, by trial.

    Attributes:
        path: The file, which need not exist.
    """

    path: Path
    _identity: str = field(default="", init=False)
    _values: dict[str, float] = field(default_factory=dict, init=False)

    @classmethod
    def beside(cls, output: Path) -> "Journal":
        """Return the journal for an output."""
        return cls(output.with_name(f".{output.name}.search.jsonl"))

    def recall(self, identity: Mapping[str, Any]) -> int:
        """Load the values of earlier runs, and record those of this run from now on.

        Args:
            identity: All that values depend on, as JSON: lines with another identity are ignored.

        Returns:
            The number of loaded values.

        Raises:
            OutputError: The file is a link, or no file.
            TooLargeError: It holds more than any search writes.
        """
        if self.path.is_symlink() or (self.path.exists() and not self.path.is_file()):
            msg = f"{self.path} is not a file of Lanner: inspect and remove it"
            raise OutputError(msg)
        self._identity = sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        raw = read_bounded(self.path, _MOST_BYTES) if self.path.exists() else b""
        lines = raw.decode(errors="replace").splitlines()
        self._values = dict(found for line in lines if (found := self._read(line)) is not None)
        return len(self._values)

    def get(self, tried: str) -> float | None:
        """Return the value of a trial; None if it has not been made."""
        return self._values.get(tried)

    def note(self, tried: str, value: float) -> None:
        """Record the value of a trial."""
        self._values[tried] = value
        line = json.dumps({"search": self._identity, "tried": tried, "value": value})
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(self.path, flags | os.O_NONBLOCK, 0o666), "ab") as file:
            # The leading line feed ends the partial line of a killed run.
            file.write(f"\n{line}\n".encode())

    def remove(self) -> None:
        """Remove the file, if it exists."""
        self.path.unlink(missing_ok=True)

    def _read(self, line: str) -> tuple[str, float] | None:
        try:
            content = json.loads(line)
            if content["search"] != self._identity:
                return None
            return str(content["tried"]), float(content["value"])
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
            # a partial, empty or foreign line
            return None

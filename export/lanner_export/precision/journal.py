"""The results of a search's trials, in a file next to the output that survives a kill.

Each line is a trial in JSON, with everything that it depends on. So trials of other checkpoints, of
other data or of parallel runs are never confused, and nothing is overwritten.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any


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
        """
        self._identity = sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        lines = self.path.read_text("utf-8", "replace").splitlines() if self.path.exists() else []
        self._values = dict(found for line in lines if (found := self._read(line)) is not None)
        return len(self._values)

    def get(self, tried: str) -> float | None:
        """Return the value of a trial; None if it has not been made."""
        return self._values.get(tried)

    def note(self, tried: str, value: float) -> None:
        """Record the value of a trial."""
        self._values[tried] = value
        line = json.dumps({"search": self._identity, "tried": tried, "value": value})
        with self.path.open("a", encoding="utf-8") as file:
            # The leading line feed ends the partial line of a killed run.
            file.write(f"\n{line}\n")

    def remove(self) -> None:
        """Remove the file, if it exists."""
        self.path.unlink(missing_ok=True)

    def _read(self, line: str) -> tuple[str, float] | None:
        try:
            content = json.loads(line)
            if content["search"] != self._identity:
                return None
            return str(content["tried"]), float(content["value"])
        except (ValueError, KeyError, TypeError):  # a partial or empty line
            return None

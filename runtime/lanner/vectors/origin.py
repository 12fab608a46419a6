"""The origin of stored vectors: the variant and engine that made them, in a file beside them."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

#: Behind the name of a file of vectors.
SUFFIX = ".origin.json"
_MOST_BYTES = 2**16


@dataclass(frozen=True)
class Origin:
    """The variant and engine that made some vectors. Those of two variants are not comparable.

    Attributes:
        variant: The name of the variant.
        engine: The name of the engine.
        artifact: The beginning of the SHA-256 of the artifact's manifest, or an empty string.
    """

    variant: str
    engine: str
    artifact: str = ""

    @classmethod
    def of(cls, vectors: Path) -> Self | None:
        """Return the origin of the vectors of a file; None if nothing beside it says so.

        Args:
            vectors: A file that ``lanner encode`` wrote.
        """
        try:
            with path_of(vectors).open("rb") as file:
                found = json.loads(file.read(_MOST_BYTES))
            values = [found[name] for name in ("variant", "engine", "artifact")]
        except (OSError, ValueError, RecursionError, TypeError, KeyError):
            return None
        return cls(*values) if all(isinstance(value, str) for value in values) else None

    def to_bytes(self) -> bytes:
        """Return the content of the file."""
        return json.dumps(asdict(self), indent=2).encode() + b"\n"

    def __str__(self) -> str:
        return f"{self.variant} in {self.engine}"


def path_of(vectors: Path) -> Path:
    """Return the path of the file beside a file of vectors."""
    return vectors.with_name(vectors.name + SUFFIX)

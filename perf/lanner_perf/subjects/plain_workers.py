"""Workers of Ray Data as a user writes them first; each notes when its batches are done."""

import os
import time
from pathlib import Path
from typing import Any, NamedTuple

from lanner.loading.load import load


class Written(NamedTuple):
    """A file of the output, or a batch.

    Attributes:
        at_s: The time when it was there.
        rows: The number of its rows.
    """

    at_s: float
    rows: int


class Diary:
    """The batches of a worker, in a file of its own; Ray Data writes too few files to tell a rate.

    Args:
        folder: The folder of the files.
    """

    def __init__(self, folder: str) -> None:
        self._file = Path(folder) / str(os.getpid())

    def note(self, rows: int) -> None:
        """Write that so many rows are encoded now."""
        with self._file.open("a", encoding="utf-8") as file:
            file.write(f"{time.time()} {rows}\n")

    @staticmethod
    def read(folder: Path) -> list[Written]:
        """Return what all workers have written."""
        lines = [line for path in folder.iterdir() for line in path.read_text().splitlines()]
        return [Written(float(at), int(rows)) for at, rows in map(str.split, lines)]


class Plain:
    """The worker that a user writes first."""

    def __init__(self, diary: str, artifact: str, variant: str, engine: str) -> None:
        self._diary = Diary(diary)
        self._model: Any = load(artifact, variant=variant, engine=engine, threads=1)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        vectors = self._model.encode(list(batch["text"]))
        self._diary.note(len(vectors))
        return {"id": batch["id"], "embedding": vectors}


class PlainSentenceTransformers:
    """The same, of sentence-transformers."""

    def __init__(self, diary: str, checkpoint: str) -> None:
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415 (seconds to import)

        self._diary = Diary(diary)
        self._model = SentenceTransformer(checkpoint, device="cpu")

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        vectors = self._model.encode(list(batch["text"]), show_progress_bar=False)
        self._diary.note(len(vectors))
        return {"id": batch["id"], "embedding": vectors}

"""The folder from which the runtimes read that know nothing of sentence-transformers.

A tokenizer that cuts where the checkpoint does, model files, and what is done with what they say:
`EMBEDDING_FILE`, which `lanner_perf.peers.recipes` writes. Only the standard library is imported.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

EMBEDDING_FILE = "embedding.json"


class Embedding(NamedTuple):
    """The way tokens become a vector.

    Attributes:
        pooling: "mean" of the tokens, or "cls", the first of them.
        is_normalized: Whether the vector has the length 1.
        dimension: The width of a vector.
        max_tokens: The limit; longer texts are cut.
    """

    pooling: str
    is_normalized: bool
    dimension: int
    max_tokens: int

    def write(self, directory: Path) -> None:
        (directory / EMBEDDING_FILE).write_text(json.dumps(self._asdict()))

    @classmethod
    def read(cls, directory: Path) -> Embedding:
        return cls(**json.loads((directory / EMBEDDING_FILE).read_text()))

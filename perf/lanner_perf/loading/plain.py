"""The folder for runtimes that do not read the files of sentence-transformers.

It holds a tokenizer that cuts where the checkpoint does, model files, and `EMBEDDING_FILE`, which
says how to pool. `lanner_perf.peers.recipes` writes it. This module imports only the standard
library.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

EMBEDDING_FILE = "embedding.json"


class Embedding(NamedTuple):
    """The way from vectors of tokens to the vector of a text.

    Attributes:
        pooling: "mean" of the tokens, or "cls", the first of them.
        is_normalized: True if the vector has the length 1.
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

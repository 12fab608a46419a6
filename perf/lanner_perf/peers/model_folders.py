"""Folders of one ONNX file as each runtime wants to find it, made of links into a recipe's files.

In every one of them the file is called `MODEL`, whichever it is, so that a runtime which picks a
file by itself has no choice.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from lanner_perf.kinds.plain import Embedding
from lanner_perf.peers.recipes import edit_json

MODEL = "model.onnx"
MakeFolder = Callable[[Path, Path, Path], None]


def plain_folder(plain: Path, model: Path, directory: Path) -> None:
    """The tokenizer, the configuration and the model, side by side.

    Args:
        plain: What `lanner_perf.peers.recipes.write_plain` wrote.
        model: The ONNX file.
        directory: An empty directory for the folder's files.
    """
    for file in plain.iterdir():
        shutil.copyfile(file, directory / file.name)
    _link(model, directory / MODEL)


def limited_folder(plain: Path, model: Path, directory: Path) -> None:
    """The same for a reader that cuts at the positions that the configuration names."""
    plain_folder(plain, model, directory)
    limit = Embedding.read(plain).max_tokens
    edit_json(directory / "config.json", {"max_position_embeddings": limit})


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # not on every file system
        shutil.copyfile(file, target)

"""Folders with one ONNX file in the layout of each runtime, made of links to a recipe's files.

Each folder names its model file `MODEL`, so that a runtime which picks a file has no choice.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from lanner_perf.loading.plain import Embedding
from lanner_perf.peers.recipes import edit_json

MODEL = "model.onnx"
MakeFolder = Callable[[Path, Path, Path], None]


def plain_folder(plain: Path, model: Path, directory: Path) -> None:
    """Put the tokenizer, the configuration and the model side by side.

    Args:
        plain: A folder that `lanner_perf.peers.recipes.write_plain` wrote.
        model: The ONNX file.
        directory: An empty directory for the folder's files.
    """
    for file in plain.iterdir():
        shutil.copyfile(file, directory / file.name)
    _link(model, directory / MODEL)


def limited_folder(plain: Path, model: Path, directory: Path) -> None:
    """Make a plain folder for a runtime that cuts texts at the configuration's positions."""
    plain_folder(plain, model, directory)
    limit = Embedding.read(plain).max_tokens
    edit_json(directory / "config.json", {"max_position_embeddings": limit})


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # some file systems have no hard links
        shutil.copyfile(file, target)

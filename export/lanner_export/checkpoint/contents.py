"""The limits of a checkpoint's files: they name nothing outside, and hold no more than is exported.

The files are read before any framework loads them, because a framework follows paths silently.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lanner.errors import CheckpointError
from lanner_export.checkpoint.modules import (
    MODULES_FILE,
    ROUTER_FILE,
    is_inside,
    module_entries,
    read_json,
    refuse_outside,
)

#: Settings of modules that name a path to load from.
_PLACES = ("tokenizer_name_or_path", "model_name_or_path", "subfolder", "cache_dir")
#: Files that are read as a whole, and the most bytes of one: ten times the largest vocabulary.
_READ_WHOLE = (
    *("*config*.json", "*.index.json", "modules.json", "*token*.json"),
    *("vocab*", "merges.txt", "*.model"),
)
_MOST_BYTES = 2**28
#: Files of settings that frameworks read.
_SETTINGS = ("config.json", "sentence_*_config.json", "*embedding_config.json")
#: Classifiers that other libraries keep beside an encoder -> the library.
_FOREIGN_HEADS = {
    "model_head.skops": "scikit-learn",
    "model_head.onnx": "scikit-learn",
    "model_head.pkl": "SetFit",
    "model_head.joblib": "SetFit",
    "config_setfit.json": "SetFit",
    "head.safetensors": "model2vec",
    "pipeline.skops": "model2vec",
    "head_config.json": "AdapterHub",
}


def require_plain_files(directory: Path) -> None:
    """Refuse a checkpoint with files that would never end, or fill the memory.

    Raises:
        CheckpointError: The checkpoint holds a pipe or a device, or a file of settings or of a
            vocabulary is larger than any of its kind.
    """
    for path in sorted(directory.iterdir()):
        if path.exists() and not (path.is_file() or path.is_dir()):
            msg = f"{path} is not a regular file: take it out of the checkpoint"
            raise CheckpointError(msg)
        is_read_whole = any(map(path.match, _READ_WHOLE))
        if is_read_whole and path.is_file() and path.stat().st_size > _MOST_BYTES:
            msg = (
                f"{path} has more than the {_MOST_BYTES:,} bytes that such a file may have: copy "
                "or download it again"
            )
            raise CheckpointError(msg)


def require_inside(directory: Path) -> None:
    """Refuse a checkpoint whose files name a place outside of it.

    Raises:
        CheckpointError: The message names the file and the place.
    """
    require_plain_files(directory)
    for place in _places(directory):
        if place != directory and place.is_dir():
            require_plain_files(place)
        for path in [found for pattern in _SETTINGS for found in sorted(place.glob(pattern))]:
            for name, value in _named_places(read_json(path, "a checkpoint's settings")):
                # A name may be that of a hub model, which the checkpoint's own files make needless.
                if name != "subfolder" or not is_inside(directory / value, directory):
                    refuse_outside(path, f"{name} {value!r}")
        for path in sorted(place.glob("*.index.json")):
            weights = read_json(path, "an index of weights").get("weight_map")
            for value in sorted(set(map(str, dict(weights or {}).values()))):
                if not is_inside(place / value, directory):
                    refuse_outside(path, repr(value))
        path = place / "tokenizer_config.json"
        for name, value in _files(path):
            # Many checkpoints hold paths of their author's machine, which nothing reads.
            exists = os.path.exists(place / value)  # noqa: PTH110 (also of names that no file has)
            if exists and not is_inside(place / value, directory):
                refuse_outside(path, f"{name} {value!r}")


def foreign_head(directory: Path) -> str | None:
    """Return another library's classifier in a checkpoint and its file, or None."""
    for name, library in _FOREIGN_HEADS.items():
        if (directory / name).is_file():
            return f"a classifier of {library} ({name})"
    return None


def _places(directory: Path) -> list[Path]:
    """Return the directories of the modules, and the checkpoint's own."""
    path = directory / MODULES_FILE
    entries = module_entries(path) if path.is_file() else []
    places = [directory, *(place for _, place in entries)]
    for place in places[1:]:
        if (place / ROUTER_FILE).is_file():
            places += [path for path in sorted(place.iterdir()) if path.is_dir()]
    return list(dict.fromkeys(places))


def _named_places(content: Any) -> Iterator[tuple[str, str]]:
    """Yield each path that settings name, at any depth."""
    waiting = [content]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield from ((n, v) for n in _PLACES if isinstance(v := item.get(n), str) and v)
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def _files(path: Path) -> Iterator[tuple[str, str]]:
    if path.is_file():
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):  # for the framework to explain
            return
        if isinstance(content, dict):
            for name, value in content.items():
                if name.endswith("_file") and isinstance(value, str) and value:
                    yield name, value

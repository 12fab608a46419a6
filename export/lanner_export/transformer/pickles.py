"""Weights in pickles: refused, or read by torch's safe unpickling and kept as safetensors."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from lanner.errors import CheckpointError
from lanner_export.checkpoint.config import first_sentence
from lanner_export.checkpoint.modules import read_json

#: The names of pickles that hold weights, and of the safetensors that stand for them.
_SAFE_NAMES = {"pytorch_model": "model", "adapter_model": "adapter_model"}


def pickled_weights(directory: Path) -> list[Path]:
    """Return the pickles of a checkpoint's weights that have no safetensors beside them."""
    found = []
    for stem, safe in _SAFE_NAMES.items():
        found += [
            path
            for path in sorted(directory.rglob(f"{stem}*.bin"))
            if not list(path.parent.glob(f"{safe}*.safetensors"))
        ]
    return found


def convert_pickles(paths: list[Path], directory: Path, target: Path) -> None:
    """Write the tensors of pickles as safetensors, at the same places of another directory.

    torch unpickles tensors and nothing else (``weights_only=True``).

    Args:
        paths: Pickles below `directory`.
        directory: The checkpoint.
        target: The directory to write to.

    Raises:
        CheckpointError: A pickle is damaged, or holds more than tensors by name.
    """
    for path in paths:
        place = target / path.relative_to(directory).parent
        place.mkdir(parents=True, exist_ok=True)
        save_file(dict(_tensors(path)), place / _safe_name(path.name), metadata={"format": "pt"})
        index = path.parent / f"{path.name.split('-')[0].removesuffix('.bin')}.bin.index.json"
        if index.is_file():
            content = read_json(index, "an index of weights")
            names = {key: _safe_name(str(name)) for key, name in content["weight_map"].items()}
            text = json.dumps({**content, "weight_map": names})
            (place / "model.safetensors.index.json").write_text(text, encoding="utf-8")


def _tensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    try:
        content = _loaded(path)
        if not all(isinstance(value, torch.Tensor) for value in content.values()):
            msg = "its content is not tensors by name"
            raise TypeError(msg)
    except Exception as error:  # whatever torch meets in a foreign file
        msg = (
            f"{path} is not a pickle of tensors alone ({first_sentence(error)}): save it as "
            "safetensors where its author is trusted, and export that"
        )
        raise CheckpointError(msg) from error
    seen: set[int] = set()
    for name, tensor in content.items():
        # Tied weights share their memory, which a file of safetensors does not tell.
        is_shared = tensor.data_ptr() in seen
        seen.add(tensor.data_ptr())
        yield str(name), tensor.clone() if is_shared else tensor.contiguous()


def _loaded(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = torch.load(path, "cpu", weights_only=True, mmap=True)
    except RuntimeError:  # the format of torch before 1.6 cannot be mapped
        found = torch.load(path, "cpu", weights_only=True)
    return found


def _safe_name(name: str) -> str:
    """Return the name of the safetensors for a pickle; parts keep their numbers."""
    stem, _, rest = name.removesuffix(".bin").partition("-")
    return _SAFE_NAMES.get(stem, stem) + (f"-{rest}" if rest else "") + ".safetensors"

"""The preparation of a checkpoint, so that what loads it meets plain safetensors alone.

Pickles become safetensors, and an adapter is merged into its base: both in a scratch directory,
whose other files are links to the checkpoint's own.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lanner.artifact.manifest import file_sha256
from lanner.errors import CheckpointError, InputError, UsageError
from lanner_export.checkpoint.checkpoint import local_directory, public_name, source_of
from lanner_export.checkpoint.contents import require_inside
from lanner_export.checkpoint.modules import MODULES_FILE, read_json
from lanner_export.transformer.adapters import (
    ADAPTER_FILES,
    Adapter,
    find_adapter,
    merge_adapter,
    record_of,
    require_peft,
    transformer_of,
)
from lanner_export.transformer.pickles import convert_pickles, pickled_weights

#: The endings of files of weights, in any framework.
_WEIGHTS = (".safetensors", ".bin", ".pt", ".ckpt", ".h5", ".msgpack", ".onnx", ".data")
CONFIG = "config.json"


@dataclass(frozen=True)
class Prepared:
    """A checkpoint that frameworks load as it is.

    Attributes:
        directory: The directory; the given one if there was nothing to do.
        source: What the manifest's `source` says besides, or instead.
    """

    directory: Path
    source: dict[str, Any] = field(default_factory=dict)


def prepare(
    directory: Path,
    checkpoint: str,
    *,
    base: str | None = None,
    allow_pickle: bool = False,
    adapter: str | None = None,
    scratch: Path | None = None,
) -> Prepared:
    """Convert the pickles of a checkpoint if that is allowed, and merge its adapter.

    Args:
        directory: The directory.
        checkpoint: The name of the checkpoint, for messages.
        base: The checkpoint that an adapter was trained for; None for the weights beside it, or
            the directory that its configuration names.
        allow_pickle: Read weights in pickles, by torch's safe unpickling.
        adapter: The folder in the checkpoint with the adapter to merge, if there are several.
        scratch: A directory with room for the converted weights.

    Raises:
        CheckpointError: A pickle or an adapter cannot be used, or the base is missing.
        UnsupportedError: The adapter cannot be merged.
        UsageError: A base was given, and there is no adapter.
        MissingExtraError: The package peft is not installed.
        InputError: There is something to do, and no `scratch`.
    """
    prepared = Prepared(directory)
    if allow_pickle and (pickles := pickled_weights(directory)):
        target = _room(scratch, "plain", checkpoint)
        indices = [path for one in pickles for path in one.parent.glob("*.index.json")]
        _link(directory, target, without=[*pickles, *indices])
        convert_pickles(pickles, directory, target)
        digests = source_of(directory, checkpoint, library="")["weights_sha256"]
        digests |= {path.relative_to(directory).as_posix(): file_sha256(path) for path in pickles}
        prepared = Prepared(target, {"weights_sha256": digests})
    found = find_adapter(prepared.directory, checkpoint, adapter)
    if found is None:
        if base is not None:
            msg = f"{checkpoint} holds no adapter, so it has no base: leave --base {base} out"
            raise UsageError(msg)
        return prepared
    require_peft()
    target = _room(scratch, "merged", checkpoint)
    whole, name = _base_of(found, prepared.directory, checkpoint, base)
    room = _room(scratch, "base", checkpoint)
    if whole == prepared.directory:
        # transformers loads an adapter that lies beside the weights by itself.
        _link(whole, room, without=_files_of_adapters(whole))
        whole = room
    else:
        require_inside(whole)
        whole = prepare(whole, name, allow_pickle=allow_pickle, scratch=room).directory
    return _merged(found, prepared.directory, whole, target, checkpoint, name)


def _base_of(
    adapter: Adapter, directory: Path, checkpoint: str, base: str | None
) -> tuple[Path, str]:
    """Return the checkpoint that an adapter is merged into, and its name.

    Raises:
        CheckpointError: It is not here.
    """
    if base is not None:
        return local_directory(base), public_name(base)
    if adapter.name is not None:
        return directory, public_name(checkpoint)
    if (adapter.place / "config.json").is_file() and list(adapter.place.glob("model*.safetensors")):
        return directory, public_name(checkpoint)
    # A hub name is asked for at the hub only if the checkpoint itself is one.
    if adapter.base and (Path(adapter.base).is_dir() or not Path(checkpoint).exists()):
        return local_directory(adapter.base), public_name(adapter.base)
    trained = (
        f"was trained for {adapter.base!r}, which is no directory here" if adapter.base else ""
    )
    msg = (
        f"the adapter of {checkpoint} {trained or 'does not name its base'}: pass --base with the "
        "directory or the hub name of that checkpoint"
    )
    raise CheckpointError(msg)


def _merged(
    adapter: Adapter, directory: Path, base: Path, target: Path, checkpoint: str, name: str
) -> Prepared:
    """Make a directory of an adapter and its base, whose transformer has the merged weights."""
    # The modules of sentence-transformers are the adapter's own, or else those of its base.
    frame = directory if (directory / MODULES_FILE).is_file() else base
    place, inner = transformer_of(frame), transformer_of(base)
    if not (inner / CONFIG).is_file():
        msg = (
            f"the base of the adapter of {checkpoint} ({name}) has no {CONFIG}: pass --base with "
            "the directory or the hub name of the checkpoint that it was trained for"
        )
        raise CheckpointError(msg)
    replaced = [path for path in place.iterdir() if _is_replaced(path)]
    _link(frame, target, without={*replaced, *_files_of_adapters(frame)})
    own = target / place.relative_to(frame)
    for source in (adapter.place, inner):  # a tokenizer of the adapter's comes first
        for path in source.iterdir():
            if path.is_file() and not _is_replaced(path) and path.suffix not in _WEIGHTS:
                _link_file(path, own / path.name, is_first=source == adapter.place)
    merge_adapter(adapter, inner, own, checkpoint)
    _keep_labels(adapter.place / CONFIG, own / CONFIG)
    weights = source_of(base, name, library="")["weights_sha256"]
    weights = {
        key: digest for key, digest in weights.items() if Path(key).name not in ADAPTER_FILES
    }
    return Prepared(target, {"adapter": record_of(adapter, name), "weights_sha256": weights})


def _files_of_adapters(directory: Path) -> set[Path]:
    return {path for name in ADAPTER_FILES for path in directory.rglob(name)}


def _keep_labels(own: Path, merged: Path) -> None:
    """Let a merged configuration have the labels that the adapter's directory names."""
    if not own.is_file():
        return
    labels = read_json(own, "an adapter's config").get("id2label")
    content = read_json(merged, "a merged config")
    if isinstance(labels, dict) and len(labels) == len(content.get("id2label") or {}):
        content |= {"id2label": labels, "label2id": {str(v): int(k) for k, v in labels.items()}}
        merged.write_text(json.dumps(content), encoding="utf-8")


def _is_replaced(path: Path) -> bool:
    is_weights = path.name.startswith("model") and path.name.endswith((*_WEIGHTS, ".index.json"))
    return is_weights or path.name == CONFIG or path.name in ADAPTER_FILES


def _room(scratch: Path | None, name: str, checkpoint: str) -> Path:
    if scratch is None:
        msg = f"{checkpoint} is changed before it is loaded: pass scratch, a directory for that"
        raise InputError(msg)
    room = scratch / name
    room.mkdir(parents=True)
    return room


def _link(source: Path, target: Path, *, without: Collection[Path]) -> None:
    """Make a directory of links to the files of another, in the same folders."""
    for path in sorted(source.rglob("*")):
        if path.is_file() and path not in without:
            _link_file(path, target / path.relative_to(source))


def _link_file(path: Path, target: Path, *, is_first: bool = False) -> None:
    if target.is_symlink():
        if not is_first:
            return
        target.unlink()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(path.absolute())

"""Adapters of PEFT, such as LoRA: merged into the weights that they were trained for."""

import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from lanner.artifact.manifest import file_sha256
from lanner.errors import CheckpointError, MissingExtraError, UnsupportedError, UsageError
from lanner.machine.extras import has_package
from lanner_export.checkpoint.modules import MODULES_FILE, module_entries, read_json
from lanner_export.transformer.framework import loading

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
ADAPTER_FILES = (CONFIG_FILE, WEIGHTS_FILE)
#: The weights of AdapterHub's library.
_OTHER_WEIGHTS = "pytorch_adapter.bin"
#: The kinds of adapters that change weights, and so can be merged into them.
_MERGED = ("LORA", "ADALORA", "LOHA", "LOKR", "IA3")
#: The task of an adapter -> the end of the name of transformers' class.
_CLASS_OF_TASK = {
    "SEQ_CLS": "ForSequenceClassification",
    "TOKEN_CLS": "ForTokenClassification",
    "FEATURE_EXTRACTION": "",
    None: "",
}
#: A head that was trained whole beside the adapter: its rows are the labels.
_HEAD = re.compile(r"\.(classifier|score)(\.out_proj)?\.weight$")


@dataclass(frozen=True)
class Adapter:
    """An adapter of a checkpoint.

    Attributes:
        place: The directory of its files.
        kind: PEFT's name of its kind, for example ``"LORA"``.
        base: The checkpoint that it was trained for, as its configuration names it; empty if it
            names none.
        task: PEFT's name of its task, or None.
        name: The folder in the checkpoint that holds it; None if it is the only one.
    """

    place: Path
    kind: str
    base: str
    task: str | None
    name: str | None = None

    @property
    def weights(self) -> Path:
        """The file of its weights."""
        return self.place / WEIGHTS_FILE


def find_adapter(directory: Path, checkpoint: str, name: str | None = None) -> Adapter | None:
    """Return the adapter of a checkpoint's transformer, or None if there is none.

    Args:
        directory: The directory.
        checkpoint: The name of the checkpoint, for messages.
        name: The folder in the checkpoint that holds it; None if it is the only adapter.

    Raises:
        CheckpointError: The adapter is incomplete.
        UnsupportedError: There is another adapter, or several, or one that cannot be merged.
        UsageError: There is no such folder.
    """
    patterns = (CONFIG_FILE, "adapter_model.*", _OTHER_WEIGHTS)
    found = [path for pattern in patterns for path in sorted(directory.rglob(pattern))]
    place, named = transformer_of(directory), named_adapters(directory)
    if name is not None:
        if name not in named:
            known = ", ".join(named) or "none"
            msg = f"{checkpoint} has no folder {name!r} with an adapter: it has {known}"
            raise UsageError(msg)
        place = named[name]
        found = [path for path in found if path.parent not in named.values()]
    elif named:
        msg = (
            f"{checkpoint} holds the adapters {', '.join(named)}, of which none is applied by "
            "itself: pass --adapter NAME for one of them, --adapter query=NAME --adapter "
            "document=NAME for both in one artifact, or a copy of the checkpoint without them"
        )
        raise UnsupportedError(msg)
    elif not found:
        return None
    others = [path for path in found if path.parent != place or path.name == _OTHER_WEIGHTS]
    if others:
        msg = (
            f"{checkpoint} holds an adapter that is not its transformer's own "
            f"({others[0].relative_to(directory)}), which Lanner does not apply: merge it into the "
            "weights with merge_and_unload, save that, and export it"
        )
        raise UnsupportedError(msg)
    for file in (CONFIG_FILE, WEIGHTS_FILE):
        if not (place / file).is_file():
            msg = f"{checkpoint} holds an adapter without {file}: copy or download it again"
            if file == WEIGHTS_FILE and (place / "adapter_model.bin").is_file():
                msg = (
                    f"{checkpoint} holds the weights of its adapter as a pickle "
                    "(adapter_model.bin): pass --allow-pickle, which reads tensors alone"
                )
            raise CheckpointError(msg)
    settings = read_json(place / CONFIG_FILE, "an adapter's settings")
    kind, task = str(settings.get("peft_type") or "PEFT")[:100], settings.get("task_type")
    if kind not in _MERGED or task not in _CLASS_OF_TASK:
        what = kind if kind not in _MERGED else f"{kind} for the task {task!r}"
        msg = (
            f"{checkpoint} holds a {what} adapter, which Lanner does not merge: it merges "
            f"{', '.join(_MERGED)} of encoders and classifiers, so save a merged model of this one"
        )
        raise UnsupportedError(msg)
    base = str(settings.get("base_model_name_or_path") or "")
    return Adapter(place, kind, base, task, name)


def named_adapters(directory: Path) -> dict[str, Path]:
    """Return the folders of a checkpoint that hold an adapter each, by name."""
    own = transformer_of(directory)
    places = [path.parent for path in sorted(directory.glob(f"*/{CONFIG_FILE}"))]
    return {place.name: place for place in places if place != own}


def merge_adapter(adapter: Adapter, base: Path, target: Path, checkpoint: str) -> None:
    """Write the transformer of a base with an adapter merged into it, in float32.

    Args:
        adapter: The adapter.
        base: The directory of the transformer that it was trained for.
        target: The directory to write config.json and model.safetensors to.
        checkpoint: The name of the checkpoint, for messages.

    Raises:
        MissingExtraError: The package peft is not installed.
        CheckpointError: PEFT cannot load it, or the adapter does not fit the base.
    """
    require_peft()
    import transformers  # noqa: PLC0415 (slow)
    from peft import PeftModel, get_peft_model_state_dict  # noqa: PLC0415 (an extra)

    kind = getattr(transformers, f"AutoModel{_CLASS_OF_TASK[adapter.task]}")
    labels = _labels(adapter)
    with loading("peft", f"the adapter of {checkpoint}"):
        model = kind.from_pretrained(
            base,
            trust_remote_code=False,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            **({} if labels is None else {"num_labels": labels}),
        )
        adapted = PeftModel.from_pretrained(model, adapter.place, local_files_only=True)
        loaded = get_peft_model_state_dict(adapted)
    saved = load_file(adapter.weights)
    # PEFT only warns of weights that it does not use.
    if unused := sorted(_plain(name) for name in saved.keys() - loaded.keys()):
        msg = (
            f"the adapter of {checkpoint} has weights that {type(model).__name__} of its base has "
            f"no place for ({unused[0]}, {len(unused)} in all): pass the --base that it was "
            "trained for"
        )
        raise CheckpointError(msg)
    adapted.merge_and_unload().save_pretrained(target)


def record_of(adapter: Adapter, base: str) -> dict[str, Any]:
    """Return the adapter's entry for the manifest: its kind, its base and its weights."""
    return {
        "kind": adapter.kind,
        **({} if adapter.name is None else {"name": adapter.name}),
        "base": base,
        "weights_sha256": {WEIGHTS_FILE: file_sha256(adapter.weights)},
        "peft": version("peft"),
    }


def require_peft() -> None:
    """Check that PEFT is installed.

    Raises:
        MissingExtraError: It is not.
    """
    if not has_package("peft"):
        what, extra, module = "merging an adapter into its checkpoint", "peft", "peft"
        raise MissingExtraError(what, extra, module)


def transformer_of(directory: Path) -> Path:
    """Return the directory of a checkpoint's transformer, perhaps its own."""
    path = directory / MODULES_FILE
    entries = module_entries(path) if path.is_file() else []
    return next((place for kind, place in entries if kind.endswith("Transformer")), directory)


def _labels(adapter: Adapter) -> int | None:
    """Return the number of labels of a head that was trained beside the adapter, or None."""
    with safe_open(adapter.weights, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 (not a dict)
            if _HEAD.search(name):
                return int(file.get_slice(name).get_shape()[0])
    return None


def _plain(name: str) -> str:
    return name.removeprefix("base_model.model.")

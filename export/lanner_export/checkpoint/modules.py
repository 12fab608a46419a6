"""The sentence-transformers modules of a checkpoint directory, read before anything is loaded."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from lanner.errors import CheckpointError, UnsupportedError

#: Modules of sentence-transformers, by class name, whose forward is plain tensor arithmetic.
SUPPORTED_MODULES = ("Transformer", "Pooling", "Dense", "LayerNorm", "Normalize", "Dropout")
#: The names of the module with a masked language model.
_LANGUAGE_MODELS = ("Transformer", "MLMTransformer")
#: Modules of sparse encoders alone.
_SPARSE_MODULES = ("MLMTransformer", "SpladePooling", "SparseAutoEncoder", "SparseStaticEmbedding")
MODULES_FILE = "modules.json"
SETTINGS_FILE = "config_sentence_transformers.json"
ROUTER_FILE = "router_config.json"
#: The files of weights, whole or in parts.
_WEIGHTS_FILES = ("model.safetensors", "model.safetensors.index.json")
#: Modules of an encoder of tokens behind its transformer. The mask says which of them count.
TOKEN_MODULES = ("Dense", "LayerNorm", "Normalize", "Dropout", "MultiVectorMask")
#: PyLate's name of a module that sentence-transformers loads as its own.
_PYLATE_DENSE = "pylate.models.Dense.Dense"
#: The prefix of sentence-transformers' own classes; any other class is code of the checkpoint.
TRUSTED_PREFIX = "sentence_transformers."
#: Modules that choose other modules by the kind of a text.
SEVERAL_WAYS = ("Router", "Asym")
#: Settings of a Transformer module that cut or extend some texts otherwise than others.
_LATE_SETTINGS = ("query_length", "document_length", "query_expansion")
_READING_SETTINGS = (*_LATE_SETTINGS, "processing_kwargs")
#: The prefix of a Dense module's activation; for any other, sentence-transformers uses Tanh.
_ACTIVATION_PREFIX = "torch.nn.modules."


@dataclass(frozen=True)
class Modules:
    """The modules of a checkpoint directory.

    Attributes:
        library: The library that saved it: ``"sentence-transformers"`` or ``"transformers"``.
        places: The directories of the modules by class name, the transformer's first.
        query: The directory of the table that queries are looked up in, or None.
    """

    library: str
    places: list[tuple[str, Path]]
    query: Path | None = None

    @property
    def transformer(self) -> Path:
        """Directory of the transformer, perhaps the checkpoint's own."""
        return self.places[0][1]

    def require_weights(self) -> None:
        """Check that all weights exist as safetensors.

        Raises:
            CheckpointError: The message names the directory and the file.
        """
        for name, place in self.places:
            require_safetensors(place, is_needed=name in ("Transformer", "Dense", "LayerNorm"))


def read_modules(directory: Path) -> Modules:
    """Read `modules.json`, if there is one, and check that Lanner can load the modules safely.

    Raises:
        CheckpointError: The list is broken.
        UnsupportedError: A module is not one of `SUPPORTED_MODULES`.
    """
    path = directory / MODULES_FILE
    if not path.is_file():
        return Modules("transformers", [("Transformer", directory)])
    entries = module_entries(path)
    names = [class_name(kind) for kind, _ in entries]
    _require_known(path, entries, SUPPORTED_MODULES)
    if names[:2] != ["Transformer", "Pooling"]:
        msg = (
            f"{path} lists {', '.join(names) or 'nothing'}, but Lanner exports only lists that "
            "begin with a Transformer and Pooling"
        )
        raise UnsupportedError(msg)
    places = [(name, place) for name, (_, place) in zip(names, entries, strict=True)]
    require_plain_transformer(places[0][1])
    _require_known_activations(places)
    return Modules("sentence-transformers", places)


def read_sparse_modules(directory: Path) -> Modules:
    """Read the modules of a sparse encoder; without a list the directory is the language model.

    Raises:
        CheckpointError: The list is broken.
        UnsupportedError: They are not a masked language model and SPLADE's pooling.
    """
    path = directory / MODULES_FILE
    if not path.is_file():
        return Modules("transformers", [("Transformer", directory)])
    entries = module_entries(path)
    names = [class_name(kind) for kind, _ in entries]
    query = None
    if names == ["Router"] and entries[0][0].startswith(TRUSTED_PREFIX):
        query, entries = _routes(entries[0][1])
        names = [class_name(kind) for kind, _ in entries]
    is_known = all(kind.startswith(TRUSTED_PREFIX) for kind, _ in entries)
    is_splade = len(names) == 2 and names[0] in _LANGUAGE_MODELS and names[1] == "SpladePooling"
    if not is_known or not is_splade:
        msg = (
            f"{path} lists {', '.join(names) or 'nothing'}, and of sparse encoders Lanner exports "
            "a masked language model followed by SpladePooling, alone or as the route of documents "
            "beside a SparseStaticEmbedding for queries: export one of those"
        )
        raise UnsupportedError(msg)
    require_plain_transformer(entries[0][1])
    places = [("Transformer", entries[0][1]), (names[1], entries[1][1])]
    return Modules("sentence-transformers", places, query)


def read_routes(directory: Path) -> tuple[dict[str, list[tuple[str, Path]]], dict[str, Any]]:
    """Return the modules of each route of a Router, and its parameters.

    Raises:
        CheckpointError: Its settings are broken, or name a place outside.
    """
    path = directory / ROUTER_FILE
    if not path.is_file():  # Asym, before version 5
        path = directory / "config.json"
    content = read_json(path, "a Router needs its settings")
    try:
        kinds = {str(name): str(kind) for name, kind in content["types"].items()}
        routes = {
            str(task): [(kinds[name], directory / name) for name in names]
            for task, names in content["structure"].items()
        }
        parameters = dict(content.get("parameters") or {})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        msg = f"{path} does not list types and structure of routes: {str(error)[:200]}"
        raise CheckpointError(msg) from None
    for _, place in (module for modules in routes.values() for module in modules):
        if not is_inside(place, directory):
            refuse_outside(path, f"the module {str(place)!r}")
    return routes, parameters


def _routes(directory: Path) -> tuple[Path, list[tuple[str, Path]]]:
    """Return the table of queries, and the modules of documents, of a Router of terms.

    Raises:
        CheckpointError: Its settings are broken, or name a place outside.
        UnsupportedError: It has other routes.
    """
    path, (routes, _) = directory / ROUTER_FILE, read_routes(directory)
    queries = [kind for kind, _ in routes.get("query", []) if kind.startswith(TRUSTED_PREFIX)]
    is_table = [class_name(kind) for kind in queries] == ["SparseStaticEmbedding"]
    if set(routes) != {"query", "document"} or not is_table or len(routes["query"]) > 1:
        found = "; ".join(
            f"{task}: {', '.join(kind.rpartition('.')[2] for kind, _ in modules)}"
            for task, modules in routes.items()
        )
        msg = (
            f"{path} has the routes {found}, and Lanner exports one of queries by "
            "SparseStaticEmbedding and one of documents: export the directory of a route"
        )
        raise UnsupportedError(msg)
    table = routes["query"][0][1]
    if "path" in read_json(table / "config.json", "a table of queries needs its settings"):
        refuse_outside(table / "config.json", "a path of its weights")
    return table, routes["document"]


def is_sparse_encoder(directory: Path) -> bool:
    """True if sentence-transformers saved a sparse encoder there, of whatever modules."""
    path = directory / MODULES_FILE
    if not path.is_file():
        return False
    entries = module_entries(path)
    names = {class_name(kind) for kind, _ in entries}
    if names == {"Router"} and (entries[0][1] / ROUTER_FILE).is_file():
        types = read_json(entries[0][1] / ROUTER_FILE, "a Router needs its settings").get("types")
        names = {class_name(kind) for kind in dict(types or {}).values()}
    settings = read_settings(directory) or {}
    return settings.get("model_type") == "SparseEncoder" or bool(names & {*_SPARSE_MODULES})


def read_token_modules(directory: Path) -> Modules:
    """Read the modules of an encoder of tokens, as PyLate or sentence-transformers saved it.

    Raises:
        CheckpointError: The list is broken.
        UnsupportedError: A module is not one of `TOKEN_MODULES`.
    """
    path = directory / MODULES_FILE
    if not path.is_file():
        msg = (
            f"{directory} holds no {MODULES_FILE}: load it with sentence-transformers' "
            "MultiVectorEncoder, save it with save_pretrained, and export that"
        )
        raise UnsupportedError(msg)
    entries = [
        (TRUSTED_PREFIX + "Dense" if kind == _PYLATE_DENSE else kind, place)
        for kind, place in module_entries(path)
    ]
    _require_known(path, entries, ("Transformer", *TOKEN_MODULES))
    places = [(class_name(kind), place) for kind, place in entries]
    if not places or places[0][0] != "Transformer":
        msg = f"{path} begins with no Transformer, which Lanner needs of an encoder of tokens"
        raise UnsupportedError(msg)
    require_plain_transformer(places[0][1], allowed=_LATE_SETTINGS)
    _require_known_activations(places)
    return Modules("sentence-transformers", places)


def is_token_encoder(directory: Path) -> bool:
    """True if PyLate or sentence-transformers saved an encoder of tokens there, or ColBERT did."""
    path = directory / MODULES_FILE
    if not path.is_file():
        config = directory / "config.json"
        classes = read_json(config, "a config").get("architectures") if config.is_file() else []
        return isinstance(classes, list) and "HF_ColBERT" in classes
    settings = read_settings(directory) or {}
    kinds = [kind for kind, _ in module_entries(path)]
    return settings.get("model_type") in ("MultiVectorEncoder", "ColBERT") or any(
        kind.startswith("pylate.") or kind.endswith(".MultiVectorMask") for kind in kinds
    )


def read_modules_of_cross_encoder(directory: Path) -> None:
    """Check that a cross-encoder is only a transformer with a classification head.

    Raises:
        CheckpointError: The list of its modules is broken.
        UnsupportedError: There is another module.
    """
    path = directory / MODULES_FILE
    if path.is_file():  # from sentence-transformers 5.5 on
        entries = module_entries(path)
        _require_known(path, entries, ("Transformer",))
        require_plain_transformer(entries[0][1] if entries else directory)


def module_entries(path: Path) -> list[tuple[str, Path]]:
    """Return class name and directory of each module in a `modules.json`.

    Raises:
        CheckpointError: The file is not a list of modules, or a module is outside the checkpoint.
    """
    try:
        entries = [
            (str(module["type"]), path.parent / module["path"])
            for module in json.loads(path.read_text(encoding="utf-8"))
        ]
        for _, place in entries:
            place.exists()  # fails where no file can have such a name
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        msg = f"{path} is not a list of modules with type and path: {str(error)[:200]}"
        raise CheckpointError(msg) from None
    for _, place in entries:
        if not is_inside(place, path.parent):
            refuse_outside(path, f"the module {str(place)!r}")
    return entries


def is_inside(path: Path, directory: Path) -> bool:
    """True if a path is below a directory by its name: files of a hub's cache are links."""
    return Path(os.path.normpath(path.absolute())).is_relative_to(
        os.path.normpath(directory.absolute())
    )


def refuse_outside(path: Path, what: str) -> NoReturn:
    """Refuse a file of a checkpoint that names a path outside of it.

    Raises:
        CheckpointError: Always.
    """
    msg = (
        f"{path} names {what}, which is not in the checkpoint: Lanner reads nothing outside of it, "
        "so remove the name from the file, and put the needed files into the checkpoint"
    )
    raise CheckpointError(msg)


def require_plain_transformer(directory: Path, allowed: Sequence[str] = ()) -> None:
    """Refuse settings of a Transformer module that cut or extend texts as Lanner does not.

    Args:
        directory: The module's directory.
        allowed: Those that the head takes.

    Raises:
        CheckpointError: The file of the settings is broken.
        UnsupportedError: There is such a setting.
    """
    for path in sorted(directory.glob("sentence_*_config.json")):
        content = read_json(path, "a Transformer module needs its settings")
        for name in _READING_SETTINGS:
            if content.get(name) and name not in allowed:
                msg = (
                    f"{path} has the setting {name} {content[name]!r}, which Lanner does not "
                    f"export: take it out, and cut texts with --max-tokens"
                )
                raise UnsupportedError(msg)


def _require_known(path: Path, entries: list[tuple[str, Path]], supported: tuple[str, ...]) -> None:
    for kind, _ in entries:
        if kind.startswith(TRUSTED_PREFIX) and class_name(kind) in SEVERAL_WAYS:
            msg = (
                f"{path} has the module {kind}, which takes queries and documents different ways: "
                "Lanner exports one in sentence vectors alone, so save each way as a checkpoint "
                "(SentenceTransformer(modules=[*router.sub_modules['query'], ...]).save), and "
                "export both"
            )
            raise UnsupportedError(msg)
        if not kind.startswith(TRUSTED_PREFIX) or class_name(kind) not in supported:
            msg = (
                f"{path} has the module {kind}, which Lanner does not export: "
                f"it exports {', '.join(supported)} of sentence-transformers"
            )
            raise UnsupportedError(msg)


def read_json(path: Path, problem: str) -> dict[str, Any]:
    """Read a JSON object of a checkpoint.

    Raises:
        CheckpointError: The file is missing or broken; the message begins with `problem`.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"{problem}: there is no {path}"
        raise CheckpointError(msg) from None
    except (ValueError, RecursionError) as error:
        msg = f"{problem}: {path} is not valid JSON ({error})"
        raise CheckpointError(msg) from None
    if not isinstance(content, dict):
        msg = f"{problem}: {path} is not a JSON object"
        raise CheckpointError(msg)
    return content


def read_settings(directory: Path) -> dict[str, Any] | None:
    """Return sentence-transformers' settings of a checkpoint, or None if there are none.

    Raises:
        CheckpointError: The file is broken.
    """
    path = directory / SETTINGS_FILE
    if not path.is_file():
        return None
    settings = read_json(path, f"{directory} is not a checkpoint")
    prompts = settings.get("prompts") or {}
    texts = {"default_prompt_name": settings.get("default_prompt_name") or ""}
    texts = {**texts, **prompts} if isinstance(prompts, dict) else {"prompts": [prompts]}
    for name, text in texts.items():
        if not isinstance(text, str):
            msg = f"{path} has {str(text)[:100]!r} as {name[:100]}, which must be a text"
            raise CheckpointError(msg)
    return settings


def require_safetensors(directory: Path, *, is_needed: bool) -> None:
    """Check that weights exist as safetensors, not only as a pickle.

    Raises:
        CheckpointError: The message names the directory and the file.
    """
    has_safe = any((directory / name).is_file() for name in _WEIGHTS_FILES)
    pickled = sorted(p.name for p in directory.glob("pytorch_model*.bin"))
    if pickled and not has_safe:
        msg = (
            f"{directory} holds its weights only as a pickle ({pickled[0]}), which can run code "
            "when it is read: save it as safetensors with save_pretrained, or pass --allow-pickle, "
            "which reads tensors alone"
        )
        raise CheckpointError(msg)
    if is_needed and not has_safe:
        msg = f"{directory} holds no weights: expected model.safetensors in it"
        raise CheckpointError(msg)


def _require_known_activations(places: Sequence[tuple[str, Path]]) -> None:
    for path in (place / "config.json" for name, place in places if name == "Dense"):
        activation = read_json(path, "a Dense module needs its config").get("activation_function")
        if activation is not None and not str(activation).startswith(_ACTIVATION_PREFIX):
            msg = (
                f"{path} names the activation {activation!r}, which is not one of torch: "
                "Lanner runs no code from checkpoints"
            )
            raise UnsupportedError(msg)


def class_name(kind: object) -> str:
    """Return the last part of a class's name."""
    return str(kind).rpartition(".")[2]

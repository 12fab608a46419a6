"""Writing a Triton model repository from artifacts.

repository/
minilm/             the token model
config.pbtxt
warmup/         the inputs of its warm-up
1/              an artifact with one variant, and the code that serves it
minilm_text/        the same model, tokenising in the server
"""

import re
import shutil
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lanner.artifact.artifact import QUALITY_FILE, Artifact
from lanner.artifact.manifest import MANIFEST_FILE, FileRecord, Manifest, Variant
from lanner.errors import (
    ArtifactError,
    InputError,
    RepositoryError,
)
from lanner.triton.contract.model_code import MODEL_FILE, model_code
from lanner.triton.contract.model_config import CONFIG_FILE, parse_config
from lanner.triton.contract.served_model import carried_files
from lanner.triton.contract.tensors import TEXT_SUFFIX, way_name
from lanner.triton.lint.repository_model import version_directories
from lanner.triton.repository.backends import find_backend
from lanner.triton.repository.config_text import (
    WARMUP_TEXT_FILE,
    text_config,
    token_config,
    warmup_mask_file,
)
from lanner.triton.repository.serving import Serving
from lanner.triton.repository.writing import (
    WARMUP_DIRECTORY,
    put_in_place,
    require_place,
    writing,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_WARMUP_TEXT = "A plane is taking off."


@dataclass(frozen=True)
class WrittenModel:
    """A model that was written into a repository.

    Attributes:
        name: The model's name.
        version: The number of the version.
        variant: The name of the variant that runs.
        notes: Sentences on what a user must know of it.
    """

    name: str
    version: int
    variant: str
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {**asdict(self), "notes": list(self.notes)}


def write_repository(
    artifacts: Sequence[str | Path],
    repository: Path,
    *,
    serving: Serving | None = None,
    variant: str = "auto",
    names: Sequence[str] | None = None,
    with_text: bool = True,
) -> list[WrittenModel]:
    """Write the models of artifacts, for each a token model and a text model.

    A model that is in the repository already gets a new version next to its old ones: a server that
    watches the repository switches to it.

    Args:
        artifacts: Directories that ``lanner export`` wrote.
        repository: The directory of the repository; it is made if it does not exist.
        serving: The serving options; None for the defaults.
        variant: The variant to serve, or ``"auto"``: the fastest that is safe on this machine.
        names: The names of the models, or None for those of the artifacts.
        with_text: Write a text model for each artifact, too.

    Returns:
        The written token models and text models.

    Raises:
        ArtifactError: A directory is not an artifact, or is damaged.
        VariantError: An artifact has no such variant.
        InputError: A name cannot be used, or two are the same; or the buckets do not fit a model.
        UnsupportedError: The backend does not run the variant.
        RepositoryError: The directory is not a repository, or cannot be written to, or a model in
            it that would get a new version is not Lanner's.
    """
    serving = serving or Serving()
    opened = [Artifact.open(path) for path in artifacts]
    names = names or [artifact.manifest.name for artifact in opened]
    _require_names(names, len(opened))
    require_place(repository)
    # Everything is checked before anything is written.
    backend = find_backend(serving.backend)
    chosen = [backend.choose(artifact, variant, serving) for artifact in opened]
    for artifact, served in zip(opened, chosen, strict=True):
        backend.require_runs(served, serving, artifact.directory)
        _require_served(artifact, served, serving)
    # The ways of a model are models of their own, which a client puts together.
    every_way = [
        one
        for artifact, served, name in zip(opened, chosen, names, strict=True)
        for one in _ways(artifact, served, name)
    ]
    opened, chosen, names = map(list, zip(*every_way, strict=True))
    _require_names(names, len(opened))
    servings = [
        backend.fitted(serving, artifact.manifest, served)
        for artifact, served in zip(opened, chosen, strict=True)
    ]
    every = [name for one in names for name in ((one, one + TEXT_SUFFIX) if with_text else (one,))]
    written = []
    with writing(repository, every) as work:
        carried = {name: _carried(repository / name) for name in every}
        for artifact, served, name, own in zip(opened, chosen, names, servings, strict=True):
            both = repository / name, repository / f"{name}{TEXT_SUFFIX}"
            number = 1 + max([0, *(int(path.name) for model in both for path in _versions(model))])
            # The token model first: a text model may call it.
            writers = (_write_token_model, _write_text_model)[: 1 + with_text]
            for model, write in zip(both, writers, strict=False):
                target = _Target(work / model.name, number, _versions(model), carried[model.name])
                with _readable_errors(model):
                    write(artifact, served, target, own)
                    put_in_place(target.model, model)
                notes = tuple(backend.notes(served, own)) if model == both[0] else ()
                written.append(WrittenModel(model.name, number, served.name, notes))
    return written


@dataclass(frozen=True)
class _Target:
    """A new version of a model, which is written elsewhere and then put in place.

    Attributes:
        model: The directory to write, of the model's name: the configuration and one version.
        number: The number of the version.
        before: The directories of the versions that the model has already.
        carried: The parameters that those carry.
    """

    model: Path
    number: int
    before: list[Path]
    carried: dict[str, str]

    def version(self) -> Path:
        """Make the directory of the version."""
        path = self.model / str(self.number)
        path.mkdir(parents=True)
        return path

    def write(self, config: str, warmup: dict[str, bytes]) -> None:
        """Write the configuration and the files that it names for the warm-up."""
        (self.model / CONFIG_FILE).write_text(config, encoding="utf-8")
        for name, content in warmup.items():
            (self.model / WARMUP_DIRECTORY).mkdir(exist_ok=True)
            (self.model / WARMUP_DIRECTORY / name).write_bytes(content)


@contextmanager
def _readable_errors(model: Path) -> Iterator[None]:
    """Name the model in errors of writing.

    Raises:
        RepositoryError: Writing failed.
    """
    try:
        yield
    except OSError as error:
        msg = (
            f"cannot write {model} ({error.strerror or error}): check free space and "
            "permissions, or choose another --output"
        )
        raise RepositoryError(msg) from None


def _ways(
    artifact: Artifact, variant: Variant, name: str
) -> Iterator[tuple[Artifact, Variant, str]]:
    """Yield each way of an artifact as an artifact, with its variant and the name of its model."""
    if not artifact.manifest.ways:
        yield artifact, variant, name
        return
    for task in artifact.manifest.tasks:
        way = artifact.way(task)
        own = name if task == artifact.manifest.task else way_name(name, task)
        yield way, way.choose(variant.name), own


def _write_token_model(
    artifact: Artifact, variant: Variant, target: _Target, serving: Serving
) -> None:
    # Two versions may be served at once, and all versions must load by the same configuration.
    file = find_backend(serving.backend).file
    keeps_one = all((path / (file or MODEL_FILE)).is_file() for path in target.before[-1:])
    directory = target.version()
    part = _copy(artifact, variant, directory, serving, file=file)
    if file is None:
        code = model_code(variant.engine, takes_texts=False)
        (directory / MODEL_FILE).write_text(code, encoding="utf-8")
    manifest, name = part.manifest, target.model.name
    carried = target.carried | carried_files(part, target.number)
    text = token_config(name, manifest, manifest.variants[0], serving, carried, keeps_one)
    config = parse_config(text, target.model / CONFIG_FILE)
    lengths = {
        sample.inputs[name].dims[0]
        for sample in config.model_warmup
        for name in sample.inputs
        if sample.inputs[name].input_data_file
    }
    masks = {warmup_mask_file(length): np.ones(length, np.int64).tobytes() for length in lengths}
    target.write(text, masks)


def _write_text_model(
    artifact: Artifact, variant: Variant, target: _Target, serving: Serving
) -> None:
    directory = target.version()
    # A text model with its own engine needs the model file; otherwise the token model has it.
    has_engine = not serving.calls_token_model
    part = _copy(artifact, variant, directory, serving, with_weights=has_engine)
    code = model_code(variant.engine if has_engine else "triton", takes_texts=True)
    (directory / MODEL_FILE).write_text(code, encoding="utf-8")
    carried = target.carried | carried_files(part, target.number, is_text=True)
    text = text_config(target.model.name, part.manifest, variant, serving, carried)
    warmup = {}
    if parse_config(text, target.model / CONFIG_FILE).model_warmup:
        content = _WARMUP_TEXT.encode()
        warmup[WARMUP_TEXT_FILE] = struct.pack("<I", len(content)) + content
    target.write(text, warmup)


def _copy(
    artifact: Artifact,
    variant: Variant,
    directory: Path,
    serving: Serving,
    *,
    with_weights: bool = True,
    file: str | None = None,
) -> Artifact:
    """Write an artifact of one variant, complete and with checksums like any other.

    Args:
        artifact: The artifact to copy from.
        variant: The variant to copy.
        directory: The directory to write.
        serving: The serving options.
        with_weights: Copy the variant's files, too.
        file: The name of the model file in the copy; None to keep the name.
    """
    served = replace(variant, file=file or variant.file)
    names = {name: name for name in _files(artifact.manifest)}
    if with_weights:
        names |= dict(zip(variant.files, served.files, strict=True))
    for name, copy in names.items():
        shutil.copyfile(artifact.file(name), directory / copy)
    if with_weights:
        find_backend(serving.backend).prepare(directory / served.file, serving)
    part = replace(
        artifact.manifest,
        variants=[served] if with_weights else [],
        files={name: FileRecord.of(directory / name) for name in names.values()},
    )
    (directory / MANIFEST_FILE).write_bytes(part.to_bytes())
    return Artifact(directory, part)


def _files(manifest: Manifest) -> list[str]:
    """Return the files that every copy of an artifact has."""
    ranges = manifest.embedding_ranges
    return [manifest.tokenizer.file, QUALITY_FILE, *([] if ranges is None else [ranges.file])]


def _carried(model: Path) -> dict[str, str]:
    """Return the parameters that the existing versions carry."""
    carried: dict[str, str] = {}
    is_text = model.name.endswith(TEXT_SUFFIX)
    for version in _versions(model):
        try:
            carried |= carried_files(Artifact.open(version), int(version.name), is_text=is_text)
        except ArtifactError as error:
            msg = (
                f"{model} cannot get a new version, since version {version.name} is not a complete "
                f"artifact ({error}): remove that version, or give the model another name"
            )
            raise RepositoryError(msg) from None
    return carried


def _versions(model: Path) -> list[Path]:
    return version_directories(model) if model.is_dir() else []


def _require_names(names: Sequence[str], count: int) -> None:
    if len(names) != count:
        msg = f"{count} artifacts need {count} names, not {len(names)}"
        raise InputError(msg)
    for name in names:
        if not _NAME.fullmatch(name) or name.endswith(TEXT_SUFFIX):
            msg = (
                f"{name!r} is not allowed as the name of a model: use letters, digits, '_', '.' "
                f"and '-', and do not end it in {TEXT_SUFFIX}, which is for text models"
            )
            raise InputError(msg)
    if len(set(names)) < count:
        msg = f"two models would have the same name ({', '.join(names)}): give each its own name"
        raise InputError(msg)


def _require_served(artifact: Artifact, variant: Variant, serving: Serving) -> None:
    serving.lengths(artifact.manifest.tokenizer.max_tokens)
    for name in (*_files(artifact.manifest), *variant.files):
        artifact.file(name)

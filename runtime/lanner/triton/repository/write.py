"""Writing a Triton model repository from artifacts.

repository/
minilm/             the token model
config.pbtxt
warmup/         the inputs of its warm-up
1/              an artifact with one variant, and the code that serves it
minilm_text/        the same model, tokenising in the server
"""

import errno
import os
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
    EngineError,
    InputError,
    RepositoryError,
    UnsupportedError,
)
from lanner.files.staging import staged_directory, staged_file
from lanner.triton.contract.model_code import MODEL_FILE, model_code
from lanner.triton.contract.model_config import CONFIG_FILE, parse_config
from lanner.triton.contract.served_model import carried_files
from lanner.triton.contract.tensors import TEXT_SUFFIX
from lanner.triton.lint.repository_model import version_directories
from lanner.triton.repository.config_text import (
    WARMUP_TEXT_FILE,
    text_config,
    token_config,
    warmup_mask_file,
)
from lanner.triton.repository.gpu_serving import choose_served, fitted
from lanner.triton.repository.serving import Serving
from lanner.triton.repository.writing import (
    WARMUP_DIRECTORY,
    put_in_place,
    require_place,
    writing,
)

#: The name of every version's model file, whatever the variant: a configuration names one file for
#: all versions.
_SERVED_FILES = {"onnxruntime": "model.onnx", "openvino": "model.onnx", "tensorrt": "model.plan"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_WARMUP_TEXT = "A plane is taking off."


@dataclass(frozen=True)
class WrittenModel:
    """A model that was written into a repository.

    Attributes:
        name: The model's name.
        version: The number of the version.
        variant: The name of the variant that runs.
    """

    name: str
    version: int
    variant: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


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
    chosen = [choose_served(artifact, variant, serving) for artifact in opened]
    for artifact, served in zip(opened, chosen, strict=True):
        _require_served(artifact, served, serving)
    servings = [
        fitted(serving, artifact.manifest, served)
        for artifact, served in zip(opened, chosen, strict=True)
    ]
    every = [name for one in names for name in ((one, one + TEXT_SUFFIX) if with_text else (one,))]
    written = []
    with writing(repository, every) as work:
        older = {name: _carried(repository / name) for name in every}
        for artifact, served, name, own in zip(opened, chosen, names, servings, strict=True):
            both = repository / name, repository / f"{name}{TEXT_SUFFIX}"
            version = 1 + max([0, *(int(path.name) for model in both for path in _versions(model))])
            # The token model first: a text model may call it.
            with _whole(both[0], work) as model:
                _write_token_model(artifact, served, model, version, own, older)
            written.append(WrittenModel(name, version, served.name))
            if with_text:
                with _whole(both[1], work) as model:
                    _write_text_model(artifact, served, model, version, own, older)
                written.append(WrittenModel(both[1].name, version, served.name))
    return written


@contextmanager
def _whole(model: Path, work: Path) -> Iterator[Path]:
    """Yield where a model is written: a new one elsewhere, and it comes as a whole.

    Raises:
        RepositoryError: Writing failed.
    """
    try:
        if model.exists():
            yield model
        else:
            yield work / model.name
            put_in_place(work / model.name, model)
    except OSError as error:
        msg = (
            f"cannot write {model} ({error.strerror or error}): check free space and "
            "permissions, or choose another --output"
        )
        raise RepositoryError(msg) from None


def _write_token_model(
    artifact: Artifact,
    variant: Variant,
    model: Path,
    version: int,
    serving: Serving,
    older: dict[str, dict[str, str]],
) -> None:
    # Two versions may be served at once, and all versions must load by the same configuration.
    file = _SERVED_FILES.get(serving.backend)
    before = [path for path in _versions(model) if int(path.name) < version][-1:]
    keeps_one = all((path / (file or MODEL_FILE)).is_file() for path in before)
    with staged_directory(model / str(version)) as staged:
        part = _copy(artifact, variant, staged, serving, file=file)
        if serving.backend == "python":
            code = model_code(variant.engine, takes_texts=False)
            (staged / MODEL_FILE).write_text(code, encoding="utf-8")
        carried = older[model.name] | carried_files(part, version)
        text = token_config(
            model.name, part.manifest, part.manifest.variants[0], serving, carried, keeps_one
        )
        config = parse_config(text, model / CONFIG_FILE)
        masks = {
            warmup_mask_file(sample.inputs[name].dims[0])
            for sample in config.model_warmup
            for name in sample.inputs
            if sample.inputs[name].input_data_file
        }
        _write_warmup(
            model,
            {mask: np.ones(int(mask.rpartition(".")[2]), np.int64).tobytes() for mask in masks},
        )
        # The configuration before the version, so that a client of the version finds its tokenizer.
        _write_config(model, text)


def _write_text_model(
    artifact: Artifact,
    variant: Variant,
    model: Path,
    version: int,
    serving: Serving,
    older: dict[str, dict[str, str]],
) -> None:
    with staged_directory(model / str(version)) as staged:
        # A text model with its own engine needs the model file; otherwise the token model has it.
        part = _copy(artifact, variant, staged, serving, with_weights=not serving.calls_token_model)
        runs_in = "triton" if serving.calls_token_model else variant.engine
        code = model_code(runs_in, takes_texts=True)
        (staged / MODEL_FILE).write_text(code, encoding="utf-8")
        carried = older[model.name] | carried_files(part, version, is_text=True)
        text = text_config(model.name, part.manifest, variant, serving, carried)
        if parse_config(text, model / CONFIG_FILE).model_warmup:
            content = _WARMUP_TEXT.encode()
            _write_warmup(model, {WARMUP_TEXT_FILE: struct.pack("<I", len(content)) + content})
        _write_config(model, text)


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
    # On a GPU ONNX Runtime fuses at load; a graph that is fast on a CPU is slow there.
    if with_weights and serving.backend == "onnxruntime" and not serving.is_on_gpu:
        _bake(directory / served.file)
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


def _bake(path: Path) -> None:
    """Replace a graph by the one that ONNX Runtime optimizes with Lanner's settings.

    Triton's backend cannot switch off single fusions, so the graph is optimized beforehand.
    """
    from lanner.engines.onnxruntime import open_session  # noqa: PLC0415 (an extra)

    optimized = path.with_name(f"optimized.{path.name}")
    try:
        open_session(path, save_optimized_to=optimized)
    except EngineError:
        # If the disk is full, ONNX Runtime only reports that the graph cannot be serialized.
        if shutil.disk_usage(path.parent).free < path.stat().st_size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
        raise
    optimized.replace(path)


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


def _write_warmup(model: Path, files: dict[str, bytes]) -> None:
    if files:
        (model / WARMUP_DIRECTORY).mkdir(exist_ok=True)
    for name, content in files.items():
        with staged_file(model / WARMUP_DIRECTORY / name) as file:
            file.write(content)


def _write_config(model: Path, text: str) -> None:
    with staged_file(model / CONFIG_FILE) as file:
        file.write(text.encode())


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
    wanted: dict[str, Any] = {"onnxruntime": "onnxruntime", "openvino": "onnxruntime"}
    if serving.backend == "tensorrt" and variant.engine != "tensorrt":
        msg = (
            f"{artifact.directory} holds the variant {variant.name} for {variant.engine}, but the "
            "backend tensorrt needs an engine: build one first with 'lanner build-engine', or "
            "choose the backend python or onnxruntime"
        )
        raise UnsupportedError(msg)
    if serving.backend == "python" and variant.engine == "tensorrt" and not serving.is_on_gpu:
        msg = (
            f"{artifact.directory} holds the variant {variant.name} for TensorRT, which needs a "
            "GPU: add --device cuda, or name another with --variant"
        )
        raise UnsupportedError(msg)
    if serving.is_on_gpu and variant.precision.startswith("int8") and variant.engine != "tensorrt":
        msg = (
            f"the variant {variant.name} of {artifact.directory} is for CPUs: name another with "
            "--variant, or omit --device"
        )
        raise UnsupportedError(msg)
    if serving.backend in wanted and variant.engine != wanted[serving.backend]:
        msg = (
            f"{artifact.directory} holds the variant {variant.name} for {variant.engine}, which "
            f"the backend {serving.backend} does not run: name another with --variant"
        )
        raise UnsupportedError(msg)
    if serving.backend != "python" and variant.weights_file is not None:
        msg = (
            f"{artifact.directory} has its weights in a separate file, which is untested with "
            f"the backend {serving.backend}: use the backend python"
        )
        raise UnsupportedError(msg)
    serving.lengths(artifact.manifest.tokenizer.max_tokens)
    for name in (*_files(artifact.manifest), *variant.files):
        artifact.file(name)

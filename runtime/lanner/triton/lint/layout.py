"""Rules on the loading of a model: its files, versions, name and tensors."""

import re
from collections.abc import Iterator
from pathlib import Path

from lanner.triton.contract.model_code import is_startable
from lanner.triton.contract.model_config import CONFIG_FILE
from lanner.triton.lint.finding import Finding, Rule
from lanner.triton.lint.repository_model import MODEL_FILES, RepositoryModel, version_directories

NO_CONFIG = Rule(
    "no-config",
    "warning",
    "Triton completes a missing configuration for some backends only, with a largest batch of 4 "
    "and no warm-up (model_configuration.md, 'Auto-Generated Model Configuration')",
)
NOT_A_MODEL = Rule(
    "not-a-model",
    "error",
    "Triton treats every directory of a repository as a model, and this one cannot be loaded "
    "(model_repository.md, 'Repository Layout')",
)
MODEL_NAME = Rule(
    "model-name",
    "error",
    "a name in the configuration must be that of the directory (model_configuration.md, 'Name, "
    "Platform and Backend')",
)
NO_BACKEND = Rule(
    "no-backend",
    "error",
    "the configuration must name the backend unless a model file implies it "
    "(model_configuration.md, 'Minimal Model Configuration')",
)
TENSOR = Rule(
    "tensor",
    "error",
    "each input and output must have a name, a data type and dims of at least 1 or -1 "
    "(model_configuration.md, 'Inputs and Outputs')",
)
NO_VERSION = Rule(
    "no-version",
    "error",
    "each model needs at least one directory with a number as its name, even an empty one for an "
    "ensemble (model_repository.md, 'Repository Layout')",
)
VERSION_NAME = Rule(
    "version-name",
    "warning",
    "Triton ignores directories whose names are not numbers, or begin with 0 "
    "(model_repository.md, 'Model Versions')",
)
VERSION_POLICY = Rule(
    "version-policy",
    "error",
    "Triton serves the existing versions that the policy names, and does not load a model without "
    "any (model_configuration.md, 'Version Policy')",
)
MODEL_FILE = Rule(
    "model-file",
    "error",
    "a version is loaded from the file that its backend looks for (model_repository.md, 'Model "
    "Files')",
)

MISREAD_VERSION = Rule(
    "misread-version",
    "error",
    "Triton treats the number at the start of a name as a version, and then looks for it in the "
    "directory with that number alone (VersionsToLoad of triton-inference-server/core)",
)

BROKEN_LINK = Rule(
    "broken-link",
    "error",
    "Triton looks at each entry of a repository and of a model, and one that leads nowhere stops "
    "the server or the model ('failed to stat file', seen with 2.51)",
)
UNSTARTABLE_NAME = Rule(
    "unstartable-name",
    "error",
    "the Python backend puts the name into a shell's command, and waits for ever for a process "
    "that does not start (seen with 2.51)",
)

_BEGINS_AS_VERSION = re.compile(r"[1-9]\d*", re.ASCII)
_LIKE_A_VERSION = re.compile(r"v\d+|0\d*", re.IGNORECASE | re.ASCII)


def lint_layout(model: RepositoryModel) -> Iterator[Finding]:
    """Lint rules for faults that keep Triton from loading a model."""
    yield from _name(model)
    yield from lint_links(model.directory)
    yield from _backend(model)
    yield from _tensors(model)
    yield from _versions(model)
    yield from _version_policy(model)
    for version in model.served_versions:
        yield from _model_file(model, version)


def lint_links(directory: Path) -> Iterator[Finding]:
    """Lint rule for broken links in a repository, or in a model's directory."""
    for path in sorted(directory.iterdir()):
        if not path.exists():
            problem = f"{path.name} is a link that leads nowhere"
            yield BROKEN_LINK.at(path, 1, problem, f"rm {path}")


def lint_without_config(directory: Path) -> Finding:
    """Lint a directory without a config.pbtxt."""
    remedy = f"write {directory / CONFIG_FILE}: name the backend, max_batch_size, input and output"
    for version in version_directories(directory):
        for backend, file in MODEL_FILES.items():
            if (version / file).exists():
                problem = f"{directory.name} has no {CONFIG_FILE} for its model of {backend}"
                return NO_CONFIG.at(directory, 1, problem, remedy)
    problem = f"{directory.name} holds neither a {CONFIG_FILE} nor a version with a model"
    return NOT_A_MODEL.at(directory, 1, problem, f"{remedy}; or move it out of the repository")


def _name(model: RepositoryModel) -> Iterator[Finding]:
    if model.config.name not in ("", model.name):
        problem = f"the name is {model.config.name!r}, but the directory's is {model.name!r}"
        yield model.finding(MODEL_NAME, "name", problem, f'name: "{model.name}"')
    if model.backend == "python" and not is_startable(model.name):
        problem = f"no process can be started for a model with the name {model.name!r}"
        remedy = "rename the directory, with letters, digits, '_', '.' and '-' alone"
        yield UNSTARTABLE_NAME.at(model.directory, 1, problem, remedy)


def _backend(model: RepositoryModel) -> Iterator[Finding]:
    # Third-party backends may have platforms of their own.
    if not (model.backend or model.config.platform or model.is_ensemble):
        problem = f"nothing says which backend runs {model.name}"
        yield model.finding(NO_BACKEND, "backend", problem, 'backend: "onnxruntime"')


def _tensors(model: RepositoryModel) -> Iterator[Finding]:
    for path, tensor in model.tensors():
        lacking = [] if tensor.name else ['name: "input_ids"']
        # Triton reads missing fields from a TensorRT engine.
        if model.backend != "tensorrt":
            lacking += [] if tensor.data_type else ["data_type: TYPE_INT64"]
            lacking += [] if tensor.dims else ["dims: [ -1 ]"]
        if lacking:
            fields = " and ".join(field.partition(":")[0] for field in lacking)
            problem = f"{path.partition('[')[0]} {tensor.name!r} has no {fields}"
            yield model.finding(TENSOR, path, problem, f"for example {' '.join(lacking)}")
        for index, size in enumerate(tensor.dims):
            if size < 1 and size != -1:
                problem = f"{path.partition('[')[0]} {tensor.name!r} has a dimension of {size}"
                remedy = "give its size, or -1 for any size"
                yield model.finding(TENSOR, f"{path}.dims[{index}]", problem, remedy)


def _versions(model: RepositoryModel) -> Iterator[Finding]:
    for path in sorted(model.directory.iterdir()):
        if not path.is_dir() or path in model.versions:
            continue
        file = MODEL_FILES.get(model.backend, "")
        if number := _BEGINS_AS_VERSION.match(path.name):
            if not (model.directory / number[0]).is_dir():
                problem = f"Triton reads {path.name} as version {number[0]}, which does not exist"
                remedy = f"mv {path} {model.directory / number[0]}, or out of the repository"
                yield MISREAD_VERSION.at(path, 1, problem, remedy)
        # Other directories belong to the model, for example a tokenizer's files.
        elif _LIKE_A_VERSION.fullmatch(path.name) or (file and (path / file).exists()):
            problem = f"Triton does not treat the directory {path.name} as a version"
            yield VERSION_NAME.at(path, 1, problem, f"mv {path} {_free_version(model)}")
    if not model.versions:
        problem = f"{model.name} has no version"
        yield NO_VERSION.at(model.directory, 1, problem, f"mkdir {model.directory / '1'}")


def _free_version(model: RepositoryModel) -> Path:
    newest = int(model.versions[-1].name) if model.versions else 0
    return model.directory / str(newest + 1)


def _version_policy(model: RepositoryModel) -> Iterator[Finding]:
    policy = model.config.version_policy
    if policy.HasField("latest") and not policy.latest.num_versions:
        problem = "the policy serves the latest 0 versions"
        remedy = "version_policy { latest { num_versions: 1 } }"
        yield model.finding(VERSION_POLICY, "version_policy.latest.num_versions", problem, remedy)
    found = {int(path.name) for path in model.versions}
    for index, version in enumerate(policy.specific.versions):
        if version not in found:
            path = f"version_policy.specific.versions[{index}]"
            problem = f"the policy serves version {version}, which {model.name} does not have"
            numbers = ", ".join(map(str, sorted(found)))
            remedy = f"version_policy {{ specific {{ versions: [ {numbers} ] }} }}"
            yield model.finding(VERSION_POLICY, path, problem, remedy)


def _model_file(model: RepositoryModel, version: Path) -> Iterator[Finding]:
    """Yield a finding for each missing file of one version."""
    names = {
        f'cc_model_filenames["{capability}"]': name
        for capability, name in sorted(model.config.cc_model_filenames.items())
    }
    if not names and (default := default_file(model)):
        names = {"default_model_filename": default}
    for path, name in names.items():
        for file in _missing(version / name, model.backend):
            # A file name may point outside of the version directory.
            place = str(file).removeprefix(f"{version}/")
            problem = f"version {version.name} lacks {place}"
            yield model.finding(MODEL_FILE, path, problem, f"copy the model to {file}")


def default_file(model: RepositoryModel) -> str:
    """Return the file that a version is loaded from, or an empty string if the backend decides."""
    return str(model.config.default_model_filename or MODEL_FILES.get(model.backend, ""))


def _missing(path: Path, backend: str) -> list[Path]:
    files = [path]
    try:
        if backend == "onnxruntime" and path.is_dir():
            # A model of several files is a directory that contains its graph.
            files = [path / MODEL_FILES[backend]]
        if backend == "openvino" and path.suffix == ".xml":
            files.append(path.with_suffix(".bin"))
        return [file for file in files if not file.exists()]
    except OSError:  # an impossible file name
        return [path]

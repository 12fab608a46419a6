"""Rules on models that Lanner made: their files, their tokenizers, their TensorRT engines.

A version directory of such a model is an artifact, with the other files that its backend needs.
"""

import json
from collections.abc import Iterator, Sequence
from importlib import machinery
from pathlib import Path

from lanner.artifact.artifact import Artifact, foreign_files
from lanner.artifact.engine_build import EngineBuild, is_same_version, parse_file_name
from lanner.artifact.manifest import FORMAT, MANIFEST_FILE, Manifest
from lanner.engines import engine_names, find_engine
from lanner.errors import ArtifactError
from lanner.triton.contract.model_code import MODEL_FILE, is_model_code
from lanner.triton.contract.model_config import CONFIG_FILE
from lanner.triton.contract.served_model import foreign_carried_files
from lanner.triton.contract.tensors import (
    DEVICE,
    ENGINE,
    INPUT_KIND,
    TEXT_KIND,
    TOKEN_MODEL,
)
from lanner.triton.lint.batching import BUCKETS_PARAMETER
from lanner.triton.lint.finding import Finding, Rule
from lanner.triton.lint.layout import default_file
from lanner.triton.lint.repository_model import RepositoryModel, json_line
from lanner.triton.lint.serving_machine import ServingGpu, ServingMachine

#: The suffix that a text model's name adds to that of its token model.
TEXT_SUFFIX = "_text"

ARTIFACT_FILES = Rule(
    "artifact-files",
    "error",
    "the files of a Lanner model must be those that its manifest records, by size and SHA-256",
)
MODEL_CODE = Rule(
    "model-code",
    "error",
    "the server runs model.py, and that of a Lanner model is a fixed text",
)
FOREIGN_FILE = Rule(
    "foreign-file",
    "error",
    "the Python backend imports from the directory of a version first, so a file there can replace "
    "any module",
)
CARRIED = Rule(
    "carried-files",
    "error",
    "a client tokenises by the files in the configuration, which must be those of the version",
)
TOKENIZER = Rule(
    "tokenizer",
    "error",
    "a text must become the same tokens wherever it is tokenised, or the answers of the model "
    "differ",
)
BUCKETS = Rule(
    "buckets",
    "error",
    "a model takes padded lengths only, so the longest of them must fit the longest text",
)
NAMED_ENGINE = Rule(
    "named-engine",
    "error",
    "the server loads a Lanner model in the engine that the configuration names, and in no other",
)
TENSORRT_ENGINE = Rule(
    "tensorrt-engine",
    "error",
    "an engine runs only on the GPU model and the version of TensorRT that it was built for "
    "(model_repository.md, 'TensorRT Models'; TensorRT #3130, server #317)",
)

#: The suffixes of files that Python imports; it also imports a link to a directory.
_IMPORTED = tuple(machinery.all_suffixes())
_AGAIN = "make the repository again: lanner repository ARTIFACT --output REPOSITORY"


def lint_artifacts(models: Sequence[RepositoryModel]) -> Iterator[Finding]:
    """Lint rules for the files and tokenizers of Lanner's models."""
    by_name = {model.name: model for model in models}
    for model in models:
        for version in filter(_is_artifact, model.versions):
            yield from _files(version)
            yield from _truncation(version)
            yield from _carried(model, version)
            if model.backend == "python":
                yield from _code(model, version)
                yield from _foreign(version)
                yield from _named_engine(model, version)
        partner = by_name.get(model.name + TEXT_SUFFIX)
        if partner is not None:
            yield from _pair(model, partner)
        yield from _buckets(model, partner or by_name.get(model.name.removesuffix(TEXT_SUFFIX)))


def lint_engines(model: RepositoryModel, machine: ServingMachine) -> Iterator[Finding]:
    """Lint rule for TensorRT engines built for another GPU or version; skipped without a GPU."""
    refusals = {file: _refusal(model, file, machine) for file in _engines(model)}
    if machine.gpus and refusals and all(refusals.values()):
        problem = "; ".join(f"{file}: {reason}" for file, reason in refusals.items())
        remedy = "build the engine here: lanner build-engine ARTIFACT"
        yield model.finding(TENSORRT_ENGINE, "default_model_filename", problem, remedy)


def _is_artifact(version: Path) -> bool:
    try:
        return FORMAT.encode() in (version / MANIFEST_FILE).read_bytes()
    except OSError:
        return False


def _files(version: Path) -> Iterator[Finding]:
    try:
        Artifact.open(version).verify()
    except ArtifactError as error:
        yield ARTIFACT_FILES.at(version / MANIFEST_FILE, 1, str(error), _AGAIN)


def _code(model: RepositoryModel, version: Path) -> Iterator[Finding]:
    path = version / MODEL_FILE
    try:
        content = path.read_bytes()
    except OSError:
        return  # the rule on missing files reports it
    if not is_model_code(content, takes_texts=model.parameter(INPUT_KIND) == TEXT_KIND):
        problem = f"{MODEL_FILE} is not the code that 'lanner repository' writes"
        yield MODEL_CODE.at(path, 1, problem, f"do not serve it; {_AGAIN}")


def _named_engine(model: RepositoryModel, version: Path) -> Iterator[Finding]:
    name, manifest = model.parameter(ENGINE) or "auto", _manifest(version)
    if name == "auto" or model.parameter(TOKEN_MODEL) is not None or manifest is None:
        return
    device, engine = model.parameter(DEVICE) or "cpu", find_engine(name)
    problems = (
        [f"there is no engine {name!r}"]
        if engine is None
        else [engine.why_not(variant, device, version) for variant in manifest.variants]
    )
    for problem in filter(None, problems):
        names = ", ".join(engine_names())
        remedy = f'parameters {{ key: "{ENGINE}" value {{ string_value: "auto" }} }}, or {names}'
        yield model.finding(NAMED_ENGINE, f'parameters["{ENGINE}"]', problem, remedy)


def _foreign(version: Path) -> Iterator[Finding]:
    """Yield a finding for each file that is not Lanner's and that Python could import."""
    for name in foreign_files(version):
        path = version / name
        if name != MODEL_FILE and (path.is_dir() or name.endswith(_IMPORTED)):
            problem = f"{name} is not part of the artifact, and Python can import it"
            yield FOREIGN_FILE.at(path, 1, problem, f"inspect it, then remove it: rm -r {path}")


def _carried(model: RepositoryModel, version: Path) -> Iterator[Finding]:
    """Yield a finding if the configuration carries other files than those of the version."""
    kind = model.parameter(INPUT_KIND)
    if kind is None:
        return
    parameters = {key: value.string_value for key, value in model.config.parameters.items()}
    try:
        foreign = foreign_carried_files(
            parameters, Artifact.open(version), int(version.name), is_text=kind == TEXT_KIND
        )
    except ArtifactError:
        return  # the rule on the artifact's files reports it
    for key, name in foreign.items():
        problem = f"{CONFIG_FILE} does not carry the {name} of version {version.name}"
        yield model.finding(CARRIED, f'parameters["{key}"]', problem, _AGAIN)


def _truncation(version: Path) -> Iterator[Finding]:
    manifest = _manifest(version)
    if manifest is None or manifest.tokenizer.kind != "tokenizers":
        return
    path = version / manifest.tokenizer.file
    try:
        length = json.loads(path.read_text(encoding="utf-8"))["truncation"]["max_length"]
    except (OSError, ValueError, LookupError, TypeError):
        return  # no limit, or a damaged file, which another rule reports
    if length != manifest.tokenizer.max_tokens:
        limit = manifest.tokenizer.max_tokens
        problem = f"it cuts texts to {length} tokens, but max_tokens of {MANIFEST_FILE} is {limit}"
        yield TOKENIZER.at(path, json_line(path, "max_length"), problem, _AGAIN)


def _pair(model: RepositoryModel, text: RepositoryModel) -> Iterator[Finding]:
    """Check that a model and its text model tokenise alike."""
    mine, theirs = served_manifest(model), served_manifest(text)
    if mine is None or theirs is None:
        return
    path = text.served_versions[-1] / MANIFEST_FILE
    limits = theirs.tokenizer.max_tokens, mine.tokenizer.max_tokens
    if limits[0] != limits[1]:
        problem = f"{text.name} takes {limits[0]} tokens, and {model.name} {limits[1]}"
        yield TOKENIZER.at(path, json_line(path, "max_tokens"), problem, _AGAIN)
    digests = [made.files[made.tokenizer.file].sha256 for made in (mine, theirs)]
    if digests[0] != digests[1]:
        problem = f"the tokenizer of {text.name} is not that of {model.name}"
        yield TOKENIZER.at(path, json_line(path, theirs.tokenizer.file), problem, _AGAIN)


def _buckets(model: RepositoryModel, partner: RepositoryModel | None) -> Iterator[Finding]:
    stated = model.parameter(BUCKETS_PARAMETER)
    if stated is None:
        return
    path = f'parameters["{BUCKETS_PARAMETER}"]'
    lengths = [int(part) if part.strip().isdecimal() else 0 for part in stated.split(",")]
    if min(lengths) < 1 or lengths != sorted(set(lengths)):
        problem = f"{BUCKETS_PARAMETER} is {stated!r}"
        remedy = f'parameters {{ key: "{BUCKETS_PARAMETER}" value {{ string_value: "16,32,64" }} }}'
        yield model.finding(BUCKETS, path, problem, remedy)
        return
    manifest = served_manifest(model) or (partner and served_manifest(partner))
    most = manifest.tokenizer.max_tokens if manifest else None
    if most is not None and lengths[-1] < most:
        problem = f"{BUCKETS_PARAMETER} ends at {lengths[-1]}, but texts have up to {most} tokens"
        value = f"{stated},{most}"
        remedy = f'parameters {{ key: "{BUCKETS_PARAMETER}" value {{ string_value: "{value}" }} }}'
        yield model.finding(BUCKETS, path, problem, remedy)


def served_manifest(model: RepositoryModel) -> Manifest | None:
    """Return the manifest of the newest served version; None if that is not an artifact."""
    return _manifest(model.served_versions[-1]) if model.served_versions else None


def _manifest(version: Path) -> Manifest | None:
    try:
        return Manifest.read(version)
    except (ArtifactError, OSError):
        return None


def _engines(model: RepositoryModel) -> list[str]:
    """Return the engine files that the model may be loaded from, if their purpose is known."""
    names = {default_file(model)}
    builds = _builds(model)
    if model.config.cc_model_filenames:
        # Triton chooses among these by compute capability.
        names = set(model.config.cc_model_filenames.values())
    elif model.backend == "python" and (manifest := served_manifest(model)):
        names = set(builds) if len(builds) == len(manifest.variants) else set()
    return sorted(name for name in names if name in builds or parse_file_name(name))


def _builds(model: RepositoryModel) -> dict[str, EngineBuild]:
    """Return the build records of a Lanner model's engines, by file."""
    manifest = served_manifest(model)
    variants = [] if manifest is None else manifest.variants
    return {variant.file: variant.build for variant in variants if variant.build is not None}


def _refusal(model: RepositoryModel, file: str, machine: ServingMachine) -> str:
    """Return the reason why an engine runs on no GPU of the machine, or an empty string."""
    build = _builds(model).get(file)
    reasons = [
        _named_refusal(file, gpu, machine.tensorrt)
        if build is None
        else build.refusal(
            gpu=gpu.name,
            compute_capability=gpu.compute_capability,
            tensorrt=machine.tensorrt or build.tensorrt,
        )
        for gpu in machine.gpus
    ]
    return "" if "" in reasons else next(iter(reasons), "")


def _named_refusal(file: str, gpu: ServingGpu, tensorrt: str | None) -> str:
    """Return the same by the file name, which holds everything but the compatibility level."""
    named = parse_file_name(file) or {}
    here = EngineBuild(gpu.name, gpu.compute_capability, tensorrt or named["tensorrt"], [])
    own = parse_file_name(here.file_name(named["precision"])) or {}
    if (own["gpu"], own["capability"]) != (named["gpu"], named["capability"]):
        return f"it was not built for {gpu.name} ({gpu.compute_capability})"
    if not is_same_version(named["tensorrt"], own["tensorrt"]):
        return f"it was built with TensorRT {named['tensorrt']}, but this machine has {tensorrt}"
    return ""

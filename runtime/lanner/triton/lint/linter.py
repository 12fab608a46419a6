"""The linter: finds faults in any Triton model repository.

It reads files and starts nothing, so it needs no server. Each rule names its source in Triton's
documentation or code.
"""

from collections.abc import Iterator
from pathlib import Path

from lanner.errors import RepositoryError
from lanner.triton.contract.model_config import CONFIG_FILE
from lanner.triton.lint.artifact import lint_artifacts, lint_engines
from lanner.triton.lint.batching import lint_batching
from lanner.triton.lint.execution import lint_caches, lint_cores, lint_execution
from lanner.triton.lint.finding import Finding
from lanner.triton.lint.layout import lint_layout, lint_links, lint_without_config
from lanner.triton.lint.onnxruntime import lint_onnxruntime
from lanner.triton.lint.repository_model import RepositoryModel, version_directories
from lanner.triton.lint.serving_machine import ServingMachine


def lint(repository: Path, *, cores: int | None = None) -> list[Finding]:
    """Check every model of a repository.

    Args:
        repository: The directory for `tritonserver --model-repository`.
        cores: Cores that the server may use; None for those of this machine.

    Returns:
        The faults, by file and line; an empty list for a good repository.

    Raises:
        RepositoryError: It is not a directory, or holds no model.
    """
    directories = _model_directories(repository)
    machine = ServingMachine.this(cores)
    findings = list(lint_links(repository))
    models: list[RepositoryModel] = []
    for directory in directories:
        if not (directory / CONFIG_FILE).is_file():
            findings.append(lint_without_config(directory))
            continue
        model = RepositoryModel.read(directory)
        if isinstance(model, Finding):
            findings.append(model)
        else:
            models.append(model)
    findings += _lint_models(repository, models, machine)
    return sorted(findings, key=lambda found: (found.file, found.line, found.rule, found.problem))


def _lint_models(
    repository: Path, models: list[RepositoryModel], machine: ServingMachine
) -> Iterator[Finding]:
    for model in models:
        yield from lint_layout(model)
        yield from lint_batching(model)
        yield from lint_execution(model, machine)
        yield from lint_engines(model, machine)
        yield from lint_onnxruntime(model, machine)
    yield from lint_cores(repository, models, machine)
    yield from lint_caches(models, machine)
    yield from lint_artifacts(models)


def _model_directories(repository: Path) -> list[Path]:
    if not repository.is_dir():
        msg = f"{repository} is not a directory: pass one that holds a directory for each model"
        raise RepositoryError(msg)
    if (repository / CONFIG_FILE).is_file():
        msg = f"{repository} is a model, not a repository: pass {repository.absolute().parent}"
        raise RepositoryError(msg)
    # Triton treats all directories as models, .git too.
    directories = [path for path in sorted(repository.iterdir()) if path.is_dir()]
    shown = [path for path in directories if path.name[0] != "."]
    if not any((path / CONFIG_FILE).is_file() or version_directories(path) for path in shown):
        msg = (
            f"{repository} holds no model: none of its directories has a {CONFIG_FILE} or a "
            "version; make a repository with 'lanner repository ARTIFACT --output REPOSITORY'"
        )
        raise RepositoryError(msg)
    return directories

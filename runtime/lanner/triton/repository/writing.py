"""One writer of a repository at a time, and nothing left of a writer that was killed."""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from lanner.artifact.manifest import MANIFEST_FILE
from lanner.errors import RepositoryError
from lanner.files.staging import flush, flush_tree, work_beside
from lanner.triton.contract.model_config import CONFIG_FILE
from lanner.triton.lint.repository_model import version_directories

WARMUP_DIRECTORY = "warmup"
#: The names of temporary files and directories, as `lanner.files.staging` makes them.
_REMAINS = re.compile(r"\..+\.(lanner-)?[a-z0-9_]{8}")
_TRIES = 100


@contextmanager
def writing(repository: Path, names: Sequence[str]) -> Iterator[Path]:
    """Lock a repository, made if it is not there, and clear it of what killed writers left.

    Args:
        repository: The repository.
        names: The models that will be written.

    Yields:
        A directory for new models and versions, on the same disk.

    Raises:
        RepositoryError: Another process writes into it, it is not a repository, or cannot be made.
    """
    require_place(repository)
    made = [path for path in (repository, *repository.parents) if not path.exists()]
    try:
        handle = _locked(repository)
        try:
            _require_models(repository, names)
            _clear(repository, names)
            with work_beside(_outside(repository)) as work:
                yield work
        finally:
            if made:
                with suppress(OSError):  # it holds models by now
                    for path in made:
                        path.rmdir()
            os.close(handle)
    except OSError as error:
        msg = (
            f"cannot write {repository} ({error.strerror or error}): check free space and "
            "permissions, or choose another --output"
        )
        raise RepositoryError(msg) from None


def _outside(repository: Path) -> Path:
    """Return a path for temporary files beside it, on the disk of the repository.

    They are outside the repository if possible: a server that starts meanwhile refuses a directory
    that is no model, and a model whose files come and go (Triton 2.51).
    """
    outside = repository.absolute()
    is_one_disk = outside.stat().st_dev == outside.parent.stat().st_dev
    return outside if is_one_disk and os.access(outside.parent, os.W_OK) else outside / "models"


def put_in_place(staged: Path, model: Path) -> None:
    """Flush a model to the disk and put it in place: as a whole if it is new, or a new version.

    The version comes last, so that a client of it finds its tokenizer in the configuration.

    Args:
        staged: The model's directory with one version.
        model: The model's directory in the repository.
    """
    flush_tree(staged)
    if not model.exists():
        staged.rename(model)
    else:
        if (staged / WARMUP_DIRECTORY).exists():
            (model / WARMUP_DIRECTORY).mkdir(exist_ok=True)
            for file in (staged / WARMUP_DIRECTORY).iterdir():
                file.replace(model / WARMUP_DIRECTORY / file.name)
            flush(model / WARMUP_DIRECTORY)
        (staged / CONFIG_FILE).replace(model / CONFIG_FILE)
        for version in version_directories(staged):
            version.rename(model / version.name)
        flush(model)
    flush(model.parent)


def require_place(path: Path) -> None:
    """Check that a repository may stand at a path.

    Raises:
        RepositoryError: A file or an artifact stands there.
    """
    if path.is_file():
        msg = f"{path} is a file: choose a directory for the repository"
        raise RepositoryError(msg)
    if (path / MANIFEST_FILE).exists():
        msg = f"{path} is an artifact, not a repository: choose another directory for --output"
        raise RepositoryError(msg)


def _locked(repository: Path) -> int:
    """Return the open directory, locked until it is closed; a kill unlocks it too."""
    for _ in range(_TRIES):
        repository.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # a failed writer has just removed it
            handle = os.open(repository, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if repository.exists() and os.path.samestat(repository.stat(), os.fstat(handle)):
                    return handle
            except BlockingIOError:
                os.close(handle)
                msg = f"another process writes into {repository}: wait for it, and try again"
                raise RepositoryError(msg) from None
            os.close(handle)
    msg = f"{repository} comes and goes: see what else writes there, or choose another --output"
    raise RepositoryError(msg)


def _require_models(path: Path, names: Sequence[str]) -> None:
    foreign = [
        entry.name
        for entry in path.iterdir()
        if not (entry / CONFIG_FILE).is_file()
        and not entry.name.startswith(".")
        and not (entry.name in names and _is_unfinished(entry))
    ]
    if foreign:
        msg = (
            f"{path} is not a model repository of Triton: it holds {min(foreign)!r}, which has no "
            f"{CONFIG_FILE}; choose an empty or a new directory"
        )
        raise RepositoryError(msg)


def _is_unfinished(model: Path) -> bool:
    """Return whether a killed writer of an earlier release left a model without its files."""
    return (
        model.is_dir()
        and not version_directories(model)
        and all(
            entry.name == WARMUP_DIRECTORY or _REMAINS.fullmatch(entry.name)
            for entry in model.iterdir()
        )
    )


def _clear(repository: Path, names: Sequence[str]) -> None:
    places = [repository]
    for name in names:
        model = repository / name
        if model.is_dir() and not (model / CONFIG_FILE).is_file() and _is_unfinished(model):
            shutil.rmtree(model)
        places += [model, model / WARMUP_DIRECTORY]
    for place in filter(Path.is_dir, places):
        for entry in place.iterdir():
            if _REMAINS.fullmatch(entry.name):
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()

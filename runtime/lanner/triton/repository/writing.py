"""One writer of a repository at a time, and nothing left of a writer that was killed."""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from lanner.artifact.manifest import MANIFEST_FILE
from lanner.errors import RepositoryError
from lanner.files.staging import flush, flush_tree
from lanner.triton.contract.model_config import CONFIG_FILE
from lanner.triton.lint.repository_model import version_directories

WARMUP_DIRECTORY = "warmup"
#: The names of temporary files and directories, as `lanner.files.staging` makes them.
_REMAINS = re.compile(r"\..+\.[a-z0-9_]{8}")
_TRIES = 100


@contextmanager
def writing(repository: Path, names: Sequence[str]) -> Iterator[Path]:
    """Lock a repository, made if it is not there, and clear it of what killed writers left.

    Args:
        repository: The repository.
        names: The models that will be written.

    Yields:
        A directory in it for new models, which Triton does not look at.

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
            work = Path(tempfile.mkdtemp(prefix=".lanner.", dir=repository))
            try:
                yield work
            finally:
                shutil.rmtree(work, ignore_errors=True)
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


def put_in_place(staged: Path, model: Path) -> None:
    """Flush a whole new model to the disk, and give it its name."""
    flush_tree(staged)
    staged.rename(model)
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

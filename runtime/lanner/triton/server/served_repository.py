"""The repository of a server, checked before the server starts."""

import re
from pathlib import Path

from lanner.artifact.manifest import MANIFEST_FILE
from lanner.errors import RepositoryError
from lanner.triton.contract.model_code import MODEL_FILE, is_startable

#: A path that means itself in a shell; see `is_startable`.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./@+,=-]+", re.ASCII)


def require_repository(path: Path) -> Path:
    """Return the absolute path of a model repository.

    Raises:
        RepositoryError: The path is not a repository, or holds no model; or the Python backend
            cannot run a model of that name.
    """
    if (path / MANIFEST_FILE).is_file():
        msg = (
            f"{path} is an artifact, not a model repository: make a repository from it with "
            f"'lanner repository {path} --output REPO'"
        )
    elif not path.is_dir():
        msg = f"{path} is not a directory: pass a repository that 'lanner repository' made"
    elif not any(_is_model(child) for child in path.iterdir()):
        msg = (
            f"{path} holds no model: a model is a directory with a config.pbtxt and a directory "
            "for each version; 'lanner repository' makes one"
        )
    elif odd := [child.name for child in path.iterdir() if not _can_start(child)]:
        msg = (
            f"the Python backend cannot run a model with the name {min(odd)!r}: rename its "
            f"directory in {path}, with letters, digits, '_', '.' and '-' alone"
        )
    else:
        return path.absolute()
    raise RepositoryError(msg)


def _is_model(path: Path) -> bool:
    # The configuration is optional in Triton, which then asks the backend.
    return path.is_dir() and (
        (path / "config.pbtxt").is_file() or any(child.name.isdecimal() for child in path.iterdir())
    )


def _can_start(path: Path) -> bool:
    return is_startable(path.name) or not any(path.glob(f"[0-9]*/{MODEL_FILE}"))


def plain_path(repository: Path, work: Path) -> Path:
    """Return a path to a repository that the Python backend can start: its own, or a link's.

    Args:
        repository: The absolute path of the repository.
        work: A directory for the link.

    Raises:
        RepositoryError: The path of `work` cannot be used either.
    """
    if _PLAIN_PATH.fullmatch(str(repository)):
        return repository
    link = work / "repository"
    if not _PLAIN_PATH.fullmatch(str(link)):
        msg = (
            f"the Python backend can start no model in {repository}, nor through a link in "
            f"{work.parent}: set TMPDIR to a directory without blanks and special characters"
        )
        raise RepositoryError(msg)
    link.symlink_to(repository)
    return link

"""The repository of a server, checked before the server starts."""

from pathlib import Path

from lanner.artifact.manifest import MANIFEST_FILE
from lanner.errors import RepositoryError


def require_repository(path: Path) -> Path:
    """Return the absolute path of a model repository.

    Raises:
        RepositoryError: The path is not a repository, or holds no model.
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
    else:
        return path.absolute()
    raise RepositoryError(msg)


def _is_model(path: Path) -> bool:
    # The configuration is optional in Triton, which then asks the backend.
    return path.is_dir() and (
        (path / "config.pbtxt").is_file() or any(child.name.isdecimal() for child in path.iterdir())
    )

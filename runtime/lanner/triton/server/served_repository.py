"""The directory that a server is given, looked at before it starts."""

from pathlib import Path

from lanner.artifact.manifest import MANIFEST_FILE
from lanner.errors import RepositoryError


def require_repository(path: Path) -> Path:
    """The absolute path of a model repository.

    Raises:
        RepositoryError: It is none, or holds no model.
    """
    if (path / MANIFEST_FILE).is_file():
        msg = (
            f"{path} is an artifact, not a model repository: make one of it first with "
            f"'lanner repository {path} --output REPO'"
        )
    elif not path.is_dir():
        msg = f"{path} is not a directory: give one that 'lanner repository' made"
    elif not any(_is_model(child) for child in path.iterdir()):
        msg = (
            f"{path} holds no model: a model is a directory with a config.pbtxt and a directory "
            "for each version, as 'lanner repository' makes it"
        )
    else:
        return path.absolute()
    raise RepositoryError(msg)


def _is_model(path: Path) -> bool:
    # Triton can do without a configuration, and then asks the backend.
    return path.is_dir() and (
        (path / "config.pbtxt").is_file() or any(child.name.isdecimal() for child in path.iterdir())
    )

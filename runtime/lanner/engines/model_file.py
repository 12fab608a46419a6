"""The model file of a variant, verified before an engine opens it."""

from functools import lru_cache
from pathlib import Path

from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import Variant
from lanner.engines.onnx.file import external_files
from lanner.errors import ArtifactError
from lanner.machine.file_state import FileState, file_state


def verified_model(artifact: Artifact, variant: Variant) -> Path:
    """Return the path of a variant's model file, after verifying it and the file of its weights.

    Args:
        artifact: The artifact.
        variant: One of its variants.

    Raises:
        CorruptArtifactError: A file is missing, truncated or changed.
        ArtifactError: The graph reads its weights from a file that the variant does not name.
    """
    path, *_ = [artifact.file(name) for name in variant.files]
    if variant.build is None:
        require_own_weights(path, variant)
    return path


def seen_model(artifact: Artifact, variant: Variant) -> Path:
    """Return the path of a variant's graph for a first look, with nothing verified but sizes.

    Raises:
        CorruptArtifactError: A file is missing or truncated.
        ArtifactError: The graph reads its weights from a file that the variant does not name.
    """
    path, *_ = [artifact.unverified(name) for name in variant.files]
    require_own_weights(path, variant)
    return path


def require_own_weights(path: Path, variant: Variant) -> None:
    """Check that a graph reads no other file than that of its variant's weights.

    Raises:
        ArtifactError: It names another, perhaps one outside the artifact.
    """
    try:
        foreign = _external_files(path, file_state(path)) - {variant.weights_file}
    except (ValueError, IndexError, RecursionError):
        return  # the engine's own error says why
    if foreign:
        msg = (
            f"{path} reads weights from {min(foreign)[:200]!r}, which is not the weights_file of "
            f"its variant {variant.name}: do not use it, or export again"
        )
        raise ArtifactError(msg)


@lru_cache(maxsize=64)
def _external_files(path: Path, _: FileState) -> frozenset[str]:
    """Look through a graph once, though it is asked for at the choice of an engine, too."""
    return frozenset(external_files(path))

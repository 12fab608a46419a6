"""Artifacts in storage, fetched once a node, and the files that fsspec opens."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import MANIFEST_FILE, MAX_MANIFEST_BYTES, Manifest
from lanner.errors import ArtifactError, InputError, MissingExtraError, OutputExistsError
from lanner.files.staging import staged_directory

#: The directory of fetched artifacts, if the variable is set.
CACHE_VARIABLE = "LANNER_CACHE"
_PIECE_BYTES = 2**22


def is_url(place: str) -> bool:
    """Return whether a place is a URL: of a server, or of storage that fsspec reads."""
    return "://" in place


def filesystem(place: str) -> tuple[Any, str]:
    """Return the file system of fsspec for a path or URL, and the path in it.

    Raises:
        MissingExtraError: fsspec, or its package for this kind of storage, is not installed.
        InputError: fsspec does not know this kind of storage.
    """
    try:
        import fsspec  # noqa: PLC0415 (an extra)
    except ImportError:
        what, extra, module = "reading from storage", "distributed", "fsspec"
        raise MissingExtraError(what, extra, module) from None
    try:
        found, path = fsspec.core.url_to_fs(place)
    except ImportError as error:
        msg = f"{place} needs a package that fsspec names: {error}"
        raise InputError(msg) from None
    except ValueError as error:
        msg = f"{place} is in no storage that fsspec knows: {error}"
        raise InputError(msg) from None
    return found, str(path)


def fetched(place: str, checksum: str | None = None) -> Path:
    """Return the directory of an artifact on this node.

    Args:
        place: A directory, or a URL such as ``s3://models/minilm.lanner``. An artifact in storage
            is copied once a node, and verified.
        checksum: The checksum of its manifest; None for any.

    Raises:
        ArtifactError: It is not an artifact, a file differs from its manifest, or it has another
            checksum.
        InputError: The storage cannot be read.
    """
    if not is_url(place):
        found = Artifact.open(place)
        _require_checksum(found.manifest, checksum, place)
        return found.directory
    cache = _cache()
    if checksum is not None and (cache / checksum).is_dir():
        return cache / checksum
    files, root = filesystem(place)
    with tempfile.TemporaryDirectory(prefix="lanner-") as temporary:
        manifest_file = Path(temporary) / MANIFEST_FILE
        _copy(files, place, f"{root}/{MANIFEST_FILE}", manifest_file, MAX_MANIFEST_BYTES)
        manifest = Manifest.read(Path(temporary))
        _require_checksum(manifest, checksum, place)
        target = cache / manifest.checksum
        with _locked(cache / f".{manifest.checksum}.lock"):
            if not target.is_dir():
                _fetch(files, place, root, manifest, target)
    return target


def _fetch(files: Any, place: str, root: str, manifest: Manifest, target: Path) -> None:
    """Copy the files that a manifest lists, and nothing else; then verify them."""
    try:
        with staged_directory(target) as staged:
            for name, record in manifest.files.items():
                _copy(files, place, f"{root}/{name}", staged / name, record.bytes)
            (staged / MANIFEST_FILE).write_bytes(manifest.to_bytes())
            Artifact.open(staged).verify()
    except OutputExistsError:
        if not target.is_dir():
            raise


def _copy(files: Any, place: str, source: str, target: Path, most_bytes: int) -> None:
    """Copy a file of storage, and at most one byte more than it may have."""
    left = most_bytes + 1
    try:
        with files.open(source, "rb") as read, target.open("wb") as written:
            while left and (piece := read.read(min(_PIECE_BYTES, left))):
                written.write(piece)
                left -= len(piece)
    except FileNotFoundError:
        msg = (
            f"{place} holds no {target.name}, so it is no artifact, or lacks a part: copy it again"
        )
        raise ArtifactError(msg) from None
    except OSError as error:
        msg = f"{target.name} of {place} cannot be read: {error}"
        raise InputError(msg) from None


def _require_checksum(manifest: Manifest, checksum: str | None, place: str) -> None:
    if checksum not in (None, manifest.checksum):
        msg = (
            f"{place} is another artifact than at the start (its manifest is "
            f"{manifest.checksum[:12]}, then {str(checksum)[:12]}): start again with one of them"
        )
        raise ArtifactError(msg)


def _cache() -> Path:
    given = os.environ.get(CACHE_VARIABLE)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = Path(given) if given else Path(home) / "lanner"
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    return cache


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """Wait until no other process of this node fetches the same artifact."""
    with path.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a kill releases it
        yield lock

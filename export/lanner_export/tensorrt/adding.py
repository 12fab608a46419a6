"""Adding an engine to an artifact atomically."""

import json
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lanner.artifact.artifact import QUALITY_FILE, README_FILE, Artifact
from lanner.artifact.manifest import MANIFEST_FILE, FileRecord, Variant
from lanner.errors import CorruptArtifactError, OutputError
from lanner.files.staging import staged_directory
from lanner_export.quality.readme import readme


@dataclass(frozen=True)
class BuiltEngine:
    """An engine that was built and compared.

    Attributes:
        variant: The entry for the manifest.
        path: The file.
        figures: The figures for the quality card; see `lanner_export.quality.parity.Parity`.
        agreement: The agreement with the fp32 variant, for the quality card.
    """

    variant: Variant
    path: Path
    figures: Mapping[str, Any]
    agreement: Mapping[str, float]


def require_place(directory: Path) -> None:
    """Check that a new artifact can replace the old one; call it before long work.

    Raises:
        OutputError: The directory is a mount point, or its parent cannot be written to.
    """
    place = directory.resolve()
    if place.is_mount():
        msg = f"{place} is a mount point, so no new artifact can replace it: mount its parent"
        raise OutputError(msg)
    if not os.access(place.parent, os.W_OK):
        msg = (
            f"the directory {place.parent} cannot be written to, but the artifact with its engines "
            f"is made there: copy {place.name} to another directory first"
        )
        raise OutputError(msg)


def damaged_engines(artifact: Artifact) -> list[Variant]:
    """Return the engines of an artifact whose files are changed or missing."""
    damaged = []
    for variant in artifact.manifest.variants:
        if variant.build is not None:
            try:
                for name in variant.files:
                    artifact.file(name)
            except CorruptArtifactError:
                damaged.append(variant)
    return damaged


def add_engine(
    artifact: Artifact, engine: BuiltEngine, without: Collection[Variant] = ()
) -> Artifact:
    """Add an engine, in place of one of the same name; everything else stays.

    A copy of the artifact is made next to it, from hard links, and then takes its name.

    Args:
        artifact: The artifact.
        engine: The engine.
        without: Variants to leave out.

    Raises:
        CorruptArtifactError: A file of the artifact was changed meanwhile.
    """
    target = artifact.directory.resolve()
    manifest, quality = artifact.manifest, artifact.quality()
    own = engine.variant
    leaving = {own.name, *(variant.name for variant in without)}
    kept = [variant for variant in manifest.variants if variant.name not in leaving]
    gone = {name for v in manifest.variants if v.name in leaving for name in v.files}
    gone -= {name for variant in kept for name in variant.files}
    agreed = quality.setdefault("agreement", {"variants": {}})["variants"]
    for name in leaving:
        quality["variants"].pop(name, None)
        agreed.pop(name, None)
    with staged_directory(target, replace=True) as staged:
        for entry in sorted(target.iterdir()):
            if entry.name not in gone:
                _link(entry, staged / entry.name)
        _write(staged / own.file, engine.path.read_bytes())
        size = engine.path.stat().st_size
        quality["variants"][own.name] = {"bytes": size, **engine.figures}
        agreed[own.name] = dict(engine.agreement)
        changed = replace(manifest, variants=[*kept, own])
        text = json.dumps(quality, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        _write(staged / QUALITY_FILE, text.encode())
        files = {name: record for name, record in manifest.files.items() if name not in gone}
        for name in (QUALITY_FILE, own.file):
            files[name] = FileRecord.of(staged / name)
        _write(staged / README_FILE, readme(changed, quality, files).encode())
        files[README_FILE] = FileRecord.of(staged / README_FILE)
        whole = replace(changed, files=dict(sorted(files.items())))
        _write(staged / MANIFEST_FILE, whole.to_bytes())
        Artifact.open(staged).verify()
    return Artifact.open(artifact.directory)


def _link(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
        return
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copy2(source, target)


def _write(path: Path, content: bytes) -> None:
    # A hard link belongs to the old artifact, too: replace the file, never write into it.
    path.unlink(missing_ok=True)
    path.write_bytes(content)

"""The environments, the model files and the specs of peers."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from lanner.errors import LannerError
from lanner.files.staging import staged_directory
from lanner_perf.peers import recipes
from lanner_perf.peers.environments import Environment, make_environments
from lanner_perf.peers.model_folders import MakeFolder
from lanner_perf.subjects.subject import Spec, SubjectError

Progress = Callable[[str], object]
_REASONS = "reasons.json"


@dataclass(frozen=True)
class Peer:
    """A runtime with one model file.

    Attributes:
        title: Its name in the tables.
        kind: Its loader, a module of `lanner_perf.kinds`.
        environment: Its environment; empty for the harness's.
        recipe: The recipe of its model files, one of `lanner_perf.peers.recipes.RECIPES`; empty if
            it reads the checkpoint itself.
        files: The files of the recipe that it needs.
        path: The path in the recipe's directory that it loads.
        make_folder: Makes a folder from the last of the files, which is loaded instead.
        options: The options of its kind.
        least_cosine: The least cosine to the checkpoint for every shipped sentence; None for int8,
            whose answers may differ by any amount.
    """

    title: str
    kind: str
    environment: str = ""
    recipe: str = ""
    files: tuple[str, ...] = ()
    path: str = ""
    make_folder: MakeFolder | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    least_cosine: float | None = None


class MadePeer(NamedTuple):
    """A peer whose files exist, and the spec of the subject that measures it."""

    peer: Peer
    spec: Spec


class Made(NamedTuple):
    """The subjects to measure, the reference first, and the names and reasons of the others."""

    subjects: list[MadePeer]
    left_out: list[dict[str, str]]

    @property
    def specs(self) -> list[Spec]:
        """Return the specs of all subjects."""
        return [subject.spec for subject in self.subjects]


@dataclass(frozen=True)
class Place:
    """The place of a checkpoint's peers.

    Attributes:
        checkpoint: A checkpoint of sentence-transformers.
        environments: The directory of the environments.
        work: The directory of the model files. The name of each folder in it depends on all that
            its files are made of, so no folder is made twice or mistaken for another.
    """

    checkpoint: Path
    environments: Path
    work: Path

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 digest of the checkpoint's files."""
        digest = hashlib.sha256()
        for file in sorted(file for file in self.checkpoint.rglob("*") if file.is_file()):
            digest.update(str(file.relative_to(self.checkpoint)).encode())
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def environment(self, name: str) -> Environment:
        return Environment(name, self.environments)

    def folder(self, name: str, *made_of: object) -> Path:
        """Return the folder for model files that are made of this checkpoint and these things."""
        key = hashlib.sha256(json.dumps([self.digest, *made_of]).encode()).hexdigest()[:12]
        return self.work.absolute() / f"{name}-{key}"


def make_models(
    peers: Mapping[str, Peer], place: Place, settings: Mapping[str, Any], progress: Progress
) -> Made:
    """Make the environments and model files that do not exist yet.

    Args:
        peers: The peers by name.
        place: The place of the environments and files.
        settings: The settings of the recipes: ``quantization`` and ``calibration``.
        progress: Called when a step begins.
    """
    names = {peer.environment for peer in peers.values()}
    names |= {recipes.ENVIRONMENT for peer in peers.values() if peer.recipe}
    wanted = [place.environment(name) for name in sorted(names) if name]
    unmade = make_environments(wanted, Environment.make, progress)
    made = {
        recipe: _recipe(recipe, place, settings, unmade, progress)
        for recipe in dict.fromkeys(peer.recipe for peer in peers.values() if peer.recipe)
    }
    subjects, left_out = [], []
    for name, peer in peers.items():
        files = made.get(peer.recipe, _Files(place.checkpoint, {}))
        reason = unmade.get(peer.environment) or files.reason(peer.files)
        if reason:
            left_out.append({"name": peer.title, "reason": reason})
            continue
        try:
            subjects.append(MadePeer(peer, _spec(name, peer, place, files.directory)))
        except (LannerError, OSError) as error:
            left_out.append({"name": peer.title, "reason": str(error)})
    return Made(subjects, left_out)


class _Files(NamedTuple):
    """A recipe's directory, and the reason for each missing file; "" stands for all files."""

    directory: Path
    reasons: dict[str, str]

    def reason(self, files: Sequence[str]) -> str:
        return next((self.reasons[file] for file in ("", *files) if file in self.reasons), "")


def _recipe(
    recipe: str,
    place: Place,
    settings: Mapping[str, Any],
    unmade: Mapping[str, str],
    progress: Progress,
) -> _Files:
    environment = place.environment(recipes.ENVIRONMENT)
    if environment.name in unmade:
        return _Files(place.work, {"": unmade[environment.name]})
    directory = place.folder(recipe, environment.digest, settings)
    if directory.is_dir():
        reasons = json.loads((directory / _REASONS).read_text())
        if not reasons:
            return _Files(directory, {})
    progress(f"making the model files of the peers: {recipe}")
    try:
        # A failure may have had a passing cause, such as a full disk, so it is tried again each
        # time.
        with staged_directory(directory, replace=True) as staged:
            reasons = recipes.make(
                recipe, environment.python, str(place.checkpoint), staged, settings
            )
            (staged / _REASONS).write_text(json.dumps(reasons))
    except (LannerError, SubjectError, OSError) as error:
        return _Files(directory, {"": str(error)})
    return _Files(directory, reasons)


def _spec(name: str, peer: Peer, place: Place, directory: Path) -> Spec:
    if not peer.environment:
        path, python, options = directory / peer.path, sys.executable, dict(peer.options)
    else:
        python = str(place.environment(peer.environment).python)
        path = directory / peer.path
        options = {**peer.options, "cache": str(place.work.absolute() / "cache")}
    if peer.make_folder is not None:
        path = place.folder(name, directory.name, peer.files)
        if not path.is_dir():
            plain = directory / recipes.PLAIN
            with staged_directory(path) as staged:
                peer.make_folder(plain, directory / peer.files[-1], staged)
    is_reference = not peer.recipe and not peer.options and not peer.environment
    return Spec(peer.title, peer.kind, str(path), options, python, is_optional=not is_reference)

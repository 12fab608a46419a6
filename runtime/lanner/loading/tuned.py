"""The choices of `lanner tune`, stored next to an artifact for `lanner.load`.

The file is ``<name of the artifact's directory>.tuning.json`` next to the artifact, which has
checksums and does not change. The digest of the manifest ties the file to one artifact. It holds
one choice for each CPU, number of threads and set of versions: machines that share a disk have
separate choices, and tuning again, for either goal, replaces the choice of this machine.

`lanner.load` never fails because of an unusable file or choice. Choices for another CPU, number of
threads, version or artifact are ignored; a damaged file is logged, in one sentence, as a warning of
the logger ``lanner``.
"""

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from lanner._version import __version__
from lanner.artifact import fields
from lanner.artifact.artifact import Artifact
from lanner.artifact.bounded import TooLargeError, parse_json, read_bounded
from lanner.engines import DEVICES, ENGINES, engine_names
from lanner.errors import ArtifactError, InputError
from lanner.files.staging import staged_file
from lanner.loading.configuration import Configuration
from lanner.machine.gpu import this_gpu
from lanner.machine.machine import package_versions, this_machine

FORMAT = "lanner-tuning"
FORMAT_VERSION = 1
#: Goal -> the unit of its measurements.
GOALS = {"latency": "ms p50", "throughput": "texts/s"}

#: The packages that a choice depends on, if installed.
_PACKAGES = tuple(package for engine in ENGINES for package in engine.packages)

_log = logging.getLogger("lanner")
#: The errors of reading a file that somebody else wrote, and of its content.
_DAMAGED_CONTENT = (
    TooLargeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
)
_DAMAGE = (OSError, *_DAMAGED_CONTENT)
_MOST_BYTES = 2**22
#: Many times the largest batch that is tried.
_MOST_TOKENS = 2**20


@dataclass(frozen=True)
class Choice:
    """The fastest configuration, and the way it was found.

    Attributes:
        configuration: The configuration.
        goal: One of `GOALS`.
        value: The measured value, in the unit of the goal.
        speedup: The speed relative to the default; 1 for the default.
        min_quality: The requested quality floor (`lanner.artifact.quality_budget`); empty for none.
        tuned: The time, in UTC.
    """

    configuration: Configuration
    goal: str
    value: float
    speedup: float
    min_quality: str
    tuned: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """Read the output of `to_json`.

        Raises:
            ValueError: A field is missing, unknown, or of the wrong type.
        """
        try:
            own = Configuration(**content["configuration"])
            choice = cls(**{**content, "configuration": own})
        except (TypeError, KeyError) as error:
            raise ValueError(error) from None
        for part in (own, choice):
            if name := fields.mistyped(part):
                msg = f"{name} is {str(getattr(part, name))[:100]!r}"
                raise ValueError(msg)
        return choice

    def __str__(self) -> str:
        unit = GOALS.get(self.goal, self.goal)
        floor = f", {self.min_quality}" if self.min_quality else ""
        return (
            f"{self.configuration} (for {self.goal}{floor}: {self.value:,.4g} {unit}, "
            f"{self.speedup:.2f}x of the default; {self.tuned[:10]})"
        )


def tuning_file(artifact: Artifact) -> Path:
    """Return the file with the choices of an artifact."""
    directory = artifact.directory.resolve()
    return directory.parent / f"{directory.name}.tuning.json"


def stored_choice(artifact: Artifact, *, threads: int) -> Choice | None:
    """Return the stored choice for this artifact on this machine, or None.

    Args:
        artifact: The artifact.
        threads: Cores to use.
    """
    path = tuning_file(artifact)
    try:
        if not path.is_file():
            return None
        content = _read(path)
        if content["artifact"] != artifact.manifest.checksum:
            return None
        entry = next((e for e in content["entries"] if e["key"] == machine_key(threads)), None)
        return None if entry is None else _usable(entry["choice"], artifact, threads)
    except _NewerFormatError:
        return None
    except (*_DAMAGE, ArtifactError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        _log.warning("%s is damaged and not used (%s): run 'lanner tune' again", path, reason)
        return None


def store_choice(artifact: Artifact, choice: Choice, *, threads: int) -> Path:
    """Store a choice for this machine, in place of an earlier one; others are kept.

    Args:
        artifact: The tuned artifact.
        choice: The choice.
        threads: Cores to use.

    Returns:
        The file.

    Raises:
        InputError: The file cannot be written, or a newer Lanner wrote it.
    """
    path, key = tuning_file(artifact), machine_key(threads)
    try:
        with _locked(path.parent):
            others = [e for e in _entries(path, artifact.manifest.checksum) if e.get("key") != key]
            content = {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "artifact": artifact.manifest.checksum,
                "entries": [*others, {"key": key, "choice": choice.to_json()}],
            }
            with staged_file(path) as file:
                file.write(json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n")
    except _NewerFormatError:
        msg = f"{path} was written by a newer Lanner: upgrade this one, or remove the file"
        raise InputError(msg) from None
    except (OSError, InputError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition(":")[0]
        msg = (
            f"the choice was not stored, because {path} cannot be written ({reason}): make its "
            "directory writable and tune again, or pass the arguments of the choice to lanner.load"
        )
        raise InputError(msg) from None
    return path


def machine_key(threads: int) -> dict[str, Any]:
    """Return the key of a choice: CPU, threads, versions of Lanner and of the engines.

    Args:
        threads: Cores to use.
    """
    machine, gpu = this_machine(), this_gpu()
    return {
        **({} if gpu is None else {"gpu": gpu.name, "driver": gpu.driver}),
        "cpu": machine.cpu,
        "cpu_flags": list(machine.cpu_flags),
        "threads": threads,
        "versions": {"lanner": __version__, **package_versions(*_PACKAGES)},
    }


class _NewerFormatError(Exception):
    """A newer Lanner wrote the file."""


def _read(path: Path) -> dict[str, Any]:
    content = parse_json(read_bounded(path, _MOST_BYTES))
    kind, version = content["format"], content["format_version"]
    if kind == FORMAT and isinstance(version, int) and version > FORMAT_VERSION:
        raise _NewerFormatError
    if (kind, version) != (FORMAT, FORMAT_VERSION):
        msg = f"its format is {kind!r}"
        raise ValueError(msg)
    return dict(content)


def _entries(path: Path, identity: str) -> list[dict[str, Any]]:
    """Return the choices of other machines for the same artifact; none for a damaged file."""
    with suppress(FileNotFoundError, *_DAMAGED_CONTENT):
        content = _read(path)
        if content["artifact"] == identity:
            return [entry for entry in content["entries"] if isinstance(entry, dict)]
    return []


def _usable(content: Any, artifact: Artifact, threads: int) -> Choice:
    """Return a choice that `lanner.load` may use by default.

    Raises:
        ValueError: The choice cannot be used; `lanner tune` never stores such a choice.
        ArtifactError: The artifact's own files are damaged.
    """
    choice = Choice.from_json(content)
    configuration = choice.configuration
    names = [variant.name for variant in artifact.manifest.variants]
    problems = {
        f"there is no engine {configuration.engine!r}": configuration.engine not in engine_names(),
        f"there is no device {configuration.device!r}": configuration.device not in DEVICES,
        f"there is no variant {configuration.variant!r}": configuration.variant not in names,
        f"workers are {configuration.workers}": not 1 <= configuration.workers <= threads,
        f"token_budget is {configuration.token_budget}": not 1
        <= configuration.token_budget
        <= _MOST_TOKENS,
    }
    for problem, is_there in problems.items():
        if is_there:
            raise ValueError(problem)
    if not artifact.is_batch_independent(configuration.variant):
        msg = f"the answers of {configuration.variant} depend on the batch"
        raise ValueError(msg)
    return choice


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Lock the directory, so that no other process reads a file that is about to be replaced."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        # Some network disks cannot lock directories; there only the rename protects the file.
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)

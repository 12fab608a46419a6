"""The manifest of an artifact: its content, its source, and the digest of every file.

`manifest.json` is UTF-8 JSON in one canonical form (`Manifest.to_bytes`), and carries the SHA-256
of itself without that field. So any changed byte is detected, white space included.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from lanner.artifact.bounded import TooLargeError, parse_json, read_bounded
from lanner.artifact.description import MOST_TOKEN_IDS, Description
from lanner.artifact.faults import fault_of
from lanner.artifact.heads import HEADS
from lanner.artifact.records import (
    LARGEST_SIZE,
    LONGEST_PART,
    MANIFEST_FILE,
    SEGMENTERS,
    TASKS,
    TOKENIZER_KINDS,
    Architecture,
    FileRecord,
    LateInteraction,
    RangesRecord,
    Segmenter,
    TokenizerRecord,
    Variant,
    Way,
    WordParts,
    file_sha256,
)
from lanner.errors import ArtifactError, CorruptArtifactError, FormatVersionError, InputError

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "HALF_PRECISIONS",
    "LARGEST_SIZE",
    "LONGEST_PART",
    "MANIFEST_FILE",
    "MAX_MANIFEST_BYTES",
    "MOST_TOKEN_IDS",
    "SEGMENTERS",
    "TASKS",
    "TOKENIZER_KINDS",
    "Architecture",
    "FileRecord",
    "LateInteraction",
    "Manifest",
    "RangesRecord",
    "Segmenter",
    "TokenizerRecord",
    "Variant",
    "Way",
    "WordParts",
    "file_sha256",
]

FORMAT = "lanner-artifact"
FORMAT_VERSION = 1
#: Room for a hundred thousand labels.
MAX_MANIFEST_BYTES = 32 * 2**20
#: Members that release 0.1.0 does not know: only an artifact that needs one has it.
_LATER = ("max_active_dims", "query_weights", "late_interaction", "task", "ways")
_LATER_OF_TOKENIZER = ("parts", "segmenter")
#: Precisions of 16-bit floats, which are for GPUs.
HALF_PRECISIONS = ("fp16", "bf16")


@dataclass(frozen=True)
class Manifest(Description):
    """The manifest of an artifact, as it is written and read."""

    @property
    def checksum(self) -> str:
        """The SHA-256 of `manifest.json`, which has those of all other files."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """Return the canonical text of `manifest.json`, with its own digest."""
        content = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}
        tokenizers = [one["tokenizer"] for one in (content, *content["ways"].values())]
        parts = [(content, _LATER), *((one, _LATER_OF_TOKENIZER) for one in tokenizers)]
        for part, later in parts:
            for name in later:
                if part[name] in (None, {}):
                    del part[name]
        return _canonical({**content, "sha256": _digest(content)})

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read and verify the manifest of an artifact.

        Args:
            directory: The artifact.

        Raises:
            ArtifactError: The directory does not exist, or holds no readable manifest.
            FormatVersionError: A newer Lanner wrote the manifest.
            CorruptArtifactError: The manifest was changed after it was written.
        """
        path = directory / MANIFEST_FILE
        try:
            is_there = directory.is_dir()
        except OSError as error:  # for example a name that is too long
            msg = f"{str(directory)[:100]} cannot be opened ({error.strerror}): check the path"
            raise ArtifactError(msg) from None
        if not is_there:
            msg = f"{directory} is not a directory: pass one that 'lanner export' wrote"
            raise ArtifactError(msg)
        try:
            raw = read_bounded(path, MAX_MANIFEST_BYTES)
        except FileNotFoundError:
            msg = (
                f"{directory} holds no {MANIFEST_FILE}, so it is not a Lanner artifact: "
                "pass a directory that 'lanner export' wrote"
            )
            raise ArtifactError(msg) from None
        except OSError as error:
            msg = f"{path} cannot be read ({error.strerror or error}): check that it is a file"
            raise ArtifactError(msg) from None
        except TooLargeError as error:
            msg = f"{error}: 'lanner export' did not write it"
            raise ArtifactError(msg) from None
        return cls._parse(raw, path)

    @classmethod
    def _parse(cls, raw: bytes, path: Path) -> Self:
        damaged = f"{path} was changed or damaged after it was written: export the checkpoint again"
        try:
            content = parse_json(raw)
            kind, version = content.pop("format"), content.pop("format_version")
        except (ValueError, KeyError, AttributeError, TypeError):
            raise CorruptArtifactError(damaged) from None
        # Check the version first: a newer format may change everything else.
        if kind == FORMAT and isinstance(version, int) and version > FORMAT_VERSION:
            msg = (
                f"{path} has format version {version}, but this Lanner reads up to "
                f"{FORMAT_VERSION}: upgrade it with pip install --upgrade lanner"
            )
            raise FormatVersionError(msg)
        try:
            digest = content.pop("sha256", None)
            stated = {"format": kind, "format_version": version, **content}
            is_whole = digest == _digest(stated) and raw == _canonical({**stated, "sha256": digest})
        except ValueError:  # 1e999 and lone surrogates are read but not written
            is_whole = False
        if not is_whole or (kind, version) != (FORMAT, FORMAT_VERSION):
            raise CorruptArtifactError(damaged)
        return cls._from_json(content, path)

    @classmethod
    def _from_json(cls, content: dict[str, Any], path: Path) -> Self:
        try:
            ranges = content.get("embedding_ranges")
            late = content.get("late_interaction")
            manifest = cls(
                **{
                    **content,
                    "architecture": Architecture(**content["architecture"]),
                    "tokenizer": TokenizerRecord.from_json(content["tokenizer"]),
                    "variants": [Variant.from_json(variant) for variant in content["variants"]],
                    "embedding_ranges": None if ranges is None else RangesRecord(**ranges),
                    "late_interaction": None if late is None else LateInteraction(**late),
                    "ways": {
                        task: Way.from_json(way) for task, way in content.get("ways", {}).items()
                    },
                    "files": {name: FileRecord(**r) for name, r in content["files"].items()},
                }
            )
        except (KeyError, TypeError, AttributeError, InputError) as error:
            problem = str(error)
        else:
            problem = fault_of(manifest)
        if not problem and manifest.head not in HEADS:
            msg = (
                f"{path} has the head {manifest.head[:100]!r}, but this Lanner has "
                f"{', '.join(HEADS)}: upgrade it with pip install --upgrade lanner"
            )
            raise FormatVersionError(msg)
        if problem:
            msg = f"{path} does not have the fields of format version {FORMAT_VERSION}: "
            raise ArtifactError(msg + problem[:500])
        return manifest


def _canonical(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(content)).hexdigest()

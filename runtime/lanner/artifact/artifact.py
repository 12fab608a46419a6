"""An artifact on disk: opening, verifying its files, choosing among its variants.

Nothing here needs an engine: an artifact is readable without torch, transformers or onnxruntime.
"""

import os
import stat
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from lanner.artifact.bounded import TooLargeError, parse_json, read_bounded
from lanner.artifact.manifest import (
    FORMAT,
    MANIFEST_FILE,
    MAX_MANIFEST_BYTES,
    FileRecord,
    Manifest,
    Variant,
    file_sha256,
)
from lanner.artifact.quality_budget import FORMER_NAMES
from lanner.errors import ArtifactError, CorruptArtifactError, InputTypeError, VariantError

QUALITY_FILE = "quality.json"
_MOST_QUALITY_BYTES = 2**24
#: Room for ten times the largest vocabulary.
_MOST_TOKENIZER_BYTES = 2**28
_NPY_HEADER_BYTES = 2**12
README_FILE = "README.md"
#: A text must get the same vector in any batch: the smallest cosine between a text alone and in a
#: batch for a variant that ``"auto"`` may pick.
BATCH_INDEPENDENT_COSINE = 0.9999
#: The same rule for scores: the largest difference of a probability. A cosine of 0.9999 is a
#: relative difference of 0.014.
BATCH_INDEPENDENT_DIFFERENCE = 0.01
#: Precisions that only TensorRT engines have.
_ENGINE_PRECISIONS = ("fp8", "tf32")


def is_batch_independent(measured: Mapping[str, Any]) -> bool:
    """Tell by a variant's figures in `quality.json` whether ``"auto"`` may pick it."""
    cosine = measured.get("batch_independence_cosine", 1.0)
    difference = measured.get("batch_independence_difference", 0.0)
    return bool(cosine >= BATCH_INDEPENDENT_COSINE and difference <= BATCH_INDEPENDENT_DIFFERENCE)


@dataclass(frozen=True)
class Artifact:
    """An opened artifact. Immutable; files are read on demand.

    Attributes:
        directory: The directory of the artifact.
        manifest: The manifest.
    """

    directory: Path
    manifest: Manifest

    @classmethod
    def open(cls, directory: str | Path) -> Self:
        """Open an artifact and verify its manifest (other files are verified when they are used).

        Raises:
            InputTypeError: `directory` is no path.
            ArtifactError: It is not an artifact, is damaged, or has a newer format.
        """
        given: object = directory  # from callers that no type checker has seen
        if not isinstance(given, str | os.PathLike):
            msg = f"the directory of an artifact must be a path, not {type(given).__name__}"
            raise InputTypeError(msg)
        path = Path(directory)
        artifact = cls(path, Manifest.read(path))
        artifact._require_usual_sizes()
        return artifact

    def file(self, name: str) -> Path:
        """Return the path of one file, after verifying its size and checksum.

        The file may be a link, as in the cache of a hub, in DVC or in a ConfigMap: the checksum
        guards its content.

        Raises:
            ArtifactError: The manifest does not list the file, or its name leaves the artifact.
            CorruptArtifactError: The file is missing, truncated or changed.
        """
        path = self.unverified(name)
        if file_sha256(path) != self.manifest.files[name].sha256:
            raise _corrupt(
                path, "was changed after it was written (its SHA-256 is not the manifest's)"
            )
        return path

    def unverified(self, name: str) -> Path:
        """Return the path of one file, after verifying its size alone, for a first look.

        Raises:
            ArtifactError: See `file`.
            CorruptArtifactError: The file is missing, truncated, or no file.
        """
        record = self.manifest.files.get(name)
        if record is None:
            msg = f"the manifest of {self.directory} lists no file {name!r}"
            raise ArtifactError(msg)
        path = self.directory / name
        if Path(name).name != name:
            msg = f"{self.directory} names the file {name!r} outside itself: do not use it"
            raise ArtifactError(msg)
        if problem := _difference(path, record):
            raise _corrupt(path, problem)
        return path

    def way(self, task: str) -> Self:
        """Return one way as an artifact of its own, in the same directory.

        Args:
            task: The task of the way.
        """
        return replace(self, manifest=self.manifest.of_way(task))

    def verify(self, but: Collection[str] = ()) -> None:
        """Verify every file.

        Args:
            but: Names of files to skip.

        Raises:
            CorruptArtifactError: A file is missing, truncated or changed; the first is named.
        """
        for name in self.manifest.files:
            if name not in but:
                self.file(name)

    def quality(self) -> dict[str, Any]:
        """Return the content of `quality.json`: the measurements made at the export."""
        path = self.file(QUALITY_FILE)
        try:
            content: dict[str, Any] = parse_json(read_bounded(path, _MOST_QUALITY_BYTES))
            content = content.get("ways", {}).get(self.manifest.task) or content
            measured = {name: content["variants"][name] for name in self._names()}
            what = "cosine" if self.manifest.head_record.answers_vectors else "difference"
            for figures in measured.values():
                float(figures[f"batch_independence_{what}"])
        except (
            OSError,
            TooLargeError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            OverflowError,
        ) as error:
            msg = f"{path} lacks measurements of a variant ({repr(error)[:300]}): export again"
            raise ArtifactError(msg) from None
        _rename(content)
        return content

    def choose(self, variant: str = "auto") -> Variant:
        """Return the variant of that name, or for ``"auto"`` the fastest that is safe.

        ``"auto"`` takes int8 if its measured batch independence is good enough
        (`is_batch_independent`), otherwise fp32: the same on every processor.

        Raises:
            VariantError: There is no variant of that name.
        """
        names = self._names()
        if variant == "auto":
            if safe := self.safe_variants():
                return safe[0]
            msg = (
                f"{self.directory} holds no variant that is safe to pick by default; "
                f"name one of: {', '.join(names)}"
            )
            raise VariantError(msg)
        chosen = self.manifest.variant(variant)
        if chosen is None:
            remedy = f"export again with --precision {variant}"
            if variant in _ENGINE_PRECISIONS:
                remedy = f"build one on its GPU with 'lanner build-engine --precision {variant}'"
            msg = (
                f"{self.directory} holds no variant {variant!r}, only {', '.join(names)}: "
                f"name one of them, or {remedy}"
            )
            raise VariantError(msg)
        return chosen

    def safe_variants(self) -> list[Variant]:
        """Return the variants that ``"auto"`` may take on a CPU, the fastest first."""
        found = map(self.manifest.variant, ["fp32"] if self.why_not_int8() else ["int8", "fp32"])
        return [variant for variant in found if variant is not None]

    def why_not_int8(self) -> str:
        """Return the reason why ``"auto"`` does not take int8, or an empty string."""
        if self.manifest.variant("int8") is None:
            return "the artifact holds no int8"
        is_safe = self.is_batch_independent("int8")
        return "" if is_safe else "the answers of int8 depend on the batch"

    def is_batch_independent(self, variant: str) -> bool:
        """Return whether the variant exists and is batch independent by `quality.json`."""
        if self.manifest.variant(variant) is None:
            return False
        ways = [self.way(task) for task in self.manifest.ways]
        is_safe = is_batch_independent(self.quality()["variants"][variant])
        return is_safe and all(way.is_batch_independent(variant) for way in ways)

    def _require_usual_sizes(self) -> None:
        """Check the sizes of files that are read as a whole, before they are.

        Raises:
            ArtifactError: A file is larger than any of its kind.
        """
        manifest = self.manifest
        most = {manifest.tokenizer.file: _MOST_TOKENIZER_BYTES}
        if manifest.embedding_ranges is not None:
            most[manifest.embedding_ranges.file] = 3 * 4 * manifest.dimension + _NPY_HEADER_BYTES
        if manifest.query_weights is not None:
            most[manifest.query_weights] = 4 * manifest.dimension + _NPY_HEADER_BYTES
        for task in manifest.ways:
            self.way(task)._require_usual_sizes()
        # An ONNX file is one protobuf message; engines of TensorRT are not.
        graphs = [variant.file for variant in manifest.variants if variant.build is None]
        for name, most_bytes in {**most, **dict.fromkeys(graphs, 2**31)}.items():
            if manifest.files[name].bytes > most_bytes:
                msg = (
                    f"{self.directory / name} has more than the {most_bytes:,} bytes that such a "
                    "file may have: 'lanner export' did not write it"
                )
                raise ArtifactError(msg)

    def _names(self) -> list[str]:
        return [variant.name for variant in self.manifest.variants]


def foreign_files(path: Path) -> list[str]:
    """Return the files of a directory that its artifact does not list.

    A damaged manifest is read as far as possible: such an artifact may still be replaced.
    """
    if not path.is_dir():
        return [path.name]
    try:
        content = parse_json(read_bounded(path / MANIFEST_FILE, MAX_MANIFEST_BYTES))
        known = {MANIFEST_FILE, *content["files"]} if content["format"] == FORMAT else set()
    except (OSError, ValueError, KeyError, TypeError, TooLargeError):
        known = set()
    return sorted(entry.name for entry in path.iterdir() if entry.name not in known)


def _rename(quality: dict[str, Any]) -> None:
    """Give the figures of an older export the names of today."""
    with suppress(AttributeError, LookupError, TypeError):  # free fields may hold anything
        for figures in quality["agreement"]["variants"].values():
            for former, name in FORMER_NAMES.items():
                for prefix in ("", "source_"):
                    if prefix + former in figures:
                        figures[prefix + name] = figures.pop(prefix + former)


def _difference(path: Path, record: FileRecord) -> str:
    try:
        status = path.stat()
    except FileNotFoundError:
        return "is missing"
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    size = status.st_size
    if size != record.bytes:
        how = "truncated" if size < record.bytes else "longer than when it was written"
        return f"is {how} ({size:,} bytes, the manifest says {record.bytes:,})"
    return ""


def _corrupt(path: Path, problem: str) -> CorruptArtifactError:
    msg = f"{path} {problem}: copy it again from its source, or export again"
    return CorruptArtifactError(msg)

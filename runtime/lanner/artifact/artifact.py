"""An artifact on disk: opening it, verifying its files, choosing among its variants.

Nothing here needs an engine: an artifact is readable without torch, transformers or onnxruntime.
"""

import json
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lanner.artifact.manifest import FileRecord, Manifest, Variant, file_sha256
from lanner.errors import ArtifactError, CorruptArtifactError, VariantError
from lanner.machine.machine import this_machine

QUALITY_FILE = "quality.json"
README_FILE = "README.md"
#: The same text must get the same vector whatever it is batched with: smallest cosine between a
#: text alone and the same text among others, for a variant that is picked without being asked for.
BATCH_INDEPENDENT_COSINE = 0.9999
#: The same rule for scores: largest difference of a probability. A cosine of 0.9999 is a relative
#: difference of 0.014.
BATCH_INDEPENDENT_DIFFERENCE = 0.01
#: What there is of engines of TensorRT alone.
_ENGINE_PRECISIONS = ("fp8", "tf32")


def is_batch_independent(measured: Mapping[str, Any]) -> bool:
    """Whether what `quality.json` says of a variant lets it be picked without being asked for."""
    cosine = measured.get("batch_independence_cosine", 1.0)
    difference = measured.get("batch_independence_difference", 0.0)
    return bool(cosine >= BATCH_INDEPENDENT_COSINE and difference <= BATCH_INDEPENDENT_DIFFERENCE)


@dataclass(frozen=True)
class Artifact:
    """An opened artifact. Immutable; the files are read when they are asked for.

    Attributes:
        directory: Where it is.
        manifest: What it holds.
    """

    directory: Path
    manifest: Manifest

    @classmethod
    def open(cls, directory: str | Path) -> Self:
        """Opens an artifact and verifies its manifest (the other files when they are used).

        Raises:
            ArtifactError: It is not an artifact, or a damaged or a newer one.
        """
        path = Path(directory)
        return cls(path, Manifest.read(path))

    def file(self, name: str) -> Path:
        """The path of one file, after its size and checksum were verified.

        Raises:
            ArtifactError: The manifest does not list it, or its name leaves the artifact.
            CorruptArtifactError: It is missing, truncated or changed.
        """
        record = self.manifest.files.get(name)
        if record is None:
            msg = f"the manifest of {self.directory} lists no file {name!r}"
            raise ArtifactError(msg)
        path = self.directory / name
        if Path(name).name != name or path.is_symlink():
            msg = f"{self.directory} names the file {name!r} outside itself: do not use it"
            raise ArtifactError(msg)
        if problem := _difference(path, record):
            msg = f"{path} {problem}: copy it again from its source, or export again"
            raise CorruptArtifactError(msg)
        return path

    def verify(self, but: Collection[str] = ()) -> None:
        """Verifies every file.

        Args:
            but: Names of those that are left out.

        Raises:
            CorruptArtifactError: The first file that is missing, truncated or changed.
        """
        for name in self.manifest.files:
            if name not in but:
                self.file(name)

    def quality(self) -> dict[str, Any]:
        """The content of `quality.json`: what was measured when the artifact was made."""
        path = self.file(QUALITY_FILE)
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            measured = {name: content["variants"][name] for name in self._names()}
            what = "cosine" if self.manifest.head_record.answers_vectors else "difference"
            for figures in measured.values():
                float(figures[f"batch_independence_{what}"])
        except (ValueError, KeyError, TypeError) as error:
            msg = f"{path} does not say how each variant was measured ({error!r}): export again"
            raise ArtifactError(msg) from None
        return content

    def choose(self, variant: str = "auto") -> Variant:
        """The variant of that name, or for ``"auto"`` the fastest that is safe on this machine.

        ``"auto"`` takes int8 where the CPU multiplies bytes fast and exactly (VNNI, AMX) and the
        measured batch independence is good enough (`is_batch_independent`), else fp32.

        Raises:
            VariantError: There is none of that name.
        """
        names = self._names()
        if variant == "auto":
            if safe := self.safe_variants():
                return safe[0]
            msg = (
                f"{self.directory} holds no variant that is safe to pick by itself on this "
                f"machine; name one of: {', '.join(names)}"
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
        """What ``"auto"`` may take on this machine, the fastest first."""
        fast = this_machine().has_fast_int8 and self.is_batch_independent("int8")
        found = map(self.manifest.variant, ["int8", "fp32"] if fast else ["fp32"])
        return [variant for variant in found if variant is not None]

    def is_batch_independent(self, variant: str) -> bool:
        """Whether there is that variant, and `quality.json` says so of it."""
        if self.manifest.variant(variant) is None:
            return False
        return is_batch_independent(self.quality()["variants"][variant])

    def _names(self) -> list[str]:
        return [variant.name for variant in self.manifest.variants]


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
    if file_sha256(path) != record.sha256:
        return "was changed after it was written (its SHA-256 is not the manifest's)"
    return ""

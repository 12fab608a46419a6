"""A draft: the artifact in a staged directory, before it has its name."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lanner.artifact.artifact import QUALITY_FILE, README_FILE
from lanner.artifact.manifest import MANIFEST_FILE, FileRecord, Manifest, Variant, Way
from lanner.artifact.quality_card import measured_label
from lanner.engines import Engine, open_engine
from lanner.engines.onnxruntime import OnnxRuntimeEngine
from lanner.engines.registry import NATIVE
from lanner.errors import OutputError
from lanner.files.staging import NO_ROOM, temporary_place
from lanner.loading.load import open_model, open_tokenizer
from lanner.machine.machine import available_cores
from lanner.models.base import Model
from lanner.text.tokenization import Tokenizer
from lanner.text.words import WordTokenizer
from lanner_export.checkpoint.checkpoint import Checkpoint
from lanner_export.precision.half_precision import measurable
from lanner_export.progress import Progress
from lanner_export.quality.measures import RememberedReference
from lanner_export.quality.readme import readme

TOKENIZER_FILE = "tokenizer.json"


class Draft:
    """The artifact before it has its name.

    Attributes:
        directory: The directory of its files.
        checkpoint: The checkpoint.
        reference: The checkpoint's answers, each computed once.
        manifest: The manifest so far.
    """

    def __init__(
        self, directory: Path, checkpoint: Checkpoint, manifest: Manifest, progress: Progress
    ) -> None:
        self.directory, self.checkpoint, self.manifest = directory, checkpoint, manifest
        self.reference = RememberedReference(checkpoint.reference, progress)

    def add_variants(self, variants: list[Variant]) -> None:
        """Add variants whose files exist."""
        self.manifest = replace(self.manifest, variants=variants)

    def add_ways(self, ways: Mapping[str, "Draft"]) -> None:
        """Add the ways of other tasks, whose files are in the same directory."""
        self.manifest = replace(
            self.manifest, ways={task: _way(draft.manifest) for task, draft in ways.items()}
        )

    @cached_property
    def models(self) -> dict[str, Model]:
        """Return its variants by name, opened in the runtime; int8 also in the native engine.

        The native engine is left out where ``engine="auto"`` would not take it.
        """
        models = {
            variant.name: self.opened(variant, self.directory / variant.file)
            for variant in self.manifest.variants
        }
        for variant in self.manifest.variants:
            file = self.directory / variant.file
            if variant.precision == "int8" and _runs_natively(variant, file):
                label = measured_label(variant.name, NATIVE.name)
                models[label] = self._model(variant, open_engine(NATIVE.name, file))
        return models

    def opened(self, variant: Variant, file: Path) -> Model:
        """Open a variant in the runtime, or its emulation if no CPU has its precision."""
        path = measurable(file, variant.precision, self.directory.parent)
        engine = OnnxRuntimeEngine(path, precision=variant.precision, maps_weights=True)
        return self._model(variant, engine)

    @cached_property
    def _tokenizer(self) -> Tokenizer | WordTokenizer:
        """Return its tokenizer for all variants: one of 250,000 tokens takes 0.3 GB."""
        return open_tokenizer(self.directory / self.manifest.tokenizer.file, self.manifest)

    def _model(self, variant: Variant, engine: Engine) -> Model:
        return open_model(
            self.manifest,
            variant,
            tokenizer=self._tokenizer,
            engine=engine,
            workers=available_cores(),
            measures_overflow=True,
        )

    def write_card(self, quality: dict[str, Any]) -> None:
        """Write the measurements, as quality.json and README.md."""
        text = json.dumps(quality, indent=2, ensure_ascii=False, allow_nan=False)
        (self.directory / QUALITY_FILE).write_text(text + "\n", encoding="utf-8")
        self.manifest = replace(self.manifest, files=self._files())
        card = readme(self.manifest, quality, self.manifest.files)
        (self.directory / README_FILE).write_text(card, encoding="utf-8")

    def write_manifest(self) -> None:
        """Write the manifest last: it lists all other files, the card included."""
        card = {README_FILE: FileRecord.of(self.directory / README_FILE)}
        self.manifest = replace(self.manifest, files={**self.manifest.files, **card})
        (self.directory / MANIFEST_FILE).write_bytes(self.manifest.to_bytes())

    def _files(self) -> dict[str, FileRecord]:
        return {path.name: FileRecord.of(path) for path in sorted(self.directory.iterdir())}


def _way(manifest: Manifest) -> Way:
    return Way(**{field.name: getattr(manifest, field.name) for field in fields(Way)})


def _runs_natively(variant: Variant, file: Path) -> bool:
    """True if the native engine is installed, knows the graph, and is fast on this machine."""
    return not (NATIVE.reason_against(variant, file) or NATIVE.slow_here())


@contextmanager
def room_explained(output: Path) -> Iterator[None]:
    """Turn the error of a full disk into one sentence.

    Args:
        output: The artifact to make.

    Raises:
        OutputError: The disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        places = " or ".join(dict.fromkeys([str(output.parent), temporary_place()]))
        msg = (
            f"the export has no room in {places} ({error.strerror}): make room there, choose "
            "another --output, or set TMPDIR to another directory"
        )
        raise OutputError(msg) from None

"""The whole way from a checkpoint to an artifact."""

import json
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

from lanner._version import __version__
from lanner.artifact.artifact import QUALITY_FILE, README_FILE, Artifact
from lanner.artifact.budget import Budget
from lanner.artifact.manifest import (
    MANIFEST_FILE,
    FileRecord,
    Manifest,
    TokenizerRecord,
    Variant,
    file_sha256,
    foreign_files,
)
from lanner.engines import open_engine
from lanner.errors import OutputExistsError, UnsupportedError, UsageError
from lanner.files.staging import staged_directory
from lanner.loading.load import open_model
from lanner.machine.machine import available_cores, package_versions
from lanner.models.base import Model
from lanner_export import DEFAULT_PRECISIONS, PRECISIONS
from lanner_export.checkpoint.checkpoint import Checkpoint
from lanner_export.graph.fusion import lost_fusions
from lanner_export.graph.lookup_graph import LookupTable
from lanner_export.graph.rewriting import require_passes
from lanner_export.loading import load_checkpoint
from lanner_export.precision.embedding_ranges import write_embedding_ranges
from lanner_export.precision.half_precision import measurable
from lanner_export.precision.journal import Journal
from lanner_export.precision.search import Search
from lanner_export.precision.variants import Int8, Recipe, write_variants
from lanner_export.quality.card import readme
from lanner_export.quality.measures import RememberedReference, measure_named
from lanner_export.quality.quality import measure_quality
from lanner_export.texts.calibration import calibration_texts
from lanner_export.texts.quality_data import QualityData
from lanner_export.trim.trimming import Corpus, Trimming

TOKENIZER_FILE = "tokenizer.json"
ARTIFACT_SUFFIX = ".lanner"
_VERSIONED_PACKAGES = (
    "torch",
    "transformers",
    "sentence-transformers",
    "tokenizers",
    "onnx",
    "onnxscript",
    "onnxruntime",
)

#: Told what begins: a few words, for a progress display.
Progress = Callable[[str], object]


def export(
    checkpoint: str | Path,
    output: str | Path,
    *,
    head: str = "auto",
    precisions: Sequence[str] = DEFAULT_PRECISIONS,
    calibration: Path | None = None,
    without_passes: Collection[str] = (),
    max_tokens: int | None = None,
    truncate_dim: int | None = None,
    positive_label: str | None = None,
    keep_layers: int | Sequence[int] | None = None,
    vocabulary_from: Path | None = None,
    quality_data: Path | None = None,
    budget: Budget | None = None,
    overwrite: bool = False,
    progress: Progress = lambda step: None,
    warn: Progress = warnings.warn,
) -> Artifact:
    """Makes an artifact of a checkpoint, or fails and leaves everything as it was.

    Args:
        checkpoint: A sentence-transformers or transformers directory, or a hub name.
        output: The directory to make.
        head: What the model is to answer, of `HEADS`; ``"auto"`` decides from the checkpoint.
        precisions: Which variants to make, of `PRECISIONS`.
        calibration: Texts for the ranges of int8 (.txt, .csv, .jsonl); None for the shipped ones.
        without_passes: Names of graph rewrites to leave out
        (`lanner_export.graph.rewriting.PASSES`).
        max_tokens: A longest input that replaces the checkpoint's own.
        truncate_dim: How many of the first dimensions of a vector to keep (Matryoshka); None for
            what the checkpoint says.
        positive_label: Which label's probability the head ``"score"`` answers, where there are
            several; None for the second of two.
        keep_layers: The layers to keep, by their numbers from 0 on, or how many, evenly spaced from
            the first to the last; None for all.
        vocabulary_from: Texts (.txt, .csv, .jsonl) whose tokens are enough, with every special
            token and every single character; None for all tokens. These texts are then split as
            before.
        quality_data: Labelled data to report quality on, or None; see
            `lanner_export.texts.quality_data.QualityData.read`.
        budget: What int8 may lose; products stay in float32 until it is met. None for no bound.
        overwrite: Whether an artifact at `output` gives way, once the new one is whole.
        progress: Called when a step begins.
        warn: Called with a sentence about the result that its user should know.

    Raises:
        OutputExistsError: `output` is taken.
        CheckpointError: The checkpoint is missing, incomplete or unreadable.
        UnsupportedError: It is of a kind that Lanner does not export.
        ParityError: A variant does not answer as the checkpoint, so trimmed, does.
        BudgetError: int8 cannot meet the budget.
        UsageError: The budget has nothing to be measured with.
        ExportError: A text of `vocabulary_from` would be split differently.
        InputError: The calibration or quality data, or `vocabulary_from`, cannot be used.
    """
    # Absolute, because replacing the working directory would leave a relative path dangling.
    target = Path(output).resolve()
    _require_precisions(precisions)
    require_passes(without_passes)
    _require_free(target, overwrite=overwrite)
    # Bad data is found before the long work, not after it.
    texts = calibration_texts(calibration)
    labelled = QualityData.read(quality_data) if quality_data else None
    if budget is not None:
        _require_int8(precisions, budget)
        budget.require_labels(has_labels=labelled is not None)
    corpus = Corpus.read(vocabulary_from) if vocabulary_from else None
    trimming = Trimming(keep_layers, corpus)
    journal = Journal.beside(target)
    progress("loading the checkpoint" + (" and reading the corpus with it" if corpus else ""))
    with staged_directory(target, replace=overwrite) as staged:
        loaded = load_checkpoint(
            str(checkpoint),
            head=head,
            max_tokens=max_tokens,
            truncate_dim=truncate_dim,
            positive_label=positive_label,
            trimming=trimming,
            scratch=staged.parent,
        )
        if labelled is not None:
            labelled.require_measurable(loaded.head, loaded.labels, loaded.activation)
        if budget is not None:
            budget.require_fits(loaded.head, loaded.activation)
            _require_products(loaded, budget)
        record = loaded.write_tokenizer(staged / TOKENIZER_FILE)
        reference = RememberedReference(loaded.reference)
        manifest = _manifest(target, loaded, record)

        def opened(variant: Variant, file: Path) -> Model:
            path = measurable(file, variant.precision, staged.parent)
            return open_model(
                manifest,
                variant,
                tokenizer=staged / TOKENIZER_FILE,
                engine=open_engine(variant.engine, path),
                workers=available_cores(),
            )

        def keep(int8: Int8, fp32: Variant, trial: Variant) -> list[str]:
            model = opened(fp32, int8.source)
            search = Search(
                int8=int8,
                budget=cast("Budget", budget),
                measure=measure_named(cast("Budget", budget).measure, model, reference, labelled),
                fp32=model,
                open_trial=partial(opened, trial),
                journal=journal,
                progress=progress,
                labels_sha256=file_sha256(quality_data) if quality_data else "",
            )
            return search.run()

        recipe = Recipe(
            precisions,
            texts,
            without_passes=without_passes,
            keep=keep if budget is not None else None,
            budget=budget.argument if budget is not None else "",
        )
        variants = write_variants(loaded, record, recipe, staged, progress)
        manifest = replace(manifest, variants=variants)
        for variant in variants:
            lost = lost_fusions(variant.fused_ops, loaded.model, loaded.architecture.layers)
            if lost:
                warn(
                    f"{' and '.join(lost)} of the {variant.name} variant are not fused into one "
                    "operator each: its answers are right, but slower than they could be"
                )
        models = {variant.name: opened(variant, staged / variant.file) for variant in variants}
        source = loaded.source_reference
        quality = measure_quality(
            reference,
            models,
            labelled,
            staged,
            progress,
            source=RememberedReference(source) if source is not None else None,
        )
        progress("writing the artifact")
        ranges = write_embedding_ranges(models, texts, staged, warn)
        _write_rest(staged, replace(manifest, embedding_ranges=ranges), quality)
    journal.remove()
    return Artifact.open(target)


def _require_precisions(precisions: Sequence[str]) -> None:
    unknown = [name for name in precisions if name not in PRECISIONS]
    if unknown or not precisions:
        msg = f"unknown precision {', '.join(unknown) or '(none)'}: use {', '.join(PRECISIONS)}"
        raise UnsupportedError(msg)


def _require_int8(precisions: Sequence[str], budget: Budget) -> None:
    if "int8" not in precisions:
        msg = (
            f"the budget {budget.argument} is for int8, which is not among "
            f"{', '.join(precisions)}: add int8 to --precision, or leave --budget out"
        )
        raise UsageError(msg)


def _require_products(loaded: Checkpoint, budget: Budget) -> None:
    if isinstance(loaded.graph, LookupTable):
        msg = (
            f"{loaded.source['checkpoint']} holds static vectors, of which int8 has no products "
            f"that could stay in float32 for the budget {budget.argument}: leave --budget out, and "
            "see in the quality card what int8 loses"
        )
        raise UnsupportedError(msg)


def _require_free(target: Path, *, overwrite: bool) -> None:
    if target.is_dir() and not any(target.iterdir()):
        return
    if not target.exists():
        return
    foreign = foreign_files(target)
    if foreign:
        msg = (
            f"{target} exists and holds what is not of a Lanner artifact ({foreign[0]}): "
            "choose another --output"
        )
        raise OutputExistsError(msg)
    if not overwrite:
        msg = f"{target} exists: pass --overwrite to replace it, or choose another --output"
        raise OutputExistsError(msg)


def _manifest(target: Path, loaded: Checkpoint, record: TokenizerRecord) -> Manifest:
    return Manifest(
        name=target.name.removesuffix(ARTIFACT_SUFFIX),
        head=loaded.head,
        architecture=loaded.architecture,
        dimension=loaded.dimension,
        similarity=loaded.similarity,
        tokenizer=record,
        inputs=list(loaded.inputs),
        outputs=[loaded.output],
        variants=[],
        source=loaded.source,
        trimming=loaded.trimming,
        versions={"lanner": __version__, **package_versions(*_VERSIONED_PACKAGES)},
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        prompts=loaded.prompts,
        default_prompt_name=loaded.default_prompt_name,
        pools_prompt=loaded.pools_prompt,
        labels=loaded.labels,
        activation=loaded.activation,
        scored_label=loaded.scored_label,
    )


def _write_rest(staged: Path, manifest: Manifest, quality: dict[str, Any]) -> None:
    text = json.dumps(quality, indent=2, ensure_ascii=False, allow_nan=False)
    (staged / QUALITY_FILE).write_text(text + "\n", encoding="utf-8")
    files = {path.name: FileRecord.of(path) for path in sorted(staged.iterdir())}
    (staged / README_FILE).write_text(readme(manifest, quality, files), encoding="utf-8")
    files[README_FILE] = FileRecord.of(staged / README_FILE)
    (staged / MANIFEST_FILE).write_bytes(replace(manifest, files=files).to_bytes())

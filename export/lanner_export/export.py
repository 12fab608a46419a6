"""The export, from a checkpoint to an artifact.

`export` is the public function; `Export.run` holds its steps in order.
"""

import gc
import shutil
import warnings
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lanner._version import __version__
from lanner.artifact.artifact import Artifact
from lanner.artifact.heads import Head
from lanner.artifact.manifest import (
    Manifest,
    TokenizerRecord,
    Variant,
)
from lanner.artifact.quality_budget import QualityBudget
from lanner.errors import OutputError
from lanner.files.staging import staged_directory
from lanner.machine.machine import package_versions
from lanner.machine.memory import return_free_memory
from lanner_export import DEFAULT_PRECISIONS, SIF_SMOOTHING
from lanner_export.checkpoint.checkpoint import Checkpoint
from lanner_export.draft import TOKENIZER_FILE, Draft, room_explained
from lanner_export.graph.fusion import lost_fusions
from lanner_export.loading import load_checkpoint
from lanner_export.options import Options
from lanner_export.precision.embedding_ranges import write_embedding_ranges
from lanner_export.precision.journal import Journal
from lanner_export.precision.search import Search, require_products
from lanner_export.precision.variants import Int8, Recipe, write_variants
from lanner_export.progress import Progress, silent
from lanner_export.quality.comparison import measure_quality
from lanner_export.quality.measures import RememberedReference, measure_named
from lanner_export.quality.parity import Int8Error
from lanner_export.static.word_options import Sif, WordOptions
from lanner_export.texts.calibration import calibration_texts
from lanner_export.texts.quality_data import QualityData
from lanner_export.trim.trimming import Corpus, Trimming
from lanner_export.ways import parse_adapters

QUERY_WEIGHTS_FILE = "query_weights.npy"
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
#: The budget of int8 where all products in int8 fall short: a point above the tolerance of the mean
#: cosine. In all-mpnet-base-v2 4 of 72 products meet it (0.874 -> 0.981).
_INT8_BUDGET = QualityBudget("cosine", 0.98)
#: A collection looks at every object, which takes 0.3 s or more with PyTorch loaded: too long for
#: what smaller weights leave behind.
_LARGE_BYTES = 100_000_000


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
    pooling: str | None = None,
    positive_label: str | None = None,
    base: str | None = None,
    adapters: Sequence[str] = (),
    allow_pickle: bool = False,
    keep_layers: int | Sequence[int] | None = None,
    vocabulary_from: Path | None = None,
    segment: str = "auto",
    sif: Path | None = None,
    sif_smoothing: float = SIF_SMOOTHING,
    remove_component: bool = False,
    quality_data: Path | None = None,
    budget: QualityBudget | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
    warn: Progress = warnings.warn,
) -> Artifact:
    """Make an artifact from a checkpoint, or fail and leave everything unchanged.

    Args:
        checkpoint: A sentence-transformers or transformers directory, or a hub name.
        output: The directory to make.
        head: One of `HEADS`; ``"auto"`` decides from the checkpoint.
        precisions: The variants to make, some of `PRECISIONS`.
        calibration: Texts for the ranges of int8 (.txt, .csv, .jsonl); None for the shipped ones.
        without_passes: Names of graph rewrites to leave out
            (`lanner_export.graph.rewriting.PASSES`).
        max_tokens: A longest input that replaces the checkpoint's own.
        truncate_dim: The number of leading dimensions of a vector to keep (Matryoshka); None for
            the checkpoint's own.
        pooling: One of `POOLINGS`, for a checkpoint that does not say how the vectors of its
            tokens become one; None for the mean.
        positive_label: The label whose probability the head ``"score"`` returns, if there are
            several; None for the second of two.
        base: The checkpoint that an adapter (LoRA) was trained for, a directory or a hub name; None
            for the weights beside it, or the directory that its configuration names.
        adapters: The folders in the checkpoint of the adapters to merge: one name, or
            ``"query=NAME"`` and ``"document=NAME"`` for an artifact with two ways.
        allow_pickle: Read weights that are pickles (``.bin``), by torch's safe unpickling.
        keep_layers: The layers to keep, by their numbers from 0, or the number of layers, evenly
            spaced from the first to the last; None for all.
        vocabulary_from: Texts (.txt, .csv, .jsonl): only their tokens, special tokens and single
            characters are kept, and these texts are split as before. None keeps all tokens.
        segment: Of a file of word vectors, one of `SEGMENTERS`: what finds the words of a text.
            ``"auto"`` takes jieba if most words are Chinese, unless the given texts have blanks.
        sif: Of a file of word vectors, texts (.txt, .csv, .jsonl) whose words are counted: each
            word is weighed by its inverse frequency, a / (a + p). None if all count the same.
        sif_smoothing: The `a` of these weights.
        remove_component: Take the first principal component of these texts' vectors out of all.
        quality_data: Labelled data to report quality on, or None; see
            `lanner_export.texts.quality_data.QualityData.read`.
        budget: The most that int8 may lose; products stay in float32 until it is met. None for no
            bound, and for a mean cosine of 0.98 where vectors of int8 are beyond their tolerance.
        overwrite: Replace an artifact at `output`, once the new one is complete.
        progress: Called when a step begins, and within a long one.
        warn: Called with a warning about the result.

    Raises:
        OutputError: There is no room for the files.
        OutputExistsError: `output` is taken.
        CheckpointError: The checkpoint is missing, incomplete or unreadable.
        UnsupportedError: Lanner does not export this kind of checkpoint.
        ParityError: The answers of a variant differ from the (trimmed) checkpoint's.
        BudgetError: int8 cannot meet the budget.
        UsageError: There is no data to measure the budget with or to weigh words by, or no adapter
            for the base.
        MissingExtraError: The package that merges adapters or splits texts is not installed.
        ExportError: A text of `vocabulary_from` would be split differently.
        InputError: The calibration or quality data, or `vocabulary_from`, cannot be used.
    """
    options = Options(
        checkpoint=str(checkpoint),
        # Absolute, because replacing the working directory would leave a relative path dangling.
        output=Path(output).resolve(),
        head=head,
        precisions=precisions,
        calibration=calibration,
        without_passes=without_passes,
        max_tokens=max_tokens,
        truncate_dim=truncate_dim,
        pooling=pooling,
        positive_label=positive_label,
        base=base,
        adapters=adapters,
        allow_pickle=allow_pickle,
        keep_layers=keep_layers,
        vocabulary_from=vocabulary_from,
        segment=segment,
        sif=sif,
        sif_smoothing=sif_smoothing,
        remove_component=remove_component,
        quality_data=quality_data,
        budget=budget,
        overwrite=overwrite,
    )
    try:
        return Export(options, progress, warn).run()
    except Int8Error as error:
        if budget is not None:
            raise
        reason = str(error).partition(";")[0]
    # Outside the handler, whose traceback keeps the models of the first run.
    warn(
        f"{reason}: products stay in float32 until the mean cosine is {_INT8_BUDGET.bound:g}, as "
        f"with --budget {_INT8_BUDGET.argument}"
    )
    progress("int8 falls short: once more, with products in float32")
    return Export(replace(options, budget=_INT8_BUDGET), progress, warn).run()


class Export:
    """One export: `run` takes its steps in order.

    Args:
        options: The options.
        progress: Called when a step begins.
        warn: Called with a warning about the result.

    Raises:
        LannerError: The options, or the texts and labels that they name, cannot be used; see
            `export`. Bad data are found here, before the long work.
    """

    def __init__(self, options: Options, progress: Progress, warn: Progress) -> None:
        options.require_consistent()
        self._options, self._tell, self._warn = options, progress, warn
        self._texts = calibration_texts(options.calibration)
        self._labelled = QualityData.read(options.quality_data) if options.quality_data else None
        corpus = Corpus.read(options.vocabulary_from) if options.vocabulary_from else None
        self._trimming = Trimming(options.keep_layers, corpus)
        self._journal = Journal.beside(options.output)
        self._weights_bytes = 0  # in float32; known once the checkpoint is loaded

    def run(self) -> Artifact:
        """Take all steps and return the artifact; a failure leaves everything unchanged."""
        output = self._options.output
        with (
            room_explained(output),
            staged_directory(output, replace=self._options.overwrite) as staged,
        ):
            checkpoint = self._load(staged.parent)
            self._require_room(checkpoint, staged)
            draft = self._drafted(staged, checkpoint)
            ways = {
                task: self._drafted(staged, way, stem=task) for task, way in checkpoint.ways.items()
            }
            quality = self._compare(draft)
            if ways:
                quality["ways"] = {task: self._compare(way) for task, way in ways.items()}
                draft.add_ways(ways)
            self._progress("writing the artifact")
            self._measure_ranges(draft, ways.values())
            draft.write_card(quality)
            draft.write_manifest()
        # The directory has its name now, so a later search is a new one.
        self._journal.remove()
        return Artifact.open(output)

    def _progress(self, step: str) -> None:
        """Begin a step, with the memory that the one before needed for a while."""
        if self._weights_bytes >= _LARGE_BYTES:
            gc.collect()  # values and nodes of a graph hold each other
        return_free_memory()
        self._tell(step)

    def _require_room(self, checkpoint: Checkpoint, directory: Path) -> None:
        """Check that the weights fit on the disk, in float32 and in the largest other file.

        Raises:
            OutputError: They do not.
        """
        self._weights_bytes = sum(way.traced_bytes for way in checkpoint.every_way())
        # The float32 graph, and for a while one that ONNX Runtime has optimized.
        needed, free = 2 * self._weights_bytes, shutil.disk_usage(directory).free
        if free < needed:
            msg = (
                f"this export needs {needed / 1e6:,.1f} MB in {self._options.output.parent}, where "
                f"{free / 1e6:,.1f} MB are free: make room there, or choose another --output"
            )
            raise OutputError(msg)

    def _load(self, scratch: Path) -> Checkpoint:
        options = self._options
        with_corpus = " and reading the corpus with it" if self._trimming.corpus else ""
        self._progress(f"loading the checkpoint{with_corpus}")
        checkpoint = load_checkpoint(
            options.checkpoint,
            head=options.head,
            max_tokens=options.max_tokens,
            truncate_dim=options.truncate_dim,
            pooling=options.pooling,
            positive_label=options.positive_label,
            base=options.base,
            adapters=parse_adapters(options.adapters),
            allow_pickle=options.allow_pickle,
            trimming=self._trimming,
            words=self._word_options(),
            scratch=scratch,
        )
        if self._labelled is not None:
            self._labelled.require_measurable(
                checkpoint.head, checkpoint.labels, checkpoint.activation
            )
        if options.budget is not None:
            options.budget.require_fits(checkpoint.head, checkpoint.activation)
            for way in checkpoint.every_way():
                require_products(way, options.budget)
        for warning in checkpoint.warnings:
            self._warn(warning)
        return checkpoint

    def _word_options(self) -> WordOptions:
        options, labelled = self._options, self._labelled
        given = list(self._texts.texts) if options.calibration else []
        if labelled is not None:
            given += [one for one in labelled.inputs(Head.EMBED) if isinstance(one, str)]
        sif = None
        if options.sif is not None:
            corpus = Corpus.read(options.sif)
            given += corpus.texts
            sif = Sif(corpus, options.sif_smoothing, options.remove_component)
        return WordOptions(options.segment, sif, given)

    def _manifest(self, checkpoint: Checkpoint, tokenizer: TokenizerRecord) -> Manifest:
        """Return the manifest before there are variants."""
        return Manifest(
            name=self._options.output.name.removesuffix(ARTIFACT_SUFFIX),
            head=checkpoint.head,
            architecture=checkpoint.architecture,
            dimension=checkpoint.dimension,
            similarity=checkpoint.similarity,
            tokenizer=tokenizer,
            inputs=list(checkpoint.inputs),
            outputs=[checkpoint.output],
            variants=[],
            source=checkpoint.source,
            trimming=checkpoint.trimming,
            versions={"lanner": __version__, **package_versions(*_VERSIONED_PACKAGES)},
            created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            prompts=checkpoint.prompts,
            default_prompt_name=checkpoint.default_prompt_name,
            pools_prompt=checkpoint.pools_prompt,
            labels=checkpoint.labels,
            activation=checkpoint.activation,
            scored_label=checkpoint.scored_label,
            takes_pairs=checkpoint.takes_pairs,
            empty_answer=list(checkpoint.empty_answer),
            max_active_dims=checkpoint.max_active_dims,
            query_weights=None if checkpoint.query_weights is None else QUERY_WEIGHTS_FILE,
            late_interaction=checkpoint.late_interaction,
            task=checkpoint.task,
        )

    def _drafted(self, staged: Path, checkpoint: Checkpoint, *, stem: str = "model") -> Draft:
        """Write the tokenizer and the variants of one way, in files of their own."""
        file = TOKENIZER_FILE if stem == "model" else f"{stem}.{TOKENIZER_FILE}"
        tokenizer = checkpoint.write_tokenizer(staged / file)
        if checkpoint.query_weights is not None:
            np.save(staged / QUERY_WEIGHTS_FILE, checkpoint.query_weights)
        draft = Draft(staged, checkpoint, self._manifest(checkpoint, tokenizer), self._tell)
        draft.add_variants(self._write_variants(draft, stem))
        self._warn_of_lost_fusions(draft)
        return draft

    def _write_variants(self, draft: Draft, stem: str) -> list[Variant]:
        options, budget = self._options, self._options.budget
        recipe = Recipe(
            options.precisions,
            self._texts,
            without_passes=options.without_passes,
            keep=partial(self._search, draft, budget) if budget is not None else None,
            budget=budget.argument if budget is not None else "",
            stem=stem,
        )
        return write_variants(
            draft.checkpoint, draft.manifest.tokenizer, recipe, draft.directory, self._progress
        )

    def _search(
        self, draft: Draft, budget: QualityBudget, int8: Int8, fp32: Variant, trial: Variant
    ) -> list[str]:
        """Search for the int8 products that stay in float32 for the budget."""
        model = draft.opened(fp32, int8.source)
        search = Search(
            int8=int8,
            budget=budget,
            measure=measure_named(budget.measure, model, draft.reference, self._labelled),
            fp32=model,
            open_trial=partial(draft.opened, trial),
            journal=self._journal,
            progress=self._progress,
            options=self._options.identity(),
        )
        return search.run()

    def _warn_of_lost_fusions(self, draft: Draft) -> None:
        checkpoint = draft.checkpoint
        for variant in draft.manifest.variants:
            layers = checkpoint.architecture.layers
            if lost := lost_fusions(variant.fused_ops, checkpoint.model, layers):
                self._warn(
                    f"{' and '.join(lost)} of the {variant.name} variant are not fused into one "
                    "operator each: its answers are right, but slower than they could be"
                )

    def _compare(self, draft: Draft) -> dict[str, Any]:
        """Measure every variant against the checkpoint: the content of `quality.json`."""
        source = draft.checkpoint.source_reference
        return measure_quality(
            draft.reference,
            draft.models,
            self._labelled,
            draft.directory,
            self._progress,
            source=RememberedReference(source) if source is not None else None,
        )

    def _measure_ranges(self, draft: Draft, ways: Iterable[Draft]) -> None:
        models = [one.models for one in (draft, *ways)]
        ranges = write_embedding_ranges(models, self._texts, draft.directory, self._warn)
        draft.manifest = replace(draft.manifest, embedding_ranges=ranges)

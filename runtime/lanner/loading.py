"""From an artifact on disk to a model that answers."""

from pathlib import Path
from typing import Any

from lanner.artifact import Artifact
from lanner.batching import TOKEN_BUDGET
from lanner.classification import ClassificationModel
from lanner.embedding import EmbeddingModel
from lanner.embedding_ranges import EmbeddingRanges
from lanner.engines import Engine, choose_engine, open_engine
from lanner.errors import InputError, UnsupportedError
from lanner.machine import available_cores
from lanner.manifest import Manifest, Variant
from lanner.model import Model
from lanner.scoring import ScoringModel
from lanner.tagging import TaggingModel
from lanner.tokenization import TextTokenizer, Tokenizer
from lanner.word_tokenizer import WordTokenizer

_MODEL_OF_HEAD: dict[str, type[Model]] = {
    "embed": EmbeddingModel,
    "score": ScoringModel,
    "classify": ClassificationModel,
    "tag": TaggingModel,
}


def load(
    path: str | Path,
    *,
    engine: str = "auto",
    variant: str = "auto",
    threads: int | None = None,
    workers: int | None = None,
    token_budget: int = TOKEN_BUDGET,
) -> Any:  # one of four classes: which one, the artifact says
    """Loads an artifact into this process.

    Args:
        path: A directory that ``lanner export`` wrote.
        engine: ``"onnxruntime"``, ``"openvino"``, or ``"auto"``: the fastest as a rule of those
            that are installed (see `lanner.engines.choose_engine`).
        variant: ``"fp32"``, ``"int8"``, or ``"auto"`` for the fastest that is safe on this machine
            (see `lanner.artifact.Artifact.choose`). ``"bf16"`` runs in OpenVINO where the CPU has
            it. ``"fp16"`` is for GPUs, and slow on a CPU.
        threads: Cores to use, or None for all that this process may use.
        workers: How many batches run at once, sharing the cores, or None for one a core. A text
            that comes alone gets all cores if that is faster.
        token_budget: The most padded tokens in one batch.

    Returns:
        By the head of the artifact an `EmbeddingModel`, a `ScoringModel`, a `ClassificationModel`
        or a `TaggingModel`.

    Raises:
        ArtifactError: It is no artifact, or a file of it is missing, truncated or changed.
        VariantError: It has no such variant, or there is no such engine.
        MissingExtraError: The engine's package is not installed.
        EngineError: The engine could not load the variant, or this CPU lacks its precision.
        InputError: `threads`, `workers` or `token_budget` is less than 1, or there are more workers
            than threads.
        UnsupportedError: Its head is of a newer Lanner.
    """
    threads = available_cores() if threads is None else threads
    workers = threads if workers is None else workers
    counts = {"threads": threads, "workers": workers, "token_budget": token_budget}
    for name, value in counts.items():
        if value < 1:
            msg = f"{name} must be at least 1, not {value}"
            raise InputError(msg)
    if workers > threads:
        msg = f"workers must be at most threads, not {workers} for {threads} threads"
        raise InputError(msg)
    artifact = Artifact.open(path)
    if artifact.manifest.head not in _MODEL_OF_HEAD:
        msg = (
            f"{path} has the head {artifact.manifest.head!r}, and this Lanner has "
            f"{', '.join(_MODEL_OF_HEAD)}: upgrade it with pip install --upgrade lanner"
        )
        raise UnsupportedError(msg)
    chosen = artifact.choose(variant)
    if chosen.weights_file is not None:
        artifact.file(chosen.weights_file)
    ranges = artifact.manifest.embedding_ranges
    return open_model(
        artifact.manifest,
        chosen,
        tokenizer=artifact.file(artifact.manifest.tokenizer.file),
        ranges=None if ranges is None else artifact.file(ranges.file),
        engine=open_engine(
            choose_engine(chosen) if engine == "auto" else engine,
            artifact.file(chosen.file),
            threads=threads,
            workers=workers,
            max_tokens=artifact.manifest.tokenizer.max_tokens,
        ),
        workers=workers,
        token_budget=token_budget,
    )


def open_model(
    manifest: Manifest,
    variant: Variant,
    *,
    tokenizer: Path,
    engine: Engine,
    workers: int = 1,
    token_budget: int = TOKEN_BUDGET,
    ranges: Path | None = None,
) -> Model:
    """The model of a head around an engine; the export stage uses it before there is an artifact.

    Raises:
        ArtifactError: The tokenizer's file, or that of the ranges, cannot be read.
    """
    own: dict[str, Any] = {}
    if ranges is not None:
        own["ranges"] = EmbeddingRanges.read(ranges, manifest.dimension)
    return _MODEL_OF_HEAD[manifest.head](
        manifest=manifest,
        variant=variant,
        tokenizer=_open_tokenizer(tokenizer, manifest),
        engine=engine,
        workers=workers,
        token_budget=token_budget,
        **own,
    )


def _open_tokenizer(path: Path, manifest: Manifest) -> TextTokenizer:
    record = manifest.tokenizer
    if record.kind == "words":
        return WordTokenizer(path, record.max_tokens)
    # A quarter: what stands at the edge of one window is well inside of the next.
    overlap_tokens = (record.max_tokens or 0) // 4 if manifest.head == "tag" else 0
    return Tokenizer(path, record, overlap_tokens=overlap_tokens)

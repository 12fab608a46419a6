"""From an artifact on disk to a model that answers."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import Manifest, Variant
from lanner.engines import Engine, open_engine
from lanner.engines.registry import ONNXRUNTIME
from lanner.errors import InputError
from lanner.loading.configuration import Configuration
from lanner.loading.tuned import stored_choice
from lanner.machine.machine import available_cores
from lanner.models.base import Model
from lanner.models.heads import model_class
from lanner.running.batching import LEAST_SHARE, TOKEN_BUDGET
from lanner.running.runner import MAX_WAITING, Runner, feed
from lanner.text.tokenization import TextTokenizer, Tokenizer
from lanner.text.words import WordTokenizer
from lanner.vectors.ranges import EmbeddingRanges


def load(
    path: str | Path,
    *,
    engine: str = "auto",
    variant: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    workers: int | None = None,
    token_budget: int | None = None,
    max_waiting: int = MAX_WAITING,
    engine_cache: str | Path | None = None,
) -> Any:  # one of four classes: which one, the artifact says
    """Loads an artifact into this process.

    What is left open is decided by what ``lanner tune`` measured on this machine for as many
    threads, if it did (see `lanner.loading.tuned`), and else by the defaults below. What is given
    wins; a stored choice of another engine or variant than the given one is not used at all.

    Args:
        path: A directory that ``lanner export`` wrote.
        engine: ``"onnxruntime"``, ``"openvino"`` or another that ``lanner doctor`` names, or
            ``"auto"``: the fastest as a rule of those that are installed (see
            `lanner.engines.choose_engine`).
        variant: ``"fp32"``, ``"int8"``, or ``"auto"`` for the fastest that is safe on this machine
            (see `lanner.artifact.artifact.Artifact.choose`). ``"bf16"`` runs in OpenVINO where the
            CPU has it. ``"fp16"`` is for GPUs, and slow on a CPU. Of engines of TensorRT the
            precision is name enough with ``engine="tensorrt"``, or where no graph has it.
        device: ``"cpu"``, ``"cuda"`` for the first NVIDIA GPU that is visible, or ``"auto"``: the
            GPU where an engine of TensorRT was built for it, or onnxruntime-gpu is installed, and
            else the CPU (see `lanner.loading.selection.select`).
        threads: Cores to use, or None for all that this process may use.
        workers: How many batches run at once, sharing the cores, or None for one a core, and two
            on a GPU. A text that comes alone gets all cores if that is faster.
        token_budget: The most padded tokens in one batch, or None for 512, and 16,384 on a GPU.
        max_waiting: The most calls that wait while all workers are busy; more are refused with
            `lanner.errors.Overloaded`.
        engine_cache: A directory, made if it is not there, for the engines that ONNX Runtime
            builds with TensorRT: given one, it runs on the GPU through TensorRT. The first load of
            a variant takes minutes. None for ONNX Runtime's own kernels.

    Returns:
        By the head of the artifact an `EmbeddingModel`, a `ScoringModel`, a `ClassificationModel`
        or a `TaggingModel`.

    Raises:
        ArtifactError: It is no artifact, or a file of it is missing, truncated or changed.
        VariantError: It has no such variant, or there is no such engine.
        MissingExtraError: The engine's package is not installed.
        EngineError: The engine could not load the variant, or this CPU lacks its precision, or
            there is no such GPU.
        InputError: A number is less than 1, or there are more workers than threads, or the device
            is none or not of that engine.
    """
    threads = available_cores() if threads is None else threads
    require_counts(
        threads=threads, workers=workers, token_budget=token_budget, max_waiting=max_waiting
    )
    if workers is not None and workers > threads:
        msg = f"workers must be at most threads, not {workers} for {threads} threads"
        raise InputError(msg)
    artifact = Artifact.open(path)
    if engine_cache is not None:
        if engine not in ("auto", ONNXRUNTIME.name) or device == "cpu":
            msg = "engine_cache is for onnxruntime on cuda: leave it out, or engine and device"
            raise InputError(msg)
        engine, device = ONNXRUNTIME.name, "cuda"
    asked = {"engine": engine, "variant": variant, "device": device}
    choice = stored_choice(artifact, threads=threads)
    if choice is not None and choice.configuration.fits(**asked):
        decided = choice.configuration
    else:
        decided = Configuration.default(artifact, threads=threads, **asked)
    configuration = replace(
        decided,
        workers=workers or decided.workers,
        token_budget=token_budget or decided.token_budget,
    )
    return open_configuration(
        artifact,
        configuration,
        threads=threads,
        max_waiting=max_waiting,
        engine_cache=None if engine_cache is None else Path(engine_cache),
    )


def require_counts(**counts: int | None) -> None:
    """Refuses a number that is less than 1.

    Raises:
        InputError: One is; the message names it.
    """
    for name, value in counts.items():
        if value is not None and value < 1:
            msg = f"{name} must be at least 1, not {value}"
            raise InputError(msg)


def open_configuration(
    artifact: Artifact,
    configuration: Configuration,
    *,
    threads: int,
    max_waiting: int = MAX_WAITING,
    engine: Engine | None = None,
    engine_cache: Path | None = None,
) -> Model:
    """The model of an artifact, run in one way; the files that it needs are verified.

    Args:
        artifact: An opened artifact.
        configuration: How it is run.
        threads: Cores to use.
        max_waiting: The most calls that wait while all workers are busy.
        engine: The engine of a model with the same engine, variant, workers and threads, to share
            it; None opens one.
        engine_cache: See `load`.

    Raises:
        LannerError: As `load` says.
    """
    manifest, chosen = artifact.manifest, artifact.choose(configuration.variant)
    if engine is None:
        if chosen.weights_file is not None:
            artifact.file(chosen.weights_file)
        # A table in a file of its own is looked up: one core is enough for that.
        is_multiplied = chosen.weights_file is None
        engine = open_engine(
            configuration.engine,
            artifact.file(chosen.file),
            precision=chosen.precision,
            threads=threads if is_multiplied else 1,
            workers=configuration.workers if is_multiplied else 1,
            max_tokens=manifest.tokenizer.max_tokens,
            build=chosen.build,
            device=configuration.device,
            inputs=manifest.inputs,
            engine_cache=engine_cache,
        )
    ranges = manifest.embedding_ranges
    return open_model(
        manifest,
        chosen,
        tokenizer=artifact.file(manifest.tokenizer.file),
        ranges=None if ranges is None else artifact.file(ranges.file),
        engine=engine,
        workers=configuration.workers,
        token_budget=configuration.token_budget,
        max_waiting=max_waiting,
        # A GPU runs the whole of a call faster than its parts.
        least_share=LEAST_SHARE if configuration.device == "cpu" else configuration.token_budget,
    )


def open_model(
    manifest: Manifest,
    variant: Variant,
    *,
    tokenizer: Path,
    engine: Engine,
    workers: int = 1,
    token_budget: int = TOKEN_BUDGET,
    max_waiting: int = MAX_WAITING,
    least_share: int = LEAST_SHARE,
    ranges: Path | None = None,
) -> Model:
    """The model of a head around an engine; the export stage uses it before there is an artifact.

    Raises:
        ArtifactError: The tokenizer's file, or that of the ranges, cannot be read.
    """
    own: dict[str, Any] = {}
    if ranges is not None:
        own["ranges"] = EmbeddingRanges.read(ranges, manifest.dimension)
    return model_class(manifest)(
        manifest=manifest,
        variant=variant,
        tokenizer=open_tokenizer(tokenizer, manifest),
        runner=Runner(
            engine,
            feed=partial(feed, pad_token_id=manifest.tokenizer.pad_token_id),
            workers=workers,
            token_budget=token_budget,
            max_waiting=max_waiting,
            least_share=least_share,
            width=manifest.dimension,
            by_token=manifest.head == "tag",
        ),
        **own,
    )


def open_tokenizer(path: Path, manifest: Manifest) -> TextTokenizer:
    """The tokenizer that a manifest describes.

    Raises:
        ArtifactError: Its file cannot be read.
    """
    record = manifest.tokenizer
    if record.kind == "words":
        return WordTokenizer(path, record.max_tokens)
    # A quarter: what stands at the edge of one window is well inside of the next.
    overlap_tokens = (record.max_tokens or 0) // 4 if manifest.head_record.reads_windows else 0
    return Tokenizer(path, record, overlap_tokens=overlap_tokens)

"""Loading: from an artifact on disk to a model."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, Unpack, cast, overload

from numpy.typing import NDArray

from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import Manifest, Variant
from lanner.engines import Engine, open_engine, passed_over
from lanner.engines.model_file import seen_model, verified_model
from lanner.engines.registry import ONNXRUNTIME
from lanner.errors import InputError
from lanner.loading.configuration import Configuration
from lanner.loading.selection import select
from lanner.loading.tuned import stored_choice
from lanner.machine.machine import available_cores
from lanner.models.base import Model
from lanner.models.heads import AnyModel, ModelT, model_class, require_class
from lanner.models.inputs import require_count, require_path, require_str
from lanner.running.defaults import LEAST_SHARE, MAX_WAITING, TOKEN_BUDGET
from lanner.running.runner import Part, Runner, feed, feed_packed
from lanner.text.tokenization import Tokenizer
from lanner.text.words import WordTokenizer
from lanner.vectors.ranges import EmbeddingRanges
from lanner.vectors.sparse import read_weights

_log = logging.getLogger("lanner")
#: An engine starts them all, whether there are cores for them or not.
_MOST_THREADS = 1_024


class LoadOptions(TypedDict, total=False):
    """The arguments of `load` that do not change the type of the model."""

    engine: str
    variant: str
    device: str
    threads: int | None
    workers: int | None
    token_budget: int | None
    max_waiting: int
    engine_cache: str | Path | None


@overload
def load(path: str | Path, *, head: None = None, **options: Unpack[LoadOptions]) -> AnyModel: ...


@overload
def load(path: str | Path, *, head: type[ModelT], **options: Unpack[LoadOptions]) -> ModelT: ...


def load(
    path: str | Path,
    *,
    head: type[Model] | None = None,
    engine: str = "auto",
    variant: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    workers: int | None = None,
    token_budget: int | None = None,
    max_waiting: int = MAX_WAITING,
    engine_cache: str | Path | None = None,
) -> Model:
    """Load an artifact into this process.

    Arguments that are not given come from the choice that ``lanner tune`` stored for this machine
    and the same number of threads, if there is one (see `lanner.loading.tuned`), or from the
    defaults below. Given arguments win; a stored choice of another engine or variant is ignored.

    The vectors of two variants are not comparable, and those of two engines are not quite the same:
    name both where vectors are stored or compared between machines, unless ``"auto"`` finds the
    same engines everywhere. The native engine gives the same bits on every processor. The logger
    ``lanner`` says at INFO which variant and engine were taken, and why.

    Args:
        path: A directory that ``lanner export`` wrote.
        head: The class that the caller expects, for example `lanner.EmbeddingModel`; an artifact of
            another head is refused before it is loaded. None for any: type checkers then see the
            methods of all heads.
        engine: ``"native"``, ``"onnxruntime"``, ``"openvino"`` or another that ``lanner doctor``
            names, or ``"auto"``: the installed one that is usually fastest, for int8 the native
            engine if it knows the encoder (see `lanner.engines.choose_engine`).
            ``"native-static"`` is the native engine with the artifact's scales instead of a scale
            for each token. ``"native-bf16"`` runs fp32 with products in bfloat16, on CPUs with AMX.
        variant: ``"fp32"``, ``"int8"``, or ``"auto"`` for the fastest that is safe: int8, unless
            its answers depend on the batch by the quality card (see
            `lanner.artifact.artifact.Artifact.choose`). ``"bf16"`` runs in OpenVINO on CPUs
            that have it. ``"fp16"`` is for GPUs, and slow on a CPU. A TensorRT engine can be named
            by its precision with ``engine="tensorrt"``, or if no graph has that precision.
        device: ``"cpu"``, ``"cuda"`` for the first visible NVIDIA GPU, or ``"auto"``: the GPU if a
            TensorRT engine was built for it, or onnxruntime-gpu is installed, and otherwise the
            CPU (see `lanner.loading.selection.select`).
        threads: Cores to use, or None for all that this process may use.
        workers: The number of batches at once, sharing the cores, or None for one per core, and
            two on a GPU. A single text gets all cores if that is faster.
        token_budget: The most padded tokens in one batch, or None for 512, and 16,384 on a GPU.
        max_waiting: The most calls that wait while all workers are busy; more are refused with
            `lanner.errors.Overloaded`.
        engine_cache: A directory for the engines that ONNX Runtime builds with TensorRT; it is
            made if it does not exist. With it, ONNX Runtime runs on the GPU through TensorRT, and
            the first load of a variant takes minutes. None for ONNX Runtime's own kernels.

    Returns:
        An `EmbeddingModel`, a `ScoringModel`, a `ClassificationModel` or a `TaggingModel`, by the
        head of the artifact.

    Raises:
        ArtifactError: It is not an artifact, or a file of it is missing, truncated or changed.
        VariantError: It has no such variant, or there is no such engine.
        MissingExtraError: The engine's package is not installed.
        EngineError: The engine could not load the variant, or this CPU lacks its precision, or
            there is no such GPU.
        InputError: A number is less than 1, or there are more workers than threads, or the device
            is none or not of that engine.
    """
    require_path(path=path, **({} if engine_cache is None else {"engine_cache": engine_cache}))
    require_str(engine=engine, variant=variant, device=device)
    if "://" in str(path):
        msg = f"{path} is the address of a server, not a directory: lanner.connect(url, name)"
        raise InputError(msg)
    options = LoadOptions(
        threads=threads, workers=workers, token_budget=token_budget, max_waiting=max_waiting
    )
    if engine_cache is not None:
        options["engine_cache"] = Path(engine_cache).absolute()
    threads = available_cores() if threads is None else threads
    require_counts(
        threads=threads, workers=workers, token_budget=token_budget, max_waiting=max_waiting
    )
    if threads > (most := max(_MOST_THREADS, available_cores())):
        msg = f"threads must be at most {most:,}, not {threads}"
        raise InputError(msg)
    if workers is not None and workers > threads:
        msg = f"workers must be at most threads, not {workers} for {threads} threads"
        raise InputError(msg)
    begin_s = time.perf_counter()
    artifact = Artifact.open(path)
    require_class(artifact.manifest, head, str(path))
    if engine_cache is not None:
        if engine not in ("auto", ONNXRUNTIME.name) or device == "cpu":
            msg = "engine_cache is for onnxruntime on cuda: omit it, or omit engine and device"
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
    # The text of another task may need another engine, such as a table that is only looked up.
    ways = {
        task: select(artifact.way(task), **{**asked, "variant": configuration.variant})
        for task in artifact.manifest.ways
    }
    model = open_configuration(
        artifact,
        configuration,
        threads=threads,
        max_waiting=max_waiting,
        engine_cache=None if engine_cache is None else Path(engine_cache),
        ways={
            task: replace(configuration, engine=way.engine, device=way.device)
            for task, way in ways.items()
        },
    )
    is_tuned = choice is not None and decided is choice.configuration
    if _log.isEnabledFor(logging.INFO):
        why = "as lanner tune chose" if is_tuned else _why(artifact, configuration, **asked)
        _log.info("%s runs as %s in %s on %s: %s", path, *_named(configuration), why)
    # Another process may have another working directory, or engines that this one has not.
    engines = {configuration.engine, *(way.engine for way in ways.values())}
    model.reopen = partial(
        load,
        Path(path).absolute(),
        engine=engine if len(engines) > 1 else configuration.engine,
        variant=configuration.variant,
        device=configuration.device,
        **options,
    )
    model.load_s = time.perf_counter() - begin_s
    return model


def _named(configuration: Configuration) -> tuple[str, str, str]:
    return configuration.variant, configuration.engine, configuration.device


def _why(
    artifact: Artifact, configuration: Configuration, *, engine: str, variant: str, device: str
) -> str:
    """Return the reasons why a variant and an engine were selected."""
    if configuration.device != "cpu":
        named = f"device={device!r} was asked for" if device != "auto" else ""
        return named or "the best precision for the GPU of this machine"
    reasons = [
        f"{name}={asked!r} was asked for"
        for name, asked in (("variant", variant), ("engine", engine))
        if asked != "auto"
    ]
    if variant == "auto":
        is_int8 = configuration.variant == "int8"
        fastest = "the fastest variant, the same on every processor"
        reasons.append(fastest if is_int8 else artifact.why_not_int8() or "the only safe variant")
    if engine == "auto":
        chosen = artifact.choose(configuration.variant)
        others = passed_over(chosen, seen_model(artifact, chosen), configuration.engine)
        reasons += [f"not in {name}, since {reason}" for name, reason in others.items()]
    return "; ".join(reasons)


def require_counts(**counts: int | None) -> None:
    """Check that numbers are at least 1.

    Raises:
        InputTypeError: A number is none; the message names it.
        InputError: A number is less than 1; the message names it.
    """
    for name, value in counts.items():
        if value is not None:
            require_count(name, value)


def open_configuration(
    artifact: Artifact,
    configuration: Configuration,
    *,
    threads: int,
    max_waiting: int = MAX_WAITING,
    engine: Engine | None = None,
    engine_cache: Path | None = None,
    ways: Mapping[str, Configuration] | None = None,
) -> AnyModel:
    """Open the model of an artifact in a configuration; the files that it needs are verified.

    Args:
        artifact: An opened artifact.
        configuration: The configuration.
        threads: Cores to use.
        max_waiting: The most calls that wait while all workers are busy.
        engine: An engine to share, of a model with the same engine, variant, workers and threads;
            None opens one.
        engine_cache: See `load`.
        ways: The configurations of the ways of other tasks; without them the model refuses these.

    Raises:
        LannerError: See `load`.
    """
    manifest, chosen = artifact.manifest, artifact.choose(configuration.variant)
    if engine is None:
        is_multiplied = not manifest.is_looked_up(chosen)
        engine = open_engine(
            configuration.engine,
            verified_model(artifact, chosen),
            precision=chosen.precision,
            threads=threads if is_multiplied else 1,
            workers=configuration.workers if is_multiplied else 1,
            max_tokens=manifest.tokenizer.max_tokens,
            build=chosen.build,
            device=configuration.device,
            inputs=manifest.inputs,
            engine_cache=engine_cache,
        )
    others = {
        task: open_configuration(
            artifact.way(task),
            way,
            threads=threads,
            max_waiting=max_waiting,
            engine_cache=engine_cache,
        )
        for task, way in (ways or {}).items()
    }
    ranges, weights = manifest.embedding_ranges, manifest.query_weights
    return open_model(
        manifest,
        chosen,
        tokenizer=artifact.file(manifest.tokenizer.file),
        ranges=None if ranges is None else artifact.file(ranges.file),
        query_weights=None if weights is None else artifact.file(weights),
        ways=others,
        engine=engine,
        workers=configuration.workers,
        token_budget=configuration.token_budget,
        max_waiting=max_waiting,
        threads=threads,
        # A GPU runs a whole call faster than its parts.
        least_share=LEAST_SHARE if configuration.device == "cpu" else configuration.token_budget,
    )


def open_model(
    manifest: Manifest,
    variant: Variant,
    *,
    tokenizer: Path | Tokenizer | WordTokenizer,
    engine: Engine,
    workers: int = 1,
    token_budget: int = TOKEN_BUDGET,
    max_waiting: int = MAX_WAITING,
    threads: int | None = None,
    least_share: int = LEAST_SHARE,
    ranges: Path | None = None,
    query_weights: Path | None = None,
    ways: Mapping[str, Model] | None = None,
    measures_overflow: bool = False,
) -> AnyModel:
    """Make the model of a head around an engine; the export uses it before an artifact exists.

    The `tokenizer` is a file, or one that several models share. With `measures_overflow` NaN and
    infinities are answers, which the export judges; elsewhere they are errors. With one of
    `threads` texts are split on one core, too.

    Raises:
        ArtifactError: The file of the tokenizer or of the ranges cannot be read.
    """
    own: dict[str, Any] = {}
    if isinstance(tokenizer, Path):
        tokenizer = open_tokenizer(tokenizer, manifest, threads=threads)
    if ranges is not None:
        own["ranges"] = EmbeddingRanges.read(ranges, manifest.dimension)
    if query_weights is not None:
        own["query_weights"] = read_weights(query_weights, manifest.dimension)
    if ways:
        own["ways"] = ways
    model = model_class(manifest)(
        manifest=manifest,
        variant=variant,
        tokenizer=tokenizer,
        runner=Runner(
            engine,
            feed=feed_of(manifest, is_packed=engine.run_tokens is None),
            workers=workers,
            token_budget=token_budget,
            max_waiting=max_waiting,
            least_share=least_share,
            width=manifest.dimension,
            by_token=manifest.head_record.by_token,
            measures_overflow=measures_overflow,
        ),
        **own,
    )
    return cast("AnyModel", model)


def feed_of(
    manifest: Manifest, *, is_packed: bool = False
) -> Callable[[Sequence[Part[Any]]], Mapping[str, NDArray[Any]]]:
    """Return the function that makes the tensors of a batch for a model.

    Args:
        manifest: The manifest of the model.
        is_packed: True for an engine that takes packed texts.
    """
    known_tokens = manifest.token_ids
    if is_packed:
        return partial(feed_packed, known_tokens=known_tokens)
    return partial(feed, pad_token_id=manifest.tokenizer.pad_token_id, known_tokens=known_tokens)


def open_tokenizer(
    path: Path, manifest: Manifest, *, threads: int | None = None
) -> Tokenizer | WordTokenizer:
    """Open the tokenizer of a manifest.

    Args:
        path: Its file.
        manifest: The manifest.
        threads: 1 to split texts on one core; otherwise the `tokenizers` library uses all cores.

    Raises:
        ArtifactError: The file cannot be read.
    """
    record = manifest.tokenizer
    if record.kind == "words":
        return WordTokenizer.of(path, record)
    # A quarter: a token at the edge of one window is well inside the next.
    overlap_tokens = (record.max_tokens or 0) // 4 if manifest.head_record.reads_windows else 0
    return Tokenizer(path, record, overlap_tokens=overlap_tokens, is_parallel=threads != 1)

"""Building engines: from an artifact to the engines in it."""

import gc
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lanner.artifact.artifact import Artifact
from lanner.artifact.engine_build import EngineBuild
from lanner.artifact.manifest import Manifest, Variant
from lanner.engines import open_engine
from lanner.engines.model_file import verified_model
from lanner.engines.tensorrt.library import tensorrt_version
from lanner.errors import UnsupportedError
from lanner.files.staging import require_output_file
from lanner.machine.gpu import Gpu, require_gpu
from lanner_export.precision.ranges import Feed
from lanner_export.precision.variants import calibration_feeds
from lanner_export.tensorrt import QUANTIZED_PRECISIONS
from lanner_export.tensorrt.adding import add_engine, damaged_engines, require_place
from lanner_export.tensorrt.build_plan import BuildPlan, BuildSettings, variant_name
from lanner_export.tensorrt.builder import Steps, build_engine
from lanner_export.tensorrt.engine_parity import Progress, compared, fp32_variant, tokenizer_of
from lanner_export.tensorrt.graph import write_tensorrt_graph
from lanner_export.tensorrt.profiles import (
    DEFAULT_MAX_BATCH_SIZE,
    DEFAULT_TYPICAL_BATCH_SIZE,
    engine_profiles,
)
from lanner_export.tensorrt.support import require_parsers
from lanner_export.texts.calibration import CalibrationTexts

_WHAT = "lanner build-engine"
#: The mean weight of a softmax over this many tokens is about one step of int8; over twice as many,
#: evenly spread weights would round to zero.
_MOST_INT8_ATTENDED = 128

#: The first compute capability with a precision; every GPU has the others.
_LEAST_CAPABILITY = {"bf16": (8, 0), "tf32": (8, 0), "fp8": (8, 9)}
#: The first compute capability for engines of the hardware compatibility ``"ampere_plus"``.
_AMPERE = (8, 0)


@dataclass(frozen=True)
class EngineRequest:
    """A request for engines of an artifact.

    Attributes:
        precisions: Some of `lanner_export.tensorrt.PRECISIONS`.
        calibration: The texts that int8 and fp8 are calibrated on.
        profiles: ``"buckets"`` or ``"wide"``.
        buckets: Lengths in tokens; empty for the default ones.
        max_batch_size: The most texts in a batch.
        typical_batch_size: The number of texts that kernels are chosen for.
        quantizes_attention: True if int8 and fp8 quantize the products of attention, too; None for
            yes in fp8, and in int8 if no input is longer than 128 tokens.
        settings: The builder's settings.
    """

    precisions: Sequence[str]
    calibration: CalibrationTexts
    profiles: str = "buckets"
    buckets: Sequence[int] = ()
    max_batch_size: int = DEFAULT_MAX_BATCH_SIZE
    typical_batch_size: int = DEFAULT_TYPICAL_BATCH_SIZE
    quantizes_attention: bool | None = None
    settings: BuildSettings = field(default_factory=BuildSettings)


@dataclass(frozen=True)
class PlannedBuild:
    """A plan with the graph that was written for it."""

    plan: BuildPlan
    graph: Path


def plan_engines(
    artifact: Artifact,
    request: EngineRequest,
    directory: Path,
    progress: Progress = lambda step: None,
) -> list[PlannedBuild]:
    """Write the graphs of engines and return the plans; needs neither GPU nor TensorRT.

    Args:
        artifact: The artifact.
        request: The request.
        directory: The directory for the graphs.
        progress: Called when a step begins.

    Raises:
        ArtifactError: The artifact holds no fp32 variant, from which engines are made.
        UnsupportedError: The artifact holds static vectors, or a node that a parser of TensorRT
            refuses, or not all GPUs for an engine have its precision.
        InputError: The buckets, or the calibration texts, cannot be used.
        ExportError: A weight or an activation does not fit into the precision.
    """
    _require_compatibility(request)
    manifest = artifact.manifest
    source = verified_model(artifact, fp32_variant(artifact))
    if manifest.ways:
        msg = (
            f"{artifact.directory} reads queries and documents in different ways, and engines are "
            "built of models with one: export each way as a checkpoint of its own"
        )
        raise UnsupportedError(msg)
    limit = manifest.tokenizer.max_tokens
    if limit is None or not manifest.architecture.layers:
        msg = (
            f"{artifact.directory} holds static vectors, which TensorRT would look up no faster: "
            "run it as it is"
        )
        raise UnsupportedError(msg)
    profiles = engine_profiles(
        request.profiles,
        limit,
        buckets=request.buckets,
        max_batch_size=request.max_batch_size,
        typical_batch_size=request.typical_batch_size,
    )
    longest = max(profile.largest[1] for profile in profiles)
    feeds: list[Feed] = []
    planned = []
    for precision in dict.fromkeys(request.precisions):
        is_quantized = precision in QUANTIZED_PRECISIONS
        if is_quantized and not feeds:
            feeds = _feeds(artifact, request.calibration)
        what = f", calibrated on {len(feeds)} texts" if is_quantized else ""
        progress(f"writing the {precision} graph{what}")
        quantizes_attention = request.quantizes_attention
        if quantizes_attention is None:
            quantizes_attention = precision == "fp8" or longest <= _MOST_INT8_ATTENDED
        path = directory / f"model.{precision}.tensorrt.onnx"
        graph = write_tensorrt_graph(
            source,
            path,
            precision,
            feeds=feeds,
            keep=_kept(manifest, precision),
            quantizes_attention=quantizes_attention,
        )
        require_parsers(path)
        plan = BuildPlan(
            precision=precision,
            graph=graph,
            inputs=manifest.inputs,
            profiles=profiles,
            settings=request.settings,
            quantizes_attention=is_quantized and quantizes_attention,
        )
        planned.append(PlannedBuild(plan, path))
    return planned


def build_engines(
    directory: Path,
    request: EngineRequest,
    progress: Progress = lambda step: None,
    steps: Steps = lambda phase, done, count: None,
) -> Artifact:
    """Build engines for this machine's GPU, compare them, and add them to the artifact.

    Each engine is added when it is finished; if the next one fails, earlier ones stay. Older
    engines with changed or missing files are removed when an engine is added.

    Args:
        directory: The artifact.
        request: The request.
        progress: Called when a step begins.
        steps: Called on progress of the builder.

    Raises:
        EngineError: There is no GPU, or TensorRT could not build or run an engine.
        UnsupportedError: This GPU lacks a precision.
        MissingExtraError: TensorRT is not installed.
        ParityError: The answers of an engine differ from the fp32 variant's.
        LannerError: See `plan_engines`.
    """
    gpu = require_gpu(_WHAT)
    _require_gpu(gpu, request)
    version = tensorrt_version()
    # Find an unusable timing cache before the long work.
    if request.settings.timing_cache is not None:
        require_output_file(request.settings.timing_cache)
    artifact = Artifact.open(directory)
    require_place(artifact.directory)
    damaged = damaged_engines(artifact)
    artifact.verify(but=[name for variant in damaged for name in variant.files])
    with _scratch(artifact.directory) as scratch:
        for planned in plan_engines(artifact, request, scratch, progress):
            plan = planned.plan
            build = plan.build_on(gpu.name, gpu.compute_capability, version)
            path = scratch / plan.file_name(build)
            progress(f"building the {plan.precision} engine for {gpu.name}")
            build_engine(planned.graph, path, plan, steps)
            variant = _variant(plan, build, path, request.calibration)
            engine = open_engine("tensorrt", path, build=build)
            built = compared(artifact, variant, path, engine, progress)
            # The next builder needs the GPU's memory. The parts of a model reference each other.
            del engine
            gc.collect()
            without = [old for old in damaged if old.name != variant.name]
            damaged = []
            progress(
                f"adding the {plan.precision} engine"
                + "".join(f", without {old.name}, whose file is damaged" for old in without)
            )
            artifact = add_engine(artifact, built, without)
            path.unlink()
    return artifact


def _require_compatibility(request: EngineRequest) -> None:
    if not _is_for_ampere(request):
        return
    for precision in request.precisions:
        least = _LEAST_CAPABILITY.get(precision, _AMPERE)
        if least > _AMPERE:
            msg = (
                f"an engine for ampere_plus must run from compute capability {_shown(_AMPERE)} "
                f"on, but {precision} needs {_shown(least)}: use --hardware-compatibility "
                "same_compute_capability"
            )
            raise UnsupportedError(msg)


def _require_gpu(gpu: Gpu, request: EngineRequest) -> None:
    needs = {
        name: (_LEAST_CAPABILITY.get(name, (0, 0)), "--precision fp16")
        for name in request.precisions
    }
    if _is_for_ampere(request):
        needs["ampere_plus"] = (_AMPERE, "--hardware-compatibility none")
    here = tuple(map(int, gpu.compute_capability.split(".")))
    for name, (least, remedy) in needs.items():
        if here < least:
            msg = (
                f"{gpu.name} has the compute capability {gpu.compute_capability}, but {name} needs "
                f"{_shown(least)}: use {remedy}"
            )
            raise UnsupportedError(msg)


def _is_for_ampere(request: EngineRequest) -> bool:
    return request.settings.hardware_compatibility == "ampere_plus"


def _shown(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))


def _variant(
    plan: BuildPlan, build: EngineBuild, path: Path, calibration: CalibrationTexts
) -> Variant:
    quantized = plan.graph.quantized
    return Variant(
        name=variant_name(plan.precision, build),
        precision=plan.precision,
        file=path.name,
        engine="tensorrt",
        opset=plan.graph.opset,
        fused_ops={},
        calibration=calibration.to_json() if quantized else {},
        products=plan.graph.operators["MatMul"] if quantized else 0,
        build=build,
    )


def _kept(manifest: Manifest, precision: str) -> list[str]:
    # Products that the int8 budget left in float32 on a CPU lose most here, too.
    int8 = manifest.variant("int8")
    return [] if precision != "int8" or int8 is None else int8.float32_products


def _feeds(artifact: Artifact, texts: CalibrationTexts) -> list[Feed]:
    manifest = artifact.manifest
    inputs = texts.inputs(manifest.head, takes_pairs=manifest.takes_pairs)
    return calibration_feeds(tokenizer_of(artifact), manifest.inputs, inputs)


@contextmanager
def _scratch(directory: Path) -> Iterator[Path]:
    # Next to the artifact: the disk is most likely to have room there.
    place = directory.resolve()
    with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as scratch:
        yield Path(scratch)

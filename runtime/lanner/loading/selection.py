"""The selection of a variant, an engine and a device: as requested, or the best.

Without a GPU nothing of CUDA is imported, and only the CPU decides.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lanner.artifact.artifact import Artifact
from lanner.artifact.engine_build import EngineBuild
from lanner.artifact.manifest import Variant
from lanner.engines import DEVICES, ENGINES, choose_engine, find_engine
from lanner.engines.model_file import seen_model
from lanner.engines.registry import ONNXRUNTIME, TENSORRT
from lanner.errors import EngineError, InputError, LannerError, VariantError
from lanner.machine.gpu import missing_gpu, require_gpu, this_gpu
from lanner.machine.machine import has_module, package_version

#: The precisions of TensorRT engines in order of preference. BERT in int8 was often no faster than
#: in fp16, and loses more quality (TensorRT #1604, #3147).
_BEST_PRECISIONS = ("fp16", "bf16", "int8", "fp8", "tf32", "fp32")
#: The precisions that ONNX Runtime runs on CUDA; int8 graphs of an artifact are for CPU kernels.
_CUDA_PRECISIONS = ("fp16", "fp32", "bf16")


class Selection(NamedTuple):
    """A variant with its engine and device.

    Attributes:
        variant: One of the artifact's variants.
        engine: The engine.
        device: One of `lanner.engines.DEVICES`.
    """

    variant: Variant
    engine: str
    device: str


def select(
    artifact: Artifact, *, engine: str = "auto", variant: str = "auto", device: str = "auto"
) -> Selection:
    """Select the variant, engine and device.

    With ``"auto"`` a machine with a GPU takes a TensorRT engine that was built for it, or ONNX
    Runtime on the GPU if the package onnxruntime-gpu is installed, or the CPU. A variant that is
    picked by ``"auto"`` is safe by its quality card (`Artifact.is_batch_independent`).

    Args:
        artifact: The artifact.
        engine: One of `lanner.engines.engine_names`, or ``"auto"``.
        variant: The name of a variant, for TensorRT engines also a precision, or ``"auto"``.
        device: One of `lanner.engines.DEVICES`, or ``"auto"``.

    Raises:
        InputError: There is no such device, or the engine does not run on it.
        VariantError: There is no such variant, or none that fits the request.
        EngineError: The device or the engine is unavailable.
        MissingExtraError: No engine is installed.
    """
    require_device(device)
    named = artifact.manifest.variant(variant)
    if named is None and engine == "auto" and device != "cpu":
        # A precision that only a TensorRT engine has means that engine.
        named = next((plan for plan in plans(artifact) if plan.precision == variant), None)
    if TENSORRT.name in (engine, "" if named is None else named.engine):
        return _named_plan(artifact, engine, variant, device)
    asked = find_engine(engine)
    is_for_cpu = asked is not None and "cuda" not in asked.devices
    if is_for_cpu and device == "cuda":
        msg = f"the engine {engine} runs on the CPU: omit device, or use another engine"
        raise InputError(msg)
    if device != "cpu" and not is_for_cpu:
        picks = engine == "auto" and variant == "auto"
        if picks and (plan := next(_safe_plans(artifact), None)) is not None:
            return Selection(plan, TENSORRT.name, "cuda")
        if device == "cuda" or _takes_cuda(artifact, named):
            return _on_cuda(artifact, variant, engine)
    return _on_cpu(artifact, variant, engine)


def require_device(device: str) -> str:
    """Check and return the name of a device.

    Raises:
        InputError: It is neither one of `lanner.engines.DEVICES` nor ``"auto"``.
    """
    if device in ("auto", *DEVICES):
        return device
    remedy = f"use {', '.join(DEVICES)} or 'auto'"
    if str(device).startswith("cuda:"):
        remedy = "use 'cuda', and choose the GPU by the environment variable CUDA_VISIBLE_DEVICES"
    msg = f"there is no device {device!r}: {remedy}"
    raise InputError(msg)


def refusal_here(build: EngineBuild) -> str:
    """Return the reason why a TensorRT engine does not run here, or an empty string."""
    gpu = this_gpu()
    if gpu is None:
        return f"it needs an NVIDIA GPU, but {missing_gpu()}"
    from lanner.engines.tensorrt.library import tensorrt_version  # noqa: PLC0415 (needs a GPU)

    try:
        version = tensorrt_version()
    except LannerError as error:
        return str(error)
    return build.refusal(gpu=gpu.name, compute_capability=gpu.compute_capability, tensorrt=version)


def plans(artifact: Artifact) -> list[Variant]:
    """Return the variants that are TensorRT engines, the best precision first."""
    found = [v for v in artifact.manifest.variants if v.engine == TENSORRT.name and v.build]
    ranks = {precision: rank for rank, precision in enumerate(_BEST_PRECISIONS)}
    return sorted(found, key=lambda v: ranks.get(v.precision, len(ranks)))


def cuda_candidates(artifact: Artifact) -> list[tuple[str, Variant]]:
    """Return the variants for a GPU with their engines; opening one may still fail here."""
    return [
        *((TENSORRT.name, plan) for plan in plans(artifact)),
        *((ONNXRUNTIME.name, graph) for graph in cuda_graphs(artifact)),
    ]


def cuda_graphs(artifact: Artifact) -> list[Variant]:
    """Return the variants that ONNX Runtime runs on a GPU, the best precision first."""
    found = [variant for variant in artifact.manifest.variants if _runs_on_cuda(artifact, variant)]
    return sorted(found, key=lambda variant: _CUDA_PRECISIONS.index(variant.precision))


def _safe_plans(artifact: Artifact) -> Iterator[Variant]:
    """Yield the engines that may be picked: they run here, take every text, and are safe."""
    found = plans(artifact)
    # Ask the driver last: after that, forked processes cannot use a GPU.
    if not found or not has_module("cuda.bindings") or this_gpu() is None:
        return
    limit = artifact.manifest.tokenizer.max_tokens
    for plan in found:
        assert plan.build is not None  # noqa: S101 (see `plans`)
        longest = max(profile.largest[1] for profile in plan.build.profiles)
        takes_all = limit is not None and longest >= limit
        if takes_all and not refusal_here(plan.build) and artifact.is_batch_independent(plan.name):
            yield plan


def _named_plan(artifact: Artifact, engine: str, variant: str, device: str) -> Selection:
    """Select a TensorRT engine by its name, its precision, or any."""
    if engine not in ("auto", TENSORRT.name) or device == "cpu":
        what = f"the variant {variant}" if engine != TENSORRT.name else f"the engine {engine}"
        where = f"in {engine}" if engine not in ("auto", TENSORRT.name) else "on the CPU"
        remedy = f"omit {'device' if device == 'cpu' else 'engine'}, or load another variant"
        msg = f"{what} is for TensorRT on a GPU and does not run {where}: {remedy}"
        raise InputError(msg)
    require_gpu("the tensorrt engine")
    all_plans = plans(artifact)
    asked = [p for p in all_plans if variant in ("auto", p.name, p.precision)]
    refusals = {p.name: refusal_here(p.build) for p in all_plans if p.build is not None}
    for plan in asked:
        if not refusals[plan.name]:
            return Selection(plan, TENSORRT.name, "cuda")
    raise VariantError(_no_plan(artifact, variant, asked, refusals))


def _no_plan(
    artifact: Artifact, variant: str, asked: Sequence[Variant], refusals: dict[str, str]
) -> str:
    """Return the message that no requested engine runs here, and which ones would."""
    what = "engine of TensorRT" if variant == "auto" else f"engine {variant!r} of TensorRT"
    reasons = "; ".join(f"{plan.name}: {refusals[plan.name]}" for plan in asked)
    why = f"that runs here ({reasons})" if reasons else ""
    others = [name for name, refusal in refusals.items() if not refusal]
    others += [
        v.name
        for v in artifact.manifest.variants
        if ONNXRUNTIME.runs(v, "cuda") and v.precision in _CUDA_PRECISIONS[:2]
    ]
    remedy = f", or load {others[0]!r}" if others else ""
    precision = asked[0].precision if asked else variant
    is_said = variant != "auto" and precision in _BEST_PRECISIONS
    option = f" --precision {precision}" if is_said else ""
    build = f"lanner build-engine {artifact.directory}{option}"
    return f"{artifact.directory} holds no {what} {why}".rstrip() + (
        f": build it here with '{build}'{remedy}"
    )


def _on_cpu(artifact: Artifact, variant: str, engine: str) -> Selection:
    """Select a variant and an engine for the CPU.

    Raises:
        VariantError: There is no such variant, or none is safe to pick.
        EngineError: No installed engine runs a safe variant as it must.
        MissingExtraError: No engine is installed.
    """
    asked = find_engine(engine)
    wanted = [artifact.choose(variant)]
    if variant == "auto":
        wanted += artifact.safe_variants()[1:]
        if asked is not None:
            wanted = [v for v in wanted if asked.only_precision in ("", v.precision)] or wanted
            wanted = [v for v in wanted if not asked.batch_dependence(v)] or wanted
    if engine != "auto":
        return Selection(wanted[0], engine, "cpu")
    refused: LannerError | None = None
    for chosen in wanted:
        try:
            found = choose_engine(chosen, seen_model(artifact, chosen))
        except EngineError as error:
            refused = refused or error
        else:
            return Selection(chosen, found, "cpu")
    assert refused is not None  # noqa: S101 (each was)
    raise refused


def _takes_cuda(artifact: Artifact, named: Variant | None) -> bool:
    """Return whether ``device="auto"`` takes the GPU for ONNX Runtime."""
    is_named = named is not None and _runs_on_cuda(artifact, named)
    runs = is_named or (named is None and bool(cuda_graphs(artifact)))
    return runs and package_version("onnxruntime-gpu") is not None and this_gpu() is not None


def _runs_on_cuda(artifact: Artifact, variant: Variant) -> bool:
    is_able = ONNXRUNTIME.runs(variant, "cuda") and variant.precision in _CUDA_PRECISIONS
    return is_able and not artifact.manifest.is_looked_up(variant)


def _on_cuda(artifact: Artifact, variant: str, engine: str) -> Selection:
    """Select a variant in ONNX Runtime on the GPU.

    Raises:
        VariantError: The variant, or every variant of the artifact, is for a CPU.
        EngineError: There is no GPU.
    """
    if engine not in ("auto", ONNXRUNTIME.name):
        artifact.choose(variant)
        names = [record.name for record in ENGINES if "cuda" in record.devices]
        msg = f"there is no engine {engine!r} for a GPU: use {', '.join(names)} or 'auto'"
        raise VariantError(msg)
    names = [graph.name for graph in cuda_graphs(artifact)]
    if variant != "auto":
        chosen = artifact.choose(variant)
    else:
        safe = [n for n in _CUDA_PRECISIONS[:2] if n in names and artifact.is_batch_independent(n)]
        chosen = artifact.choose((safe or names or [artifact.choose().name])[0])
    if chosen.name not in names:
        others = f"load {' or '.join(names)}" if names else "export again with --precision fp16"
        msg = f"the variant {chosen.name} of {artifact.directory} is for CPUs: on a GPU {others}"
        raise VariantError(msg)
    require_gpu("onnxruntime on cuda")
    return Selection(chosen, ONNXRUNTIME.name, "cuda")

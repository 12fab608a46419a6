"""GPU sections of a config.pbtxt: profiles, CUDA graphs, TensorRT within ONNX Runtime.

By model_config.proto (triton-inference-server/common), where `ModelInstanceGroup.profile` and
`ModelOptimizationPolicy.Cuda.GraphSpec` are said, tensorrt_backend (its README on
execution_context_allocation_strategy, its instance_state.cc on graphs) and the README of
onnxruntime_backend (the accelerators' parameters).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lanner.artifact.artifact import Artifact
from lanner.artifact.buckets import default_buckets
from lanner.artifact.engine_build import EngineBuild, Profile
from lanner.artifact.manifest import Manifest, Variant
from lanner.engines.tensorrt.profile_shapes import GRAPH_TOKENS
from lanner.engines.tensorrt.provider import CUDA_OPTIONS, provider_options
from lanner.errors import InputError, UnsupportedError
from lanner.loading.selection import cuda_graphs, plans
from lanner.triton.repository.serving import MAX_BATCH_SIZE, Serving

#: The accelerator of onnxruntime_backend knows no others.
_PRECISION_MODES = {"fp32": {}, "fp16": {"precision_mode": "FP16"}}
#: Of the backend tensorrt; STATIC, its default, takes the memory of the largest profile for each.
CONTEXT_MEMORY = {"execution_context_allocation_strategy": "ON_PROFILE_CHANGE"}


def choose_served(artifact: Artifact, variant: str, serving: Serving) -> Variant:
    """The variant that is served, which need not run on the machine that writes the repository.

    Args:
        artifact: What is served.
        variant: Its name, of engines also the precision, or ``"auto"``.
        serving: How it is served.

    Raises:
        VariantError: There is none of that name.
    """
    if serving.backend == "tensorrt":
        found = [p for p in plans(artifact) if variant in ("auto", p.name, p.precision)]
        return found[0] if found else artifact.choose(variant)
    if variant != "auto" or not serving.is_on_gpu:
        return artifact.choose(variant)
    if serving.backend == "python" and (found := plans(artifact)):
        return found[0]
    if graphs := cuda_graphs(artifact):
        safe = [graph for graph in graphs if artifact.is_batch_independent(graph.name)]
        return (safe or graphs)[0]
    return artifact.choose(variant)


def fitted(serving: Serving, manifest: Manifest, variant: Variant) -> Serving:
    """The same for what an engine takes: its lengths as buckets, its texts as the largest batch.

    Raises:
        UnsupportedError: The engine does not take every text, or not by itself.
        InputError: The largest batch that is asked for, or a preferred one, is larger.
    """
    if serving.backend != "tensorrt" or variant.build is None:
        return serving
    build, limit = variant.build, manifest.tokenizer.max_tokens
    longest = max(profile.largest[1] for profile in build.profiles)
    if limit is not None and longest < limit:
        msg = (
            f"the engine {variant.name} takes up to {longest} tokens, and the model {limit}: build "
            "it with longer profiles ('lanner build-engine')"
        )
        raise UnsupportedError(msg)
    buckets = serving.buckets or engine_lengths(build)
    most = min(most_texts(build, length) for length in buckets)
    if most == 0:
        length = next(length for length in buckets if not most_texts(build, length))
        msg = (
            f"the engine {variant.name} takes no text of {length} tokens by itself: build it with "
            "profiles from one text on ('lanner build-engine')"
        )
        raise UnsupportedError(msg)
    if MAX_BATCH_SIZE != serving.max_batch_size > most:
        msg = (
            f"the engine {variant.name} takes up to {most} texts at once, and --max-batch-size is "
            f"{serving.max_batch_size}: leave that out, or build the engine for more ('lanner "
            "build-engine')"
        )
        raise InputError(msg)
    preferred = serving.preferred_batch_sizes
    if preferred == (serving.max_batch_size,):
        preferred = (min(most, *preferred),)
    return replace(
        serving,
        buckets=buckets,
        max_batch_size=min(most, serving.max_batch_size),
        preferred_batch_sizes=preferred,
    )


def engine_lengths(build: EngineBuild) -> tuple[int, ...]:
    """The lengths that requests are filled up to: the profiles' own, and some within wide ones."""
    longest = {profile.largest[1] for profile in build.profiles}
    within = {
        length
        for length in default_buckets(max(longest))
        for profile in build.profiles
        if profile.smallest[1] <= length < profile.largest[1]
    }
    return tuple(sorted(longest | within))


def most_texts(build: EngineBuild, length: int) -> int:
    """The largest batch of a length up to which an engine takes every batch; 0 for not even one."""
    texts = 0
    while any(profile.takes(texts + 1, length) for profile in build.profiles):
        texts += 1
    return texts


def profile_names(build: EngineBuild | None) -> list[str]:
    """The profiles that an instance may use: all. Without them, Triton uses the first alone."""
    return [] if build is None else [str(number) for number in range(len(build.profiles))]


def graph_specs(
    build: EngineBuild, inputs: Sequence[str], buckets: Sequence[int], serving: Serving
) -> list[dict[str, Any]]:
    """The shapes of which Triton captures a CUDA graph: few texts of each bucket.

    Each exactly: with a lower bound a graph would run on what lies in memory beyond the texts, a
    mask of anything. Triton captures every one for every profile, and logs an error for each that a
    profile does not take. So where profiles are of one length no length is said: it is the
    profile's own.
    """
    sizes = {1 << bit for bit in range(serving.max_batch_size.bit_length())}
    sizes |= set(serving.preferred_batch_sizes)
    batches = sorted(size for size in sizes if size <= serving.max_batch_size)
    if all(profile.smallest[1] == profile.largest[1] for profile in build.profiles):
        return [{"batch_size": size} for size in batches if size * buckets[0] <= GRAPH_TOKENS]
    return [
        {
            "batch_size": size,
            "input": {name: {"dim": [length]} for name in inputs},
        }
        for length in buckets
        for size in batches
        if size * length <= GRAPH_TOKENS
    ]


def accelerators(
    manifest: Manifest, variant: Variant, serving: Serving, buckets: Sequence[int]
) -> list[dict[str, Any]]:
    """Return ONNX Runtime's execution accelerators: its own kernels, or TensorRT before them.

    TensorRT gets one profile for all buckets, and its engines are kept on the server.

    Raises:
        UnsupportedError: TensorRT is not told of the precision.
    """
    cuda = {"name": "cuda", "parameters": CUDA_OPTIONS}
    if serving.engine_cache is None:
        return [cuda]
    if variant.precision not in _PRECISION_MODES:
        msg = (
            f"TensorRT in the backend onnxruntime takes {' or '.join(_PRECISION_MODES)}, not "
            f"{variant.precision}: name another --variant, or leave --engine-cache out"
        )
        raise UnsupportedError(msg)
    profile = Profile(
        (1, buckets[0]),
        (max(1, serving.max_batch_size // 4), buckets[len(buckets) // 2]),
        (serving.max_batch_size, buckets[-1]),
    )
    parameters = {
        **_PRECISION_MODES[variant.precision],
        **provider_options(manifest.inputs, profile, serving.engine_cache),
    }
    return [{"name": "tensorrt", "parameters": parameters}, cuda]

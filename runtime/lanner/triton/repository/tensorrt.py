"""GPU sections of a config.pbtxt: profiles, CUDA graphs, TensorRT within ONNX Runtime.

Sources: model_config.proto of triton-inference-server/common for `ModelInstanceGroup.profile` and
`ModelOptimizationPolicy.Cuda.GraphSpec`; tensorrt_backend, its README for
execution_context_allocation_strategy and its instance_state.cc for graphs; the README of
onnxruntime_backend for the accelerators' parameters.
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

#: The only precisions that the accelerator of onnxruntime_backend knows.
_PRECISION_MODES = {"fp32": {}, "fp16": {"precision_mode": "FP16"}}
#: For the backend tensorrt; its default, STATIC, takes the memory of the largest profile for each.
CONTEXT_MEMORY = {"execution_context_allocation_strategy": "ON_PROFILE_CHANGE"}


def choose_served(artifact: Artifact, variant: str, serving: Serving) -> Variant:
    """Choose the variant to serve; it need not run on the machine that writes the repository.

    Args:
        artifact: The artifact to serve.
        variant: The variant's name, for engines also the precision, or ``"auto"``.
        serving: The serving options.

    Raises:
        VariantError: There is no variant of that name.
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
    """Fit serving options to an engine: its lengths become buckets, its batch the largest batch.

    Raises:
        UnsupportedError: The engine does not take every text, or no single text.
        InputError: The engine takes no batch as large as the largest, or a preferred one.
    """
    if serving.backend != "tensorrt" or variant.build is None:
        return serving
    build, limit = variant.build, manifest.tokenizer.max_tokens
    longest = max(profile.largest[1] for profile in build.profiles)
    if limit is not None and longest < limit:
        msg = (
            f"the engine {variant.name} takes up to {longest} tokens, but the model {limit}: build "
            "it with longer profiles ('lanner build-engine')"
        )
        raise UnsupportedError(msg)
    buckets = serving.buckets or engine_lengths(build)
    most = min(most_texts(build, length) for length in buckets)
    if most == 0:
        length = next(length for length in buckets if not most_texts(build, length))
        msg = (
            f"the engine {variant.name} takes no single text of {length} tokens: build it with "
            "profiles that start at one text ('lanner build-engine')"
        )
        raise UnsupportedError(msg)
    if MAX_BATCH_SIZE != serving.max_batch_size > most:
        msg = (
            f"the engine {variant.name} takes up to {most} texts at once, but --max-batch-size is "
            f"{serving.max_batch_size}: omit that, or build the engine for more ('lanner "
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
    """Return the lengths that requests are padded to: those of the profiles, and some between."""
    longest = {profile.largest[1] for profile in build.profiles}
    within = {
        length
        for length in default_buckets(max(longest))
        for profile in build.profiles
        if profile.smallest[1] <= length < profile.largest[1]
    }
    return tuple(sorted(longest | within))


def most_texts(build: EngineBuild, length: int) -> int:
    """Return the largest n such that an engine takes every batch of 1 to n texts; 0 for none."""
    texts = 0
    while any(profile.takes(texts + 1, length) for profile in build.profiles):
        texts += 1
    return texts


def profile_names(build: EngineBuild | None) -> list[str]:
    """Return the names of all profiles, for an instance; by default Triton uses the first only."""
    return [] if build is None else [str(number) for number in range(len(build.profiles))]


def graph_specs(
    build: EngineBuild, inputs: Sequence[str], buckets: Sequence[int], serving: Serving
) -> list[dict[str, Any]]:
    """Return the shapes of the CUDA graphs that Triton captures: few texts of each bucket.

    Each shape is exact: with a lower bound a graph would also read the memory beyond the texts,
    with an arbitrary mask. Triton captures every shape for every profile, and logs an error for
    each that a profile does not take. So profiles of one length get shapes without a length, which
    means the profile's own.
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
        UnsupportedError: The accelerator does not know the precision.
    """
    cuda = {"name": "cuda", "parameters": CUDA_OPTIONS}
    if serving.engine_cache is None:
        return [cuda]
    if variant.precision not in _PRECISION_MODES:
        msg = (
            f"TensorRT in the backend onnxruntime takes {' or '.join(_PRECISION_MODES)}, not "
            f"{variant.precision}: name another --variant, or omit --engine-cache"
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

"""The TensorRT backend, which runs an engine without Lanner.

Sources: model_config.proto of triton-inference-server/common for `ModelInstanceGroup.profile` and
`ModelOptimizationPolicy.Cuda.GraphSpec`; tensorrt_backend, its README for
execution_context_allocation_strategy and its instance_state.cc for graphs.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lanner.artifact.artifact import Artifact
from lanner.artifact.buckets import default_buckets
from lanner.artifact.engine_build import EngineBuild
from lanner.artifact.manifest import Manifest, Variant
from lanner.engines.tensorrt.profile_shapes import GRAPH_TOKENS
from lanner.errors import InputError, UnsupportedError
from lanner.loading.selection import plans
from lanner.triton.repository.backend import Backend, Section, require_one_file
from lanner.triton.repository.serving import MAX_BATCH_SIZE, Serving

#: The default strategy, STATIC, takes the memory of the largest profile for each.
_CONTEXT_MEMORY = {"execution_context_allocation_strategy": "ON_PROFILE_CHANGE"}


class TensorRtBackend(Backend):
    """See `Backend`."""

    name = "tensorrt"
    file = "model.plan"

    def choose(self, artifact: Artifact, variant: str, serving: Serving) -> Variant:
        """See `Backend.choose`."""
        found = [p for p in plans(artifact) if variant in ("auto", p.name, p.precision)]
        return found[0] if found else artifact.choose(variant)

    def require_runs(self, variant: Variant, serving: Serving, directory: Path) -> None:
        """See `Backend.require_runs`."""
        if variant.engine != "tensorrt":
            msg = (
                f"{directory} holds the variant {variant.name} for {variant.engine}, but the "
                "backend tensorrt needs an engine: build one first with 'lanner build-engine', or "
                "choose the backend python or onnxruntime"
            )
            raise UnsupportedError(msg)
        require_one_file(self.name, variant, directory)

    def fitted(self, serving: Serving, manifest: Manifest, variant: Variant) -> Serving:
        """See `Backend.fitted`: lengths of an engine become buckets, its batch the largest."""
        return fitted(serving, manifest, variant)

    def instances(self, serving: Serving, variant: Variant) -> Section:
        """See `Backend.instances`."""
        comment, fields = super().instances(serving, variant)
        if profiles := _profile_names(variant.build):
            comment += "\nprofile: those of the engine; without them Triton uses the first alone."
            fields["instance_group"][0]["profile"] = profiles
        return comment, fields

    def optimization(
        self,
        manifest: Manifest,
        variant: Variant,
        serving: Serving,
        buckets: tuple[int, ...],
    ) -> list[Section]:
        """See `Backend.optimization`."""
        comment = "A CUDA graph for each shape that comes again: launches cost nothing."
        cuda: dict[str, Any] = {"graphs": True}
        if variant.build is not None:
            comment += "\ngraph_spec: so many texts of each length, captured at the load."
            cuda["graph_spec"] = graph_specs(variant.build, manifest.inputs, buckets, serving)
        return [(comment, {"optimization": {"cuda": cuda}})]

    def parameters(self, serving: Serving, variant: Variant) -> tuple[str, dict[str, str]]:
        """See `Backend.parameters`."""
        if len(_profile_names(variant.build)) < 2:
            return "", {}
        comment = "execution_context_allocation_strategy: for each profile the memory it needs."
        return comment, _CONTEXT_MEMORY


def fitted(serving: Serving, manifest: Manifest, variant: Variant) -> Serving:
    """Fit serving options to an engine: its lengths become buckets, its batch the largest batch.

    Raises:
        UnsupportedError: The engine does not take every text, or no single text.
        InputError: The engine takes no batch as large as the largest, or a preferred one.
    """
    if variant.build is None:
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


def _profile_names(build: EngineBuild | None) -> list[str]:
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

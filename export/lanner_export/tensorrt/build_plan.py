"""The build plan: in words, as JSON, and as a command of NVIDIA's `trtexec`.

The names of its options are those of its source, samples/common/sampleOptions.cpp, and of
https://docs.nvidia.com/deeplearning/tensorrt/latest/api/migration/tensorrt-10x-to-11x-trtexec.html:
``--stronglyTyped`` is needed up to 10.x, and allowed without effect in 11.x.
"""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lanner.artifact.engine_build import (
    HARDWARE_COMPATIBILITIES,
    EngineBuild,
    Profile,
    parse_file_name,
)
from lanner_export.tensorrt.graph import TensorRTGraph

#: Names of `lanner.artifact.engine_build.HARDWARE_COMPATIBILITIES` -> names in trtexec.
_TRTEXEC_COMPATIBILITIES = dict(
    zip(HARDWARE_COMPATIBILITIES, ("none", "ampere+", "sameComputeCapability"), strict=True)
)


@dataclass(frozen=True)
class BuildSettings:
    """The builder's settings, besides the graph and the profiles.

    Attributes:
        optimization_level: The effort of the search, from 0 to 5; None for the default, 3.
        workspace_mib: The most workspace memory of a layer; None for all of the GPU's.
        is_version_compatible: True if later versions may load the engine, too.
        hardware_compatibility: One of `HARDWARE_COMPATIBILITIES`.
        timing_cache: A file that keeps kernel timings for the next engine; None for none.
    """

    optimization_level: int | None = None
    workspace_mib: int | None = None
    is_version_compatible: bool = False
    hardware_compatibility: str = HARDWARE_COMPATIBILITIES[0]
    timing_cache: Path | None = None

    def recorded(self) -> dict[str, Any]:
        """Return the settings that `EngineBuild.settings` keeps: those not left to the builder."""
        settings = {
            "optimization_level": self.optimization_level,
            "workspace_mib": self.workspace_mib,
        }
        return {name: value for name, value in settings.items() if value is not None}


@dataclass(frozen=True)
class BuildPlan:
    """The plan for building one engine.

    Attributes:
        precision: One of `lanner_export.tensorrt.PRECISIONS`.
        graph: The description of its graph.
        inputs: The names of its inputs, [batch, length] each.
        profiles: The shapes that it will take.
        settings: The builder's settings.
        quantizes_attention: True if the products of attention are quantized, too.
    """

    precision: str
    graph: TensorRTGraph
    inputs: Sequence[str]
    profiles: list[Profile]
    settings: BuildSettings
    quantizes_attention: bool = False

    def build_on(self, gpu: str, compute_capability: str, tensorrt: str) -> EngineBuild:
        """Return the build record for this GPU and this TensorRT."""
        return EngineBuild(
            gpu=gpu,
            compute_capability=compute_capability,
            tensorrt=tensorrt,
            profiles=self.profiles,
            is_version_compatible=self.settings.is_version_compatible,
            hardware_compatibility=self.settings.hardware_compatibility,
            settings=self.settings.recorded(),
        )

    def file_name(self, build: EngineBuild | None = None) -> str:
        """Return the engine's file name; without a build it has placeholders."""
        if build is not None:
            return build.file_name(self.precision)
        return f"model.<gpu>-sm<capability>-{self.precision}-<tensorrt>.plan"

    def trtexec(self, graph: str) -> list[str]:
        """Return the trtexec command that would build it from a graph's file, as a list."""
        settings = self.settings
        command = [
            "trtexec",
            f"--onnx={graph}",
            f"--saveEngine={Path(graph).with_suffix('.plan')}",
            "--stronglyTyped",
            "--skipInference",
        ]
        if self.precision != "tf32":
            command.append("--noTF32")
        # trtexec expects the shapes of a profile directly after its number.
        for number, profile in enumerate(self.profiles):
            if len(self.profiles) > 1:
                command.append(f"--profile={number}")
            shapes = (profile.smallest, profile.typical, profile.largest)
            command += [
                f"--{which}Shapes="
                + ",".join(f"{name}:{'x'.join(map(str, shape))}" for name in self.inputs)
                for which, shape in zip(("min", "opt", "max"), shapes, strict=True)
            ]
        if settings.optimization_level is not None:
            command.append(f"--builderOptimizationLevel={settings.optimization_level}")
        if settings.workspace_mib is not None:
            command.append(f"--memPoolSize=workspace:{settings.workspace_mib}M")
        if settings.timing_cache is not None:
            command.append(f"--timingCacheFile={settings.timing_cache}")
        if settings.is_version_compatible:
            command.append("--versionCompatible")
        if settings.hardware_compatibility != HARDWARE_COMPATIBILITIES[0]:
            level = _TRTEXEC_COMPATIBILITIES[settings.hardware_compatibility]
            command.append(f"--hardwareCompatibilityLevel={level}")
        return command

    def to_json(self, graph: str) -> dict[str, Any]:
        """Return the plan as plain JSON values; `graph` is the name of the graph's file."""
        settings = asdict(self.settings)
        cache = self.settings.timing_cache
        return {
            "precision": self.precision,
            "file": self.file_name(),
            "graph": {"file": graph, **asdict(self.graph)},
            "quantizes_attention": self.quantizes_attention,
            "inputs": list(self.inputs),
            "profiles": [asdict(profile) for profile in self.profiles],
            "settings": {**settings, "timing_cache": None if cache is None else str(cache)},
            "trtexec": self.trtexec(graph),
        }

    def describe(self, graph: str) -> str:
        """Describe the plan in words; `graph` is the name of the graph's file."""
        operators = ", ".join(f"{name} {count}" for name, count in self.graph.operators.items())
        shapes = [
            f"{profile.smallest[0]} to {profile.largest[0]} texts of {_lengths(profile)}, kernels "
            f"for {profile.typical[0]} of {profile.typical[1]}"
            for profile in self.profiles
        ]
        lines = [
            f"{self.precision}: {self.file_name()}",
            f"  graph      {graph}, operator set {self.graph.opset}: {operators}",
        ]
        if self.graph.quantized:
            attention = "attention included" if self.quantizes_attention else "attention in fp16"
            lines.append(f"  quantized  {len(self.graph.quantized)} products, {attention}")
        lines += [
            f"  {'profiles' if not row else '':9}  {shape}" for row, shape in enumerate(shapes)
        ]
        lines.append(f"  settings   {self._settings()}")
        lines.append(f"  as trtexec\n    {shlex.join(self.trtexec(graph))}")
        return "\n".join(lines)

    def _settings(self) -> str:
        settings = self.settings
        level, workspace = settings.optimization_level, settings.workspace_mib
        parts = [
            "the builder's own optimization level"
            if level is None
            else f"optimization level {level}",
            f"workspace {'as large as the GPU' if workspace is None else f'{workspace:,} MiB'}",
            f"timing cache {settings.timing_cache}" if settings.timing_cache else "no timing cache",
        ]
        if settings.is_version_compatible:
            parts.append("for later versions, too")
        if settings.hardware_compatibility != HARDWARE_COMPATIBILITIES[0]:
            parts.append(f"for other GPUs, too ({settings.hardware_compatibility})")
        return ", ".join(parts)


def variant_name(precision: str, build: EngineBuild) -> str:
    """Return the name of an engine's variant: ``fp16-nvidia-h100-80gb-hbm3-sm90-10.13.3.9``.

    The precision comes first, so that engines for several GPUs can coexist and are grouped by
    precision.
    """
    parts = parse_file_name(build.file_name(precision))
    if parts is None:
        raise ValueError(build)
    return f"{precision}-{parts['gpu']}-sm{parts['capability']}-{parts['tensorrt']}"


def _lengths(profile: Profile) -> str:
    shortest, longest = profile.smallest[1], profile.largest[1]
    return f"{longest} tokens" if shortest == longest else f"{shortest} to {longest} tokens"

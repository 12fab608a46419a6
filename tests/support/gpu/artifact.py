"""The artifact of `tests.support.word_artifact` with an fp16 graph and TensorRT engines."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support.gpu.host_tensorrt import BUILD, write_plan
from tests.support.word_artifact import MAX_TOKENS, write_manifest, write_mean_graph

from lanner.artifact.artifact import QUALITY_FILE, Artifact
from lanner.artifact.engine_build import EngineBuild, Profile
from lanner.artifact.manifest import Variant
from lanner.machine.gpu import Gpu

H100 = Gpu("NVIDIA H100 80GB HBM3", "9.0", 80 * 2**30, "570.86.15", "12.8")
#: For an engine built for another GPU.
FOR_L4: dict[str, Any] = {"gpu": "NVIDIA L4", "compute_capability": "8.9"}
PROFILES = [Profile((1, 2), (4, 2), (8, 2)), Profile((1, MAX_TOKENS), (4, 4), (8, MAX_TOKENS))]


def build(profiles: Sequence[Profile] = PROFILES, **changes: Any) -> EngineBuild:
    """Return a build for the H100 and the TensorRT of `tests.support.gpu.host_tensorrt`.

    The arguments change it.
    """
    return replace(BUILD, profiles=list(profiles), **changes)


def add_engines(directory: Path, *, independence: float = 1.0, **builds: EngineBuild) -> Artifact:
    """Add an engine for each precision, named ``tensorrt-PRECISION``, and a graph in fp16.

    Args:
        directory: The artifact.
        independence: The batch independence of the engines in the quality card, a cosine.
        builds: The build of each engine, by precision.
    """
    write_mean_graph(directory / "model.fp16.onnx")
    variants = [
        Variant(name, name, f"model.{name}.onnx", "onnxruntime", 23, {})
        for name in ("fp32", "int8", "fp16")
    ]
    for precision, made in builds.items():
        file = made.file_name(precision)
        write_plan(directory / file, made.profiles)
        name = f"tensorrt-{precision}"
        variants.append(Variant(name, precision, file, "tensorrt", 23, {}, build=made))
    quality = json.loads((directory / QUALITY_FILE).read_text())
    for variant in variants[2:]:
        measured = {**quality["variants"]["fp32"], "batch_independence_cosine": independence}
        quality["variants"][variant.name] = measured
    (directory / QUALITY_FILE).write_text(json.dumps(quality))
    write_manifest(directory, variants=variants)
    return Artifact.open(directory)

import json
from pathlib import Path

import pytest

from lanner.artifact.engine_build import EngineBuild, Profile
from lanner.errors import InputError

pytest.importorskip("onnx", reason="needs the export extra")

from lanner_export.tensorrt.build_plan import BuildPlan, BuildSettings, variant_name
from lanner_export.tensorrt.graph import TensorRTGraph
from lanner_export.tensorrt.profiles import engine_profiles

GRAPH = TensorRTGraph({"Add": 3, "MatMul": 16}, 2, [])
BUCKETS = [Profile((1, 16), (8, 16), (32, 16)), Profile((1, 24), (8, 24), (32, 24))]
INPUTS = ["input_ids", "attention_mask"]


def plan(precision: str = "fp16", **settings: object) -> BuildPlan:
    return BuildPlan(precision, GRAPH, INPUTS, BUCKETS, BuildSettings(**settings))  # type: ignore[arg-type]


def test_a_profile_a_bucket() -> None:
    found = engine_profiles("buckets", 40, max_batch_size=32)
    assert [profile.largest for profile in found] == [(32, 16), (32, 24), (32, 32), (32, 40)]
    assert [profile.smallest for profile in found] == [(1, 16), (1, 24), (1, 32), (1, 40)]
    assert {profile.typical[0] for profile in found} == {8}


def test_buckets_of_ones_own() -> None:
    found = engine_profiles("buckets", 512, buckets=(10, 100), max_batch_size=4)
    assert found == [Profile((1, 10), (4, 10), (4, 10)), Profile((1, 100), (4, 100), (4, 100))]


def test_one_wide_profile() -> None:
    found = engine_profiles("wide", 512, max_batch_size=128, typical_batch_size=16)
    assert found == [Profile((1, 1), (16, 64), (128, 512))]
    assert engine_profiles("wide", 40) == [Profile((1, 1), (8, 40), (64, 40))]


def test_buckets_that_cannot_be() -> None:
    message = (
        r"^the bucket 600 is beyond the model's 512 tokens: omit it, or export the checkpoint "
        r"with a larger --max-tokens$"
    )
    with pytest.raises(InputError, match=message):
        engine_profiles("buckets", 512, buckets=(16, 600))
    message = r"^one wide profile has no buckets: omit them, or use --profiles buckets$"
    with pytest.raises(InputError, match=message):
        engine_profiles("wide", 512, buckets=(16,))


def test_the_command_of_trtexec() -> None:
    assert plan().trtexec("build/model.fp16.tensorrt.onnx") == [
        "trtexec",
        "--onnx=build/model.fp16.tensorrt.onnx",
        "--saveEngine=build/model.fp16.tensorrt.plan",
        "--stronglyTyped",
        "--skipInference",
        "--noTF32",
        "--profile=0",
        "--minShapes=input_ids:1x16,attention_mask:1x16",
        "--optShapes=input_ids:8x16,attention_mask:8x16",
        "--maxShapes=input_ids:32x16,attention_mask:32x16",
        "--profile=1",
        "--minShapes=input_ids:1x24,attention_mask:1x24",
        "--optShapes=input_ids:8x24,attention_mask:8x24",
        "--maxShapes=input_ids:32x24,attention_mask:32x24",
    ]


def test_trtexec_is_told_every_setting() -> None:
    command = plan(
        "tf32",
        optimization_level=4,
        workspace_mib=1024,
        is_version_compatible=True,
        hardware_compatibility="same_compute_capability",
        timing_cache=Path("timing.cache"),
    ).trtexec("graph.onnx")
    assert "--noTF32" not in command
    assert command[-5:] == [
        "--builderOptimizationLevel=4",
        "--memPoolSize=workspace:1024M",
        "--timingCacheFile=timing.cache",
        "--versionCompatible",
        "--hardwareCompatibilityLevel=sameComputeCapability",
    ]
    ampere = plan(hardware_compatibility="ampere_plus").trtexec("graph.onnx")
    assert ampere[-1] == "--hardwareCompatibilityLevel=ampere+"


def test_the_names_say_what_an_engine_was_built_for() -> None:
    build = plan(workspace_mib=512).build_on("NVIDIA H100 80GB HBM3", "9.0", "10.13.3.9")
    assert build == EngineBuild(
        "NVIDIA H100 80GB HBM3", "9.0", "10.13.3.9", BUCKETS, settings={"workspace_mib": 512}
    )
    assert plan().file_name(build) == "model.nvidia-h100-80gb-hbm3-sm90-fp16-10.13.3.9.plan"
    assert plan().file_name() == "model.<gpu>-sm<capability>-fp16-<tensorrt>.plan"
    assert variant_name("fp16", build) == "fp16-nvidia-h100-80gb-hbm3-sm90-10.13.3.9"


def test_a_plan_for_programs_and_for_people() -> None:
    content = plan().to_json("graph.onnx")
    assert json.loads(json.dumps(content)) == {
        **content,
        "inputs": INPUTS,
        "profiles": [
            {"smallest": [1, 16], "typical": [8, 16], "largest": [32, 16]},
            {"smallest": [1, 24], "typical": [8, 24], "largest": [32, 24]},
        ],
    }
    assert content["graph"]["operators"] == {"Add": 3, "MatMul": 16}
    lines = plan().describe("graph.onnx").splitlines()
    assert lines[:5] == [
        "fp16: model.<gpu>-sm<capability>-fp16-<tensorrt>.plan",
        "  graph      graph.onnx, operator set 20: Add 3, MatMul 16",
        "  profiles   1 to 32 texts of 16 tokens, kernels for 8 of 16",
        "             1 to 32 texts of 24 tokens, kernels for 8 of 24",
        (
            "  settings   the builder's own optimization level, workspace as large as the GPU, no "
            "timing cache"
        ),
    ]
    assert lines[6].startswith("    trtexec --onnx=graph.onnx --saveEngine=graph.plan ")


def test_an_engine_for_other_versions_and_gpus_says_so() -> None:
    described = plan(is_version_compatible=True, hardware_compatibility="ampere_plus")
    assert described.describe("graph.onnx").splitlines()[-3] == (
        "  settings   the builder's own optimization level, workspace as large as the GPU, no "
        "timing cache, for later versions, too, for other GPUs, too (ampere_plus)"
    )

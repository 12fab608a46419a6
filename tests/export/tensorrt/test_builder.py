"""The calls of TensorRT's builder, and that 10.13 and 11.4 both accept them."""

import ast
import inspect
import signal
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.export.tensorrt.test_bindings import REMOVED_FLAGS
from tests.support.gpu import host_builder
from tests.support.gpu.host_builder import (
    BuilderFlag,
    HardwareCompatibilityLevel,
    HostBuilder,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
)
from tests.support.gpu.tensorrt_bindings import GENERATIONS, describe, run

from lanner.artifact.engine_build import Profile
from lanner.errors import EngineError, OutputError
from lanner.machine import interruption

pytest.importorskip("onnx", reason="needs the export extra")
pytest.importorskip("torch", reason="needs the export extra")

from tests.export.tensorrt.test_graph import small_graph

from lanner_export.tensorrt import builder
from lanner_export.tensorrt.build_plan import BuildPlan, BuildSettings
from lanner_export.tensorrt.builder import HARDWARE_LEVELS, build_engine
from lanner_export.tensorrt.graph import TensorRTGraph, write_tensorrt_graph

#: The variables of the builder module that hold an object of TensorRT, with its class.
HOLDERS = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "config": "IBuilderConfig",
    "parser": "OnnxParser",
    "error": "ParserError",
    "profile": "IOptimizationProfile",
    "cache": "ITimingCache",
}
PROFILES = [Profile((1, 8), (2, 8), (4, 8)), Profile((1, 16), (2, 16), (4, 16))]
PLAN = BuildPlan(
    "fp16",
    TensorRTGraph({"MatMul": 16}, 2, []),
    ["input_ids", "attention_mask"],
    PROFILES,
    BuildSettings(),
)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("graph") / "graph.onnx"
    write_tensorrt_graph(small_graph(tmp_path_factory), target, "fp16")
    return target


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch) -> HostBuilder:
    made = HostBuilder()
    monkeypatch.setattr(builder, "tensorrt", lambda: made)
    monkeypatch.setattr(builder, "open_log", lambda: made.log)
    return made


def build(graph: Path, target: Path, plan: BuildPlan = PLAN, **settings: Any) -> list[Any]:
    told: list[Any] = []
    plan = replace(plan, settings=replace(plan.settings, **settings))
    build_engine(graph, target, plan, lambda *step: told.append(step))
    return told


def test_the_network_is_strongly_typed_and_has_all_profiles(
    graph: Path, trt: HostBuilder, tmp_path: Path
) -> None:
    told = build(graph, tmp_path / "model.plan")
    assert trt.networks[0].creation_flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
    (config,) = trt.configs
    assert [p.shapes for p in config.profiles] == [
        dict.fromkeys(PLAN.inputs, ((1, 8), (2, 8), (4, 8))),
        dict.fromkeys(PLAN.inputs, ((1, 16), (2, 16), (4, 16))),
    ]
    assert config.flags == set()
    assert (config.builder_optimization_level, config.pools) == (3, {})
    assert config.hardware_compatibility_level == HardwareCompatibilityLevel.NONE
    assert (tmp_path / "model.plan").read_bytes() == graph.read_bytes()
    assert told == [("Building", 0, 2), ("Building", 1, 2), ("Building", 2, 2)]


def test_what_was_asked_for_is_told(graph: Path, trt: HostBuilder, tmp_path: Path) -> None:
    build(
        graph,
        tmp_path / "model.plan",
        replace(PLAN, precision="tf32"),
        optimization_level=5,
        workspace_mib=512,
        is_version_compatible=True,
        hardware_compatibility="ampere_plus",
    )
    (config,) = trt.configs
    assert config.flags == {BuilderFlag.TF32, BuilderFlag.VERSION_COMPATIBLE}
    assert config.pools == {MemoryPoolType.WORKSPACE: 512 * 2**20}
    assert config.builder_optimization_level == 5
    assert config.hardware_compatibility_level == HardwareCompatibilityLevel.AMPERE_PLUS


def test_an_interrupt_stops_the_builder(graph: Path, trt: HostBuilder, tmp_path: Path) -> None:
    """Check that the signal is not raised into TensorRT, which would print and drop it."""

    def told(phase: str, done: int, count: int) -> None:
        if done == 1:
            signal.raise_signal(signal.SIGTERM)  # background jobs ignore the other signal

    with interruption.handled(), pytest.raises(SystemExit):
        build_engine(graph, tmp_path / "model.plan", PLAN, told)
    assert trt.log.last_error == "stopped"
    assert not (tmp_path / "model.plan").exists()


def test_a_timing_cache_is_read_and_kept(graph: Path, trt: HostBuilder, tmp_path: Path) -> None:
    cache = tmp_path / "timing.cache"
    build(graph, tmp_path / "model.plan", timing_cache=cache)
    assert cache.read_bytes() == b"+timed"
    build(graph, tmp_path / "model.plan", timing_cache=cache)
    assert cache.read_bytes() == b"+timed+timed"
    cache.write_bytes(b"other GPU")
    message = (
        rf"^the timing cache {cache} is for another GPU or TensorRT version, or damaged: name "
        r"another file with --timing-cache$"
    )
    with pytest.raises(OutputError, match=message):
        build(graph, tmp_path / "model.plan", timing_cache=cache)
    assert cache.read_bytes() == b"other GPU"


def test_a_node_that_the_parser_refuses_is_named(
    graph: Path, trt: HostBuilder, tmp_path: Path
) -> None:
    trt.refused = [("encoder.layer.0.scores", "MatMul", "types\n  differ")]
    message = (
        r"^the ONNX parser of TensorRT 10\.13\.3\.9 refused the graph at MatMul "
        r"encoder\.layer\.0\.scores: types differ$"
    )
    with pytest.raises(EngineError, match=message):
        build(graph, tmp_path / "model.plan")
    assert not (tmp_path / "model.plan").exists()


def test_of_many_nodes_that_the_parser_refuses_the_first_are_named(
    graph: Path, trt: HostBuilder, tmp_path: Path
) -> None:
    trt.refused = [(f"layer.{number}", "MatMul", "types differ") for number in range(96)]
    message = (
        r"at MatMul layer\.0: types differ; MatMul layer\.1: types differ; MatMul layer\.2: types "
        r"differ, and 93 more$"
    )
    with pytest.raises(EngineError, match=message):
        build(graph, tmp_path / "model.plan")


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        (
            "Error Code 2: OutOfMemory (Requested size was 8589934592 bytes.)",
            (
                r"^TensorRT could not build the fp16 engine, because the GPU has too little memory "
                r"\(Error Code 2: OutOfMemory \(Requested size was 8589934592 bytes\.\)\): "
                r"end other programs on it, or use a smaller --max-batch-size, fewer --buckets or "
                r"a --workspace-mib$"
            ),
        ),
        (
            "Error Code 10:\n Could not find any implementation for node {Softmax}.",
            (
                r"^TensorRT could not build the fp16 engine: Error Code 10: Could not find any "
                r"implementation for node \{Softmax\}\.$"
            ),
        ),
    ],
    ids=["out of memory", "no kernel"],
)
def test_why_a_build_failed_is_said(
    reason: str, message: str, graph: Path, trt: HostBuilder, tmp_path: Path
) -> None:
    trt.failure = reason
    with pytest.raises(EngineError, match=message):
        build(graph, tmp_path / "model.plan")
    assert not (tmp_path / "model.plan").exists()


def test_memory_that_ran_out_before_the_end_is_why(
    graph: Path, trt: HostBuilder, tmp_path: Path
) -> None:
    """Check that kernels without memory are skipped, until a node has none (TensorRT #2643)."""
    trt.log.recent = [
        "Unused Input: token_type_ids",
        "Requested amount of GPU memory (8589934592 bytes) could not be allocated.",
        "Skipping tactic 0x3c due to insufficient memory on requested size of 8589934592.",
    ]
    trt.failure = "Error Code 10: Could not find any implementation for node {ForeignNode}."
    message = (
        r"^TensorRT could not build the fp16 engine, because the GPU has too little memory "
        r"\(Requested amount of GPU memory \(8589934592 bytes\) could not be allocated\.\): end "
        r"other programs on it, or use a smaller --max-batch-size, fewer --buckets or another "
        r"--workspace-mib$"
    )
    with pytest.raises(EngineError, match=message):
        build(graph, tmp_path / "model.plan", workspace_mib=8192)


@cache
def said_with(generation: str) -> list[str]:
    """Return what the builder module says with the real bindings, in a process of its own."""
    code = """
from pathlib import Path
from lanner.errors import EngineError
from lanner_export.tensorrt.builder import _monitor, build_engine
try:
    build_engine(Path("graph.onnx"), Path("model.plan"), None, print)
except EngineError as error:
    print(error)
monitor = _monitor(trt, print)
print(isinstance(monitor, trt.IProgressMonitor))
monitor.phase_start("Building", None, 3)
print(monitor.step_complete("Building", 0))
monitor.phase_finish("Building")
"""
    return run(generation, code).splitlines()


@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_real_bindings_say_that_there_is_no_gpu(generation: str) -> None:
    assert said_with(generation)[0] == (
        "TensorRT could not make a builder (pybind11::init(): factory function returned nullptr): "
        "building an engine needs an NVIDIA GPU with a driver for this TensorRT"
    )


@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_real_bindings_take_the_monitor(generation: str) -> None:
    assert said_with(generation)[1:] == [
        "True",
        "Building 0 3",
        "Building 1 3",
        "True",
    ]


def attributes() -> list[tuple[str, str]]:
    """Return the attributes that the builder module uses: ``("config", "set_flag")`` and so on."""
    tree = ast.parse(inspect.getsource(builder))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return [(ast.unparse(node.value), node.attr) for node in found]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_real_bindings_have_every_name(generation: str) -> None:
    real, used = describe(generation), attributes()
    members = {(HOLDERS[holder], name) for holder, name in used if holder in HOLDERS}
    assert members >= {("Builder", "build_serialized_network"), ("OnnxParser", "parse_from_file")}
    assert {item for item in members if item[1] not in real["kinds"][item[0]]} == set()
    names = {name for holder, name in used if holder == "trt"} - {"__version__"}
    assert names >= {"Builder", "OnnxParser", "BuilderFlag", "IProgressMonitor"}
    assert names <= set(real["names"])
    values = {(h.removeprefix("trt."), n) for h, n in used if h.startswith("trt.")}
    assert values >= {("BuilderFlag", "TF32"), ("MemoryPoolType", "WORKSPACE")}
    assert all(value in real["enumerations"][kind] for kind, value in values)
    assert set(HARDWARE_LEVELS.values()) <= set(real["enumerations"]["HardwareCompatibilityLevel"])
    assert {"phase_start", "step_complete", "phase_finish"} <= set(
        real["kinds"]["IProgressMonitor"]
    )
    assert "name" in real["kinds"]["ITensor"]


def test_no_flag_is_used_that_the_second_generation_took_away() -> None:
    flags = {name for holder, name in attributes() if holder == "trt.BuilderFlag"}
    assert flags == {"TF32", "VERSION_COMPATIBLE"}
    assert not flags & REMOVED_FLAGS


@pytest.mark.parametrize("generation", GENERATIONS)
def test_what_stands_for_the_builder_has_no_other_names(generation: str) -> None:
    real = describe(generation)["kinds"]
    methods = {
        "Builder": ("create_network", "build_serialized_network"),
        "INetworkDefinition": ("get_input",),
        "OnnxParser": ("parse_from_file", "get_error"),
        "IOptimizationProfile": ("set_shape",),
        "IBuilderConfig": (
            "set_flag",
            "clear_flag",
            "set_memory_pool_limit",
            "add_optimization_profile",
            "create_timing_cache",
            "set_timing_cache",
        ),
    }
    for kind, names in methods.items():
        for name in names:
            ours = inspect.signature(getattr(getattr(host_builder, kind), name)).parameters
            # pybind11 documents every overload with the names of its arguments.
            assert all(f"{argument}:" in real[kind][name] for argument in list(ours)[1:]), name

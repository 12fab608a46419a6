"""The real packages have every name of TensorRT and CUDA that the engine uses."""

import ast
import inspect
from types import ModuleType
from typing import Any

import pytest
from tests.support.gpu import cuda_bindings, host_cuda, host_tensorrt
from tests.support.gpu.tensorrt_bindings import GENERATIONS, describe

pytest.importorskip("cuda.bindings.runtime", reason="needs the package cuda-bindings")

from lanner.engines.tensorrt import cuda, deserialized
from lanner.engines.tensorrt import library as tensorrt_library
from lanner.machine.gpu import this_gpu

#: The variables of `lanner.engines.tensorrt.deserialized` that hold an object of TensorRT, with its
#: class.
HOLDERS = {"self._engine": "ICudaEngine", "engine": "ICudaEngine", "raw": "IExecutionContext"}
HOLDERS |= {"self._raw": "IExecutionContext", "runtime": "Runtime"}
#: The variables that hold the package itself.
PACKAGES = {"self._trt", "trt"}


def used(module: ModuleType, holders: set[str]) -> set[tuple[str, str]]:
    """Return the attributes of these variables that a module uses."""
    tree = ast.parse(inspect.getsource(module))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return {(ast.unparse(n.value), n.attr) for n in found if ast.unparse(n.value) in holders}


@pytest.mark.parametrize("generation", GENERATIONS)
def test_tensorrt_has_every_name(generation: str) -> None:
    real = describe(generation)
    calls = used(deserialized, set(HOLDERS))
    assert {(HOLDERS[holder], name) for holder, name in calls} >= {
        ("ICudaEngine", "get_device_memory_size_for_profile_v2"),
        ("IExecutionContext", "execute_async_v3"),
        ("Runtime", "deserialize_cuda_engine"),
    }
    missing = {
        (HOLDERS[holder], name)
        for holder, name in calls
        if name not in real["kinds"][HOLDERS[holder]]
    }
    assert not missing
    packages = used(deserialized, PACKAGES) | used(tensorrt_library, PACKAGES)
    names = {name for _, name in packages} - {"__version__"}
    assert names >= {"ILogger", "Runtime", "TensorIOMode"}
    assert names <= set(real["names"])
    assert {"INTERNAL_ERROR", "ERROR", "WARNING", "log"} <= set(real["kinds"]["ILogger"])
    assert {*deserialized._INPUT_TYPES, deserialized._OUTPUT_TYPE} <= set(
        real["enumerations"]["DataType"]
    )
    strategies = real["enumerations"]["ExecutionContextAllocationStrategy"]
    assert "USER_MANAGED" in strategies
    assert "INPUT" in real["enumerations"]["TensorIOMode"]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_what_stands_for_tensorrt_has_no_other_names(generation: str) -> None:
    real = describe(generation)["kinds"]
    for name in ("Runtime", "ICudaEngine", "IExecutionContext"):
        kind: Any = getattr(host_tensorrt, name)
        assert public(kind) <= set(real[name])
        for method in public(kind) & {n for n, m in vars(kind).items() if callable(m)}:
            # pybind11 documents every overload with the names of its arguments.
            arguments = list(inspect.signature(getattr(kind, method)).parameters)[1:]
            assert all(f"{argument}:" in real[name][method] for argument in arguments), method


def test_what_stands_for_cuda_has_the_names_that_are_used() -> None:
    names = {name for _, name in used(cuda, {"runtime"})}
    assert names >= {"cudaMalloc", "cudaGraphLaunch", "cudaError_t"}
    assert names == {name for name in dir(host_cuda.HostCuda()) if name.startswith("cuda")}


@pytest.mark.parametrize("generation", cuda_bindings.GENERATIONS)
def test_cuda_has_every_name(generation: str) -> None:
    real = cuda_bindings.describe(generation)
    assert int(real["version"].partition(".")[0]) in (12, 13)
    names = {name for _, name in used(cuda, {"runtime"})}
    assert names <= set(real["signatures"])
    for name, method in vars(host_cuda.HostCuda).items():
        if name.startswith("cuda"):
            signature = real["signatures"][name]
            taken = signature.partition("(")[2].partition(")")[0]
            ours = list(inspect.signature(method).parameters)[1:]
            assert signature.startswith(f"{name}("), name
            assert len(taken.split(",") if taken.strip() else []) == len(ours), name
    assert real["stream"] == 7
    assert real["text"] == "no CUDA-capable device is detected"
    remedies = {n for n, remedy in cuda._REMEDIES.items() if remedy == cuda._RESTART}
    assert remedies == set(real["lasting"])


@pytest.mark.skipif(this_gpu() is not None, reason="needs a machine without a GPU")
@pytest.mark.parametrize("generation", cuda_bindings.GENERATIONS)
def test_cuda_answers_as_many_values_where_it_fails(generation: str) -> None:
    without = "cudaErrorInsufficientDriver"
    assert cuda_bindings.describe(generation)["failed"] == [
        [2, without],
        [2, without],
        [1, without],
    ]


def public(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}

"""The differences between the two generations of TensorRT's real bindings."""

import pytest
from tests.support.gpu.tensorrt_bindings import GENERATIONS, describe, run

#: Names that 10.13 has and 11.4 lacks, from NVIDIA's own list
#: (https://docs.nvidia.com/deeplearning/tensorrt/latest/api/migration/). That list omits
#: REJECT_EMPTY_ALGORITHMS and WEIGHTLESS, and wrongly has DIRECT_IO.
REMOVED_FLAGS = {
    "BF16",
    "FP16",
    "FP4",
    "FP8",
    "INT4",
    "INT8",
    "OBEY_PRECISION_CONSTRAINTS",
    "PREFER_PRECISION_CONSTRAINTS",
    "REJECT_EMPTY_ALGORITHMS",
    "WEIGHTLESS",
}


@pytest.mark.parametrize(("generation", "version"), [("10", "10.13.3.9"), ("11", "11.4.0.106")])
def test_the_real_bindings_are_imported(generation: str, version: str) -> None:
    assert describe(generation)["version"] == version
    assert {"Builder", "OnnxParser", "IBuilderConfig"} <= set(describe(generation)["kinds"])


def test_the_second_generation_took_these_flags_away() -> None:
    first, second = (set(describe(g)["enumerations"]["BuilderFlag"]) for g in GENERATIONS)
    assert first - second == REMOVED_FLAGS
    assert second - first == set()


@pytest.mark.parametrize("generation", GENERATIONS)
def test_without_its_libraries_no_builder_is_made(generation: str) -> None:
    code = "try:\n    trt.Builder(trt.Logger())\nexcept TypeError as error:\n    print(error)"
    assert run(generation, code) == "pybind11::init(): factory function returned nullptr\n"

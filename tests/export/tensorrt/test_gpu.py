"""Engines that TensorRT builds and runs; these tests need a GPU."""

from pathlib import Path

import pytest

from lanner.artifact.artifact import Artifact
from lanner.artifact.engine_build import Profile

pytest.importorskip("onnx", reason="needs the export extra")
pytest.importorskip("optimum", reason="needs the export extra")
pytest.importorskip("torch", reason="needs the export extra")


@pytest.mark.gpu
@pytest.mark.usefixtures("tensorrt_library")
@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8", "fp32", "tf32"])
@pytest.mark.parametrize("profiles", ["buckets", "wide"])
def test_an_engine_is_built_and_answers_as_fp32(
    precision: str, profiles: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    from lanner_export.export import export  # noqa: PLC0415
    from lanner_export.tensorrt.build_plan import BuildSettings  # noqa: PLC0415
    from lanner_export.tensorrt.building import EngineRequest, build_engines  # noqa: PLC0415
    from lanner_export.texts.calibration import calibration_texts  # noqa: PLC0415

    old = export(tiny_checkpoint, tmp_path / "tiny.lanner", precisions=("fp32",))
    cache = tmp_path / "timing.cache"
    settings = BuildSettings(optimization_level=1, timing_cache=cache)
    request = EngineRequest(
        (precision,), calibration_texts(None), profiles, max_batch_size=8, settings=settings
    )
    # The build compares it with fp32: whole answers, alone and in a batch, and every edge.
    new: Artifact = build_engines(old.directory, request)
    new.verify()
    variant = new.manifest.variants[-1]
    assert (variant.precision, variant.engine) == (precision, "tensorrt")
    assert variant.build is not None
    least = (1, 16) if profiles == "buckets" else (1, 1)
    assert variant.build.profiles == [Profile(least, (8, 16), (8, 16))]
    assert cache.stat().st_size > 0

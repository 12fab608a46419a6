from dataclasses import asdict, replace
from pathlib import Path

import pytest
from tests.support.manifests import FP32, manifest

from lanner.artifact.engine_build import EngineBuild, Profile, parse_file_name
from lanner.artifact.manifest import FileRecord, Manifest, Variant
from lanner.errors import ArtifactError, InputError

PROFILE = Profile((1, 1), (8, 64), (64, 128))
BUILD = EngineBuild("NVIDIA H100 80GB HBM3", "9.0", "10.13.3.9", [PROFILE])
H100 = {"gpu": "NVIDIA H100 80GB HBM3", "compute_capability": "9.0"}
A100 = {"gpu": "NVIDIA A100-SXM4-80GB", "compute_capability": "8.0"}
FOR_H100 = "it was built for NVIDIA H100 80GB HBM3 (compute capability 9.0), but this machine has "
T4 = {"gpu": "Tesla T4", "compute_capability": "7.5"}


def _write(directory: Path, *variants: Variant) -> None:
    names = ["tokenizer.json", *(variant.file for variant in variants)]
    made = manifest(variants=list(variants), files={name: FileRecord(1, "0") for name in names})
    (directory / "manifest.json").write_bytes(made.to_bytes())


def test_the_file_name_says_gpu_precision_and_version() -> None:
    name = BUILD.file_name("fp16")

    assert name == "model.nvidia-h100-80gb-hbm3-sm90-fp16-10.13.3.9.plan"
    assert parse_file_name(name) == {
        "gpu": "nvidia-h100-80gb-hbm3",
        "capability": "90",
        "precision": "fp16",
        "tensorrt": "10.13.3.9",
    }


def test_what_a_package_adds_to_the_version_is_not_in_the_file_name() -> None:
    # The wheels of 10.13.3.9 name these versions.
    build = replace(BUILD, tensorrt="10.13.3.9.post1")
    assert build.file_name("fp16") == BUILD.file_name("fp16")
    assert build.refusal(**H100, tensorrt="10.13.3.9") == ""


@pytest.mark.parametrize("name", ["model.plan", "model.fp16.onnx", "model.t4-10.13.plan"])
def test_other_file_names_say_nothing(name: str) -> None:
    assert parse_file_name(name) is None


@pytest.mark.parametrize(
    ("batch", "length", "is_taken"),
    [(1, 1, True), (64, 128, True), (65, 128, False), (64, 129, False), (0, 1, False)],
)
def test_a_profile_takes_what_is_within_its_ends(batch: int, length: int, is_taken: bool) -> None:
    assert PROFILE.takes(batch, length) is is_taken


@pytest.mark.parametrize(
    "shapes", [((2, 1), (1, 64), (64, 128)), ((0, 1), (8, 64), (64, 128)), ((1, 1), (8, 8), (9, 7))]
)
def test_a_profile_whose_shapes_shrink_is_refused(shapes: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(InputError, match=r"three shapes \(batch, length\) of at least 1, none sm"):
        Profile(*shapes)


@pytest.mark.parametrize(
    ("change", "here", "refusal"),
    [
        ({}, {**H100, "tensorrt": "10.13.3.9"}, ""),
        ({}, {**H100, "tensorrt": "10.13.3.9.post1"}, ""),
        (
            {},
            {**H100, "tensorrt": "10.13.2.6"},
            "it was built with TensorRT 10.13.3.9, but this machine has 10.13.2.6",
        ),
        ({"is_version_compatible": True}, {**H100, "tensorrt": "10.15.1.29"}, ""),
        (
            {"is_version_compatible": True},
            {**H100, "tensorrt": "10.9.0.34"},
            "it was built with TensorRT 10.13.3.9, but this machine has 10.9.0.34",
        ),
        (
            {},
            {**H100, "tensorrt": "10.13.3.10"},
            "it was built with TensorRT 10.13.3.9, but this machine has 10.13.3.10",
        ),
        ({"is_version_compatible": True}, {**H100, "tensorrt": "11.4.0.106"}, ""),
        (
            {"is_version_compatible": True},
            {**H100, "tensorrt": "12.0.0.1"},
            "it was built with TensorRT 10.13.3.9, but this machine has 12.0.0.1",
        ),
        (
            {"is_version_compatible": True, "tensorrt": "11.4.0.106"},
            {**H100, "tensorrt": "10.15.1.29"},
            "it was built with TensorRT 11.4.0.106, but this machine has 10.15.1.29",
        ),
        (
            {},
            {**A100, "tensorrt": "10.13.3.9"},
            FOR_H100 + "NVIDIA A100-SXM4-80GB (8.0)",
        ),
        (
            {},
            {"gpu": "NVIDIA H200", "compute_capability": "9.0", "tensorrt": "10.13.3.9"},
            FOR_H100 + "NVIDIA H200 (9.0)",
        ),
        (
            {"hardware_compatibility": "same_compute_capability"},
            {"gpu": "NVIDIA H200", "compute_capability": "9.0", "tensorrt": "10.13.3.9"},
            "",
        ),
        ({"hardware_compatibility": "ampere_plus"}, {**A100, "tensorrt": "10.13.3.9"}, ""),
        (
            {"hardware_compatibility": "ampere_plus"},
            {**T4, "tensorrt": "10.13.3.9"},
            FOR_H100 + "Tesla T4 (7.5)",
        ),
    ],
)
def test_it_runs_where_gpu_and_version_are_those_it_was_built_for(
    change: dict[str, object], here: dict[str, str], refusal: str
) -> None:
    assert replace(BUILD, **change).refusal(**here) == refusal  # type: ignore[arg-type]


def test_a_version_of_thousands_of_digits_is_another() -> None:
    build = replace(BUILD, tensorrt="9" * 5_000)
    assert "it was built with TensorRT 999" in build.refusal(**A100, tensorrt="10.13.3.9")


def test_a_manifest_keeps_it(tmp_path: Path) -> None:
    plan = replace(FP32, name="plan", engine="tensorrt", build=BUILD)
    _write(tmp_path, FP32, plan)

    assert Manifest.read(tmp_path).variants == [FP32, plan]


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("profiles", [{"smallest": [2, 1], "typical": [1, 1], "largest": [2, 2]}], "the profile"),
        ("gpu", 1, "'gpu' has the wrong type"),
    ],
)
def test_a_manifest_with_a_wrong_build_is_refused(
    tmp_path: Path, key: str, value: object, problem: str
) -> None:
    wrong = replace(FP32, build={**asdict(BUILD), key: value})  # type: ignore[arg-type]
    _write(tmp_path, wrong)

    with pytest.raises(ArtifactError, match=problem):
        Manifest.read(tmp_path)

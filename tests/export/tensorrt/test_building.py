"""From an artifact to the engines in it, with a builder that returns the graph.

The engine's answers are those of the real TensorRT graph in ONNX Runtime, with its rounding; see
`tests.support.gpu.host_builder`.
"""

import json
import shutil
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.gpu.host_builder import VERSION, HostBuilder

from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import FileRecord
from lanner.errors import (
    ArtifactError,
    CorruptArtifactError,
    EngineError,
    InputError,
    OutputError,
    ParityError,
    UnsupportedError,
)
from lanner.machine.gpu import Gpu

pytest.importorskip("onnx", reason="needs the export extra")
pytest.importorskip("torch", reason="needs the export extra")

from lanner.engines import open_engine
from lanner.engines.onnxruntime import OnnxRuntimeEngine
from lanner_export.precision.half_precision import write_emulation
from lanner_export.tensorrt import builder, building
from lanner_export.tensorrt.build_plan import BuildSettings
from lanner_export.tensorrt.building import EngineRequest, build_engines, plan_engines
from lanner_export.tensorrt.edges import edge_shapes
from lanner_export.texts.calibration import CalibrationTexts, calibration_texts

pytestmark = pytest.mark.no_transformers  # the command begins with an artifact

H100 = Gpu("NVIDIA H100 80GB HBM3", "9.0", 80 * 2**30, "570.86.15", "12.8")
A100 = Gpu("NVIDIA A100-SXM4-40GB", "8.0", 40 * 2**30, "570.86.15", "12.8")
T4 = Gpu("Tesla T4", "7.5", 16 * 2**30, "570.86.15", "12.8")
FP16 = "fp16-nvidia-h100-80gb-hbm3-sm90-10.13.3.9"


class Machine:
    """A machine with a GPU: its builds, and changes to the answers of its engines.

    Attributes:
        trt: The builder.
        shapes: The shapes of the batches that engines ran.
        held: The number of engines on the GPU at the start of each build.
        spoil: Changes the answers of an engine.
    """

    def __init__(self, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trt = HostBuilder()
        self.shapes: list[tuple[int, int]] = []
        self.held: list[int] = []
        self._engines: list[weakref.ref[Any]] = []
        self.spoil: Any = lambda answer: answer
        self.gpu = H100
        self._scratch, self._open = scratch, open_engine
        monkeypatch.setattr(builder, "tensorrt", lambda: self.trt)
        monkeypatch.setattr(builder, "open_log", lambda: self.trt.log)
        monkeypatch.setattr(building, "require_gpu", lambda _: self.gpu)
        monkeypatch.setattr(building, "tensorrt_version", lambda: VERSION)
        monkeypatch.setattr(building, "open_engine", self.open)
        monkeypatch.setattr(building, "build_engine", self.build)

    def open(self, name: str, path: Path, **options: Any) -> Any:
        if name != "tensorrt":
            return self._open(name, path, **options)
        emulation = self._scratch / "emulation.onnx"
        write_emulation(path, emulation)
        engine = Spoilt(self, emulation)
        self._engines.append(weakref.ref(engine))
        return engine

    def build(self, *arguments: Any) -> None:
        self.held.append(sum(engine() is not None for engine in self._engines))
        builder.build_engine(*arguments)


class Spoilt(OnnxRuntimeEngine):
    def __init__(self, machine: Machine, path: Path) -> None:
        super().__init__(path)
        self._machine = machine

    def run(self, inputs: Any, **options: Any) -> NDArray[np.float32]:
        self._machine.shapes.append(inputs["input_ids"].shape)
        answer: NDArray[np.float32] = self._machine.spoil(super().run(inputs, **options))
        return answer


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return Machine(scratch, monkeypatch)


@pytest.fixture
def artifact(tiny_artifact: Artifact, tmp_path: Path) -> Artifact:
    directory = tmp_path / "tiny.lanner"
    shutil.copytree(tiny_artifact.directory, directory)
    return Artifact.open(directory)


def request_of(*precisions: str, **options: Any) -> EngineRequest:
    return EngineRequest(precisions, calibration_texts(None), max_batch_size=4, **options)


def content_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def test_an_engine_is_added_and_everything_else_stays(artifact: Artifact, machine: Machine) -> None:
    before = content_of(artifact.directory)
    steps: list[str] = []
    new = build_engines(artifact.directory, request_of("fp16"), steps.append)
    new.verify()
    assert steps[:2] == ["writing the fp16 graph", "building the fp16 engine for " + H100.name]
    variant = new.choose(FP16)
    assert (variant.precision, variant.engine) == ("fp16", "tensorrt")
    assert variant.file == "model.nvidia-h100-80gb-hbm3-sm90-fp16-10.13.3.9.plan"
    assert variant.build is not None
    assert (variant.build.gpu, variant.build.tensorrt) == (H100.name, VERSION)
    assert [profile.largest for profile in variant.build.profiles] == [(4, 16)]
    assert new.file(variant.file).read_bytes() == machine.trt.networks[0].graph
    after = content_of(artifact.directory)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"README.md", "manifest.json", "quality.json", variant.file}
    assert new.manifest.variants[:-1] == artifact.manifest.variants
    figures = new.quality()["variants"][FP16]
    assert figures["cosine_min"] >= 0.99999
    assert figures["bytes"] == len(after[variant.file])
    assert new.is_batch_independent(FP16)
    assert new.quality()["agreement"]["variants"][FP16]["cosine"] >= 0.99999
    assert variant.file in after["README.md"].decode()
    # Nothing is left beside it.
    assert {path.name for path in artifact.directory.parent.iterdir()} == {
        artifact.directory.name,
        "scratch",
    }


def test_the_edges_of_every_profile_are_run(artifact: Artifact, machine: Machine) -> None:
    request = request_of("fp16", buckets=(8, 16), typical_batch_size=2)
    new = build_engines(artifact.directory, request)
    build = new.choose(FP16).build
    assert build is not None
    shapes = [(1, 8), (2, 8), (4, 8), (1, 16), (2, 16), (4, 16)]
    assert edge_shapes(build.profiles) == shapes
    assert set(shapes) <= set(machine.shapes)


@pytest.mark.slow
def test_engines_for_several_gpus_stand_side_by_side(artifact: Artifact, machine: Machine) -> None:
    build_engines(artifact.directory, request_of("fp16"))
    machine.gpu = A100
    new = build_engines(artifact.directory, request_of("fp16", "int8"))
    names = [variant.name for variant in new.manifest.variants if variant.engine == "tensorrt"]
    assert names == [
        FP16,
        "fp16-nvidia-a100-sxm4-40gb-sm80-10.13.3.9",
        "int8-nvidia-a100-sxm4-40gb-sm80-10.13.3.9",
    ]
    int8 = new.choose(names[2])
    assert int8.calibration == {"data": "sentences shipped with Lanner", "texts": 167}
    new.verify()


def test_an_engine_of_the_same_name_gives_way(artifact: Artifact, machine: Machine) -> None:
    build_engines(artifact.directory, request_of("fp16"))
    machine.shapes.clear()
    new = build_engines(artifact.directory, request_of("fp16", buckets=(8,)))
    names = [variant.name for variant in new.manifest.variants]
    assert names.count(FP16) == 1
    build = new.choose(FP16).build
    assert build is not None
    assert [profile.largest for profile in build.profiles] == [(4, 8)]
    # Inputs longer than every profile were not sent.
    assert max(length for _, length in machine.shapes) == 8


def test_what_is_quantized_follows_the_longest_input(artifact: Artifact, tmp_path: Path) -> None:
    (short,) = plan_engines(artifact, request_of("int8"), tmp_path)
    assert (short.plan.quantizes_attention, len(short.plan.graph.quantized)) == (True, 16)
    (half,) = plan_engines(artifact, request_of("int8", quantizes_attention=False), tmp_path)
    assert (half.plan.quantizes_attention, len(half.plan.graph.quantized)) == (False, 12)
    record = replace(artifact.manifest.tokenizer, max_tokens=512)
    long = Artifact(artifact.directory, replace(artifact.manifest, tokenizer=record))
    request = EngineRequest(("int8", "fp8"), CalibrationTexts(["a man plays"], "by hand"))
    int8, fp8 = plan_engines(long, request, tmp_path)
    assert (int8.plan.quantizes_attention, fp8.plan.quantizes_attention) == (False, True)


def test_products_that_int8_keeps_are_kept(artifact: Artifact, tmp_path: Path) -> None:
    kept = "encoder.layer.0.output.dense"
    variants = [
        replace(v, float32_products=[kept]) if v.name == "int8" else v
        for v in artifact.manifest.variants
    ]
    changed = Artifact(artifact.directory, replace(artifact.manifest, variants=variants))
    int8, fp8 = plan_engines(changed, request_of("int8", "fp8"), tmp_path)
    assert kept not in int8.plan.graph.quantized
    assert kept in fp8.plan.graph.quantized


def nan(answer: NDArray[np.float32]) -> NDArray[np.float32]:
    answer[0, 0] = np.nan
    return answer


def nan_in_full_batches(answer: NDArray[np.float32]) -> NDArray[np.float32]:
    # The texts that are compared before have smaller shapes.
    return nan(answer) if len(answer) == 64 else answer


def turned(answer: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(answer[:, ::-1])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            turned,
            (
                r"^the fp16 engine differs from the fp32 variant: smallest cosine "
                r"-?0\.\d+, allowed 0\.999; the worst text is '.*' with cosine -?0\.\d+; use "
                r"--precision bf16 or tf32\. It was not added$"
            ),
        ),
        (
            nan,
            (
                r"^the fp16 engine differs from the fp32 variant: smallest cosine nan, "
                r".*; fp16 overflows from 65504 on, so use --precision bf16\. It was not added$"
            ),
        ),
        (
            nan_in_full_batches,
            (
                r"^the fp16 engine at its shape 64 x 16 returns 1 numbers that are not finite; "
                r"fp16 overflows from 65504 on, so use --precision bf16\. It was not added$"
            ),
        ),
    ],
    ids=["wrong", "not a number", "not a number at an edge"],
)
def test_an_engine_that_answers_otherwise_is_not_added(
    spoil: Any, message: str, artifact: Artifact, machine: Machine
) -> None:
    before = content_of(artifact.directory)
    machine.spoil = spoil
    with pytest.raises(ParityError, match=message):
        build_engines(artifact.directory, replace(request_of("fp16"), max_batch_size=64))
    assert content_of(artifact.directory) == before


@pytest.mark.slow
def test_an_engine_stays_where_the_next_one_fails(artifact: Artifact, machine: Machine) -> None:
    def begin(step: str) -> None:
        if step.startswith("building the int8 engine"):
            machine.spoil = turned

    message = (
        r"^the int8 engine differs from the fp32 variant: smallest cosine -?0\.\d+, "
        r"allowed 0\.9; the worst text is '.*' with cosine -?0\.\d+; calibrate on texts like yours "
        r"with --calibration, or use --precision fp16\. It was not added$"
    )
    with pytest.raises(ParityError, match=message):
        build_engines(artifact.directory, request_of("fp16", "int8"), begin)
    new = Artifact.open(artifact.directory)
    new.verify()
    assert new.manifest.variants[:-1] == artifact.manifest.variants
    assert new.manifest.variants[-1].name == FP16
    assert {path.name for path in artifact.directory.parent.glob(".*")} == set()


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"cut")])
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_damaged_engine_is_built_again_or_left_out(
    artifact: Artifact, machine: Machine, damage: Any, precision: str
) -> None:
    old = build_engines(artifact.directory, request_of("fp16"))
    damage(artifact.directory / old.choose(FP16).file)
    steps: list[str] = []
    new = build_engines(artifact.directory, request_of(precision), steps.append)
    new.verify()
    name = FP16.replace("fp16", precision)
    assert [v.name for v in new.manifest.variants if v.build is not None] == [name]
    for figures in (new.quality()["variants"], new.quality()["agreement"]["variants"]):
        assert set(figures) - {"int8 in native"} == {"fp32", "int8", name}
    left_out = f", without {FP16}, whose file is damaged" if precision == "bf16" else ""
    assert steps[-1] == f"adding the {precision} engine{left_out}"


def test_another_damaged_file_ends_it_before_the_build(
    artifact: Artifact, machine: Machine
) -> None:
    (artifact.directory / "model.int8.onnx").write_bytes(b"cut")
    with pytest.raises(CorruptArtifactError, match=r"model\.int8\.onnx is truncated \(3 bytes"):
        build_engines(artifact.directory, request_of("fp16"))
    assert not machine.trt.networks


def test_a_build_that_fails_leaves_the_artifact_as_it_was(
    artifact: Artifact, machine: Machine
) -> None:
    before = content_of(artifact.directory)
    machine.trt.failure = "Error Code 2: OutOfMemory"
    with pytest.raises(EngineError, match=r"because the GPU has too little memory"):
        build_engines(artifact.directory, request_of("fp16"))
    assert content_of(artifact.directory) == before
    assert [p.name for p in artifact.directory.parent.glob(".*")] == []


def test_a_precision_that_the_gpu_has_not(artifact: Artifact, machine: Machine) -> None:
    machine.gpu = A100
    message = (
        r"^NVIDIA A100-SXM4-40GB has the compute capability 8\.0, but fp8 needs 8\.9: use "
        r"--precision fp16$"
    )
    with pytest.raises(UnsupportedError, match=message):
        build_engines(artifact.directory, request_of("bf16", "fp8"))
    assert not machine.trt.networks


def test_ampere_plus_and_what_does_not_go_with_it(artifact: Artifact, machine: Machine) -> None:
    settings = BuildSettings(hardware_compatibility="ampere_plus")
    message = (
        r"^an engine for ampere_plus must run from compute capability 8\.0 on, but fp8 needs "
        r"8\.9: use --hardware-compatibility same_compute_capability$"
    )
    request = request_of("bf16", "fp8", settings=settings)
    with pytest.raises(UnsupportedError, match=message):
        plan_engines(artifact, request, artifact.directory)
    machine.gpu = T4
    message = (
        r"^Tesla T4 has the compute capability 7\.5, but ampere_plus needs 8\.0: use "
        r"--hardware-compatibility none$"
    )
    with pytest.raises(UnsupportedError, match=message):
        build_engines(artifact.directory, request_of("fp16", settings=settings))
    assert not machine.trt.networks


def test_an_engine_leaves_the_gpu_before_the_next_is_built(
    artifact: Artifact, machine: Machine
) -> None:
    build_engines(artifact.directory, request_of("fp16", "bf16", buckets=(8,)))
    assert machine.held == [0, 0]


def test_a_timing_cache_that_cannot_be_kept(artifact: Artifact, machine: Machine) -> None:
    cache = artifact.directory / "missing" / "timing.cache"
    request = request_of("fp16", settings=BuildSettings(timing_cache=cache))
    message = rf"^there is no directory {cache.parent} for timing\.cache: make it first$"
    with pytest.raises(InputError, match=message):
        build_engines(artifact.directory, request)
    assert not machine.trt.networks


@pytest.mark.parametrize("head", ["scorer", "classifier", "tagger"])
def test_other_heads(
    head: str, machine: Machine, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from lanner_export.export import export  # noqa: PLC0415

    checkpoint = request.getfixturevalue(f"{head}_checkpoint")
    artifact = export(checkpoint, tmp_path / "out.lanner", precisions=("fp32",))
    new = build_engines(artifact.directory, request_of("fp16", "int8", buckets=(32, 64)))
    for name in (FP16, FP16.replace("fp16", "int8")):
        assert new.quality()["variants"][name]["mean_score_difference"] <= 0.05
    assert (4, 64) in machine.shapes


def test_an_artifact_without_fp32(artifact: Artifact, tmp_path: Path) -> None:
    variants = [v for v in artifact.manifest.variants if v.name != "fp32"]
    changed = Artifact(artifact.directory, replace(artifact.manifest, variants=variants))
    message = (
        rf"^{artifact.directory} holds no fp32 variant to make engines from: export the "
        r"checkpoint again with --precision fp32 among others$"
    )
    with pytest.raises(ArtifactError, match=message):
        plan_engines(changed, request_of("fp16"), tmp_path)


def test_static_vectors(word_artifact: Path, tmp_path: Path) -> None:
    message = (
        rf"^{word_artifact} holds static vectors, which TensorRT would look up no faster: run it "
        r"as it is$"
    )
    with pytest.raises(UnsupportedError, match=message):
        plan_engines(Artifact.open(word_artifact), request_of("fp16"), tmp_path)


def test_links_are_not_written_through(artifact: Artifact, machine: Machine) -> None:
    """Check that a reader of the old artifact keeps the old files."""
    path = artifact.directory / "manifest.json"
    with path.open("rb") as old:
        before = FileRecord.of(path)
        build_engines(artifact.directory, request_of("fp16"))
        assert len(old.read()) == before.bytes
    assert FileRecord.of(path) != before
    assert json.loads(path.read_bytes())["variants"][-1]["name"] == FP16


def test_a_place_where_no_artifact_can_be_made_is_found_before_the_work(
    artifact: Artifact, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = artifact.directory
    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_mount", lambda path: path == place)
        message = rf"^{place} is a mount point, so no new artifact can replace it: mount its parent"
        with pytest.raises(OutputError, match=message):
            build_engines(place, request_of("fp16"))
    with monkeypatch.context() as patch:
        patch.setattr("os.access", lambda path, mode: path != place.parent)
        message = rf"^the directory {place.parent} cannot be written to, but the artifact with its"
        with pytest.raises(OutputError, match=message):
            build_engines(place, request_of("fp16"))
    assert not machine.trt.networks

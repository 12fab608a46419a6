"""Weights in a file of their own, as those of over 2 GB are: a tiny model under a tiny limit."""

import json
import re
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.marks import slow

from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import MANIFEST_FILE, FileRecord, Manifest
from lanner.artifact.quality_budget import QualityBudget
from lanner.commands.inspect import describe
from lanner.engines import find_engine, open_engine
from lanner.engines.onnx.file import external_files
from lanner.errors import ArtifactError, CorruptArtifactError, EngineError, UnsupportedError
from lanner.files.texts import shipped_sentences
from lanner.loading.load import load
from lanner.triton.lint.linter import lint
from lanner.triton.repository.write import write_repository

pytest.importorskip("torch", reason="needs the export extra")

import onnx

from lanner_export.export import export
from lanner_export.graph import model_file
from lanner_export.precision.quantization import write_int8_dynamic
from lanner_export.tensorrt.building import EngineRequest, plan_engines
from lanner_export.texts.calibration import CalibrationTexts

TEXTS = shipped_sentences()[:12]


@pytest.fixture
def _small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_file, "MOST_BYTES", 4_096)


@pytest.fixture(scope="module")
def apart(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Every precision of the tiny checkpoint, each in two files. Do not change it."""
    output = tmp_path_factory.mktemp("apart") / "apart.lanner"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(model_file, "MOST_BYTES", 4_096)
        return export(tiny_checkpoint, output, precisions=("fp32", "int8", "fp16", "bf16"))


@pytest.fixture
def copy(apart: Artifact, tmp_path: Path) -> Path:
    return Path(shutil.copytree(apart.directory, tmp_path / "copy.lanner"))


def vectors(artifact: Artifact, variant: str, engine: str = "onnxruntime") -> NDArray[np.float32]:
    model = load(artifact.directory, variant=variant, engine=engine, threads=1)
    return np.asarray(model.encode(TEXTS))


def test_each_variant_has_a_graph_and_a_file_of_weights(apart: Artifact) -> None:
    for variant in apart.manifest.variants:
        graph, data = variant.files
        assert data == f"model.{variant.name}.onnx.data" == variant.weights_file
        assert external_files(apart.file(graph)) == {data}
        assert apart.manifest.files[data].bytes > 4_096
        model = onnx.load(apart.directory / graph)  # with its weights, by ONNX's own reader
        onnx.checker.check_model(model, full_check=True)
    apart.verify()
    sizes = apart.quality()["variants"]
    assert sizes["fp32"]["bytes"] == sum(
        apart.manifest.files[name].bytes for name in ("model.fp32.onnx", "model.fp32.onnx.data")
    )
    assert sorted(path.name for path in apart.directory.iterdir()) == sorted(
        ["manifest.json", *apart.manifest.files]
    )


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_the_answers_are_those_of_one_file(
    apart: Artifact, tiny_artifact: Artifact, variant: str
) -> None:
    np.testing.assert_array_equal(vectors(apart, variant), vectors(tiny_artifact, variant))


@pytest.mark.parametrize("engine", ["openvino", *slow("native")])
@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_the_other_engines_read_it(
    apart: Artifact, tiny_artifact: Artifact, variant: str, engine: str
) -> None:
    record = find_engine(engine)
    assert record is not None
    if record.refusal():
        pytest.skip(record.refusal())
    np.testing.assert_allclose(
        vectors(apart, variant, engine), vectors(tiny_artifact, variant, engine), atol=1e-6
    )
    assert not record.refuse_graph(apart.file(f"model.{variant}.onnx"))


def test_several_workers_share_one_copy(apart: Artifact, tiny_artifact: Artifact) -> None:
    found, expected = (
        load(one.directory, variant="fp32", threads=2, workers=2).encode(TEXTS)
        for one in (apart, tiny_artifact)
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.usefixtures("_small_limit")
def test_int8_alone_leaves_no_other_file(tiny_checkpoint: Path, tmp_path: Path) -> None:
    artifact = export(tiny_checkpoint, tmp_path / "int8.lanner", precisions=["int8"])
    assert sorted(path.name for path in artifact.directory.iterdir()) == [
        *("README.md", "embedding_ranges.npy", "manifest.json"),
        *("model.int8.onnx", "model.int8.onnx.data", "quality.json", "tokenizer.json"),
    ]


@pytest.mark.usefixtures("_small_limit")
def test_scales_of_a_batch_are_for_smaller_models(tiny_artifact: Artifact, tmp_path: Path) -> None:
    source = tiny_artifact.file("model.fp32.onnx")
    message = (
        r"^int8-dynamic is for models of up to 2 GB, and this one has 0.0 GB beside its tables of "
        r"tokens: omit it from --precision, and use int8$"
    )
    with pytest.raises(UnsupportedError, match=message):
        write_int8_dynamic(source, tmp_path / "model.onnx")


@pytest.mark.slow
@pytest.mark.usefixtures("_small_limit")
def test_a_budget_is_searched_with_it(tiny_checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.lanner"
    budget = QualityBudget.parse("cosine:0.99995")
    artifact = export(tiny_checkpoint, output, precisions=["int8"], budget=budget)
    (int8,) = artifact.manifest.variants
    assert int8.float32_products
    assert artifact.quality()["agreement"]["variants"]["int8"]["cosine"] >= 0.99995
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.lanner"]


def test_inspect_shows_both_files(apart: Artifact) -> None:
    shown = describe(apart, apart.quality())
    assert "files       13," in shown
    assert "native      runs fp32, int8" in shown


def test_a_repository_serves_it(apart: Artifact, tmp_path: Path) -> None:
    write_repository([apart.directory], tmp_path / "repository", names=["m"], variant="fp32")
    for name in ("m", "m_text"):
        version = tmp_path / "repository" / name / "1"
        if (version / "model.fp32.onnx").exists():
            assert (version / "model.fp32.onnx.data").read_bytes() == (
                apart.directory / "model.fp32.onnx.data"
            ).read_bytes()
    served = load(tmp_path / "repository" / "m" / "1", engine="onnxruntime", threads=1)
    np.testing.assert_array_equal(np.asarray(served.encode(TEXTS)), vectors(apart, "fp32"))
    assert not [found for found in lint(tmp_path / "repository") if found.severity == "error"]


@pytest.mark.slow
@pytest.mark.usefixtures("_small_limit")
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_graph_of_tensorrt(apart: Artifact, tmp_path: Path, precision: str) -> None:
    request = EngineRequest([precision], CalibrationTexts(TEXTS, "some"))
    (planned,) = plan_engines(apart, request, tmp_path)
    assert external_files(planned.graph) == {planned.graph.name + ".data"}
    onnx.checker.check_model(planned.graph, full_check=True)


def test_changed_weights_are_found(copy: Path) -> None:
    path = copy / "model.fp32.onnx.data"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(CorruptArtifactError, match=r"model\.fp32\.onnx\.data was changed after"):
        load(copy, variant="fp32")
    path.unlink()
    with pytest.raises(CorruptArtifactError, match=r"model\.fp32\.onnx\.data is missing"):
        load(copy, variant="fp32")


@pytest.mark.parametrize("place", ["../secret.data", "/etc/passwd", "model.int8.onnx.data"])
def test_a_graph_reads_no_other_file(copy: Path, place: str) -> None:
    path = copy / "model.fp32.onnx"
    (copy.parent / "secret.data").write_bytes((copy / "model.fp32.onnx.data").read_bytes())
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = place
    path.write_bytes(model.SerializeToString())
    manifest = Manifest.read(copy)
    files = {**manifest.files, path.name: FileRecord.of(path)}
    (copy / MANIFEST_FILE).write_bytes(replace(manifest, files=files).to_bytes())
    message = (
        f"{path} reads weights from {place!r}, which is not the weights_file of its variant fp32: "
        "do not use it, or export again"
    )
    with pytest.raises(ArtifactError, match=re.escape(message)):
        load(copy, variant="fp32")
    # Whoever opens the file by itself is safe, too.
    if Path(place).name != place and find_spec("lanner_native"):
        with pytest.raises(EngineError, match=r"is in another file; export the artifact again"):
            open_engine("native", path)


def test_it_can_be_linked_as_in_the_cache_of_a_hub(apart: Artifact, tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "linked.lanner").mkdir()
    for number, path in enumerate(sorted(apart.directory.iterdir())):
        shutil.copyfile(path, tmp_path / "blobs" / str(number))
        (tmp_path / "linked.lanner" / path.name).symlink_to(f"../blobs/{number}")
    linked = Artifact.open(tmp_path / "linked.lanner")
    np.testing.assert_array_equal(vectors(linked, "fp32"), vectors(apart, "fp32"))


def test_the_manifest_names_it_in_an_old_field(apart: Artifact) -> None:
    content = json.loads((apart.directory / "manifest.json").read_text())
    assert content["format_version"] == 1
    assert content["variants"][0]["weights_file"] == "model.fp32.onnx.data"

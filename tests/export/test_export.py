import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.checkpoints import bert_checkpoint, bert_model, edit_json, plain_checkpoint

from lanner.artifact.artifact import Artifact
from lanner.errors import (
    InputError,
    LannerError,
    OutputError,
    OutputExistsError,
    ParityError,
    UnsupportedError,
)
from lanner.loading.load import load

pytest.importorskip("torch", reason="needs the export extra")

from lanner_export import draft as draft_module
from lanner_export.export import export
from lanner_export.graph.tracing import write_fp32
from lanner_export.precision import variants as variants_module


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_the_artifact_is_self_contained(tiny_artifact: Artifact) -> None:
    assert names(tiny_artifact.directory) == [
        "README.md",
        "embedding_ranges.npy",
        "manifest.json",
        "model.fp32.onnx",
        "model.int8.onnx",
        "quality.json",
        "tokenizer.json",
    ]
    tiny_artifact.verify()
    manifest = tiny_artifact.manifest
    assert manifest.name == "tiny"
    assert manifest.head == "embed"
    assert manifest.inputs == ["input_ids", "attention_mask"]
    assert manifest.outputs == ["sentence_embedding"]
    assert {"lanner", "torch", "transformers", "onnxruntime"} <= set(manifest.versions)
    assert set(manifest.files) == set(names(tiny_artifact.directory)) - {"manifest.json"}


def test_the_readme_is_about_this_artifact(tiny_artifact: Artifact) -> None:
    text = tiny_artifact.file("README.md").read_text(encoding="utf-8")
    assert text.startswith("# tiny\n")
    assert "| `int8` | `model.int8.onnx` |" in text
    assert "{" not in text


def test_prompts_and_limits_go_into_the_artifact(tmp_path: Path) -> None:
    checkpoint = bert_checkpoint(tmp_path / "prompts", prompts={"query": "the train "})
    artifact = export(checkpoint, tmp_path / "p.lanner", precisions=["fp32"], max_tokens=8)
    assert artifact.manifest.prompts["query"] == "the train "
    assert artifact.manifest.tokenizer.max_tokens == 8
    assert [variant.name for variant in artifact.manifest.variants] == ["fp32"]
    model = load(artifact.directory)
    with_prompt = model.encode("leaves at seven", prompt_name="query")
    np.testing.assert_allclose(with_prompt, model.encode("the train leaves at seven"), atol=1e-6)
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    reference = SentenceTransformer(str(checkpoint), device="cpu")
    reference.max_seq_length = 8
    expected = reference.encode("leaves at seven", prompt_name="query")
    np.testing.assert_allclose(with_prompt, expected, atol=1e-5)


def test_a_default_prompt_is_not_in_the_way(tmp_path: Path) -> None:
    checkpoint = bert_checkpoint(tmp_path / "default", prompts={"query": "the train "})
    edit_json(checkpoint / "config_sentence_transformers.json", default_prompt_name="query")
    artifact = export(checkpoint, tmp_path / "d.lanner", precisions=["fp32"])
    assert artifact.manifest.default_prompt_name == "query"
    model = load(artifact.directory)
    expected = model.encode("the train leaves at seven", prompt="")
    np.testing.assert_allclose(model.encode("leaves at seven"), expected, atol=1e-6)


def test_the_working_directory_may_be_replaced(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here.lanner").mkdir()
    monkeypatch.chdir(tmp_path / "here.lanner")
    export(tiny_checkpoint, ".", precisions=["fp32"])
    monkeypatch.chdir(tmp_path / "here.lanner")
    export(tiny_checkpoint, "../here.lanner/", precisions=["fp32"], max_tokens=8, overwrite=True)
    assert Artifact.open(tmp_path / "here.lanner").manifest.tokenizer.max_tokens == 8
    assert names(tmp_path) == ["here.lanner"]


def test_a_link_leads_to_what_is_replaced(tiny_checkpoint: Path, tmp_path: Path) -> None:
    export(tiny_checkpoint, tmp_path / "v1", precisions=["fp32"])
    (tmp_path / "current").symlink_to("v1")
    export(tiny_checkpoint, tmp_path / "current", precisions=["fp32"], overwrite=True)
    assert (tmp_path / "current").is_symlink()
    Artifact.open(tmp_path / "v1").verify()


def test_another_s_files_are_never_replaced(tiny_checkpoint: Path, tmp_path: Path) -> None:
    app = tmp_path / "webapp"
    app.mkdir()
    (app / "manifest.json").write_text('{"name": "my web app"}')
    with pytest.raises(OutputExistsError, match=r"is not of a Lanner artifact \(manifest.json\)"):
        export(tiny_checkpoint, app, overwrite=True)
    assert names(app) == ["manifest.json"]


def test_int8_alone_leaves_no_fp32_behind(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("a man plays\n\nthe train leaves\n")
    artifact = export(
        tiny_checkpoint,
        tmp_path / "small.lanner",
        precisions=["int8"],
        calibration=tmp_path / "texts.txt",
    )
    assert "model.fp32.onnx" not in names(artifact.directory)
    calibration = artifact.manifest.variants[0].calibration
    assert calibration == {"data": "texts.txt", "texts": 7, "method": "mse"}


def test_labelled_data_give_the_quality_of_a_task(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text(
        "a man plays,someone plays,4\nthe train leaves,a man plays,1\n"
        "our train departs,the train leaves,5\n"
    )
    artifact = export(
        tiny_checkpoint,
        tmp_path / "q.lanner",
        precisions=["fp32"],
        quality_data=tmp_path / "pairs.csv",
    )
    measured = artifact.quality()["task"]
    assert (measured["data"], measured["rows"]) == ("pairs.csv", 3)
    found = measured["variants"]["fp32"]
    assert found["value"] == pytest.approx(measured["checkpoint"]["value"], abs=0.01)
    text = artifact.file("README.md").read_text(encoding="utf-8")
    assert "\nSpearman x100 on the 3 rows of pairs.csv, with 95% bootstrap intervals" in text
    assert f"| fp32 | {found['value']:.2f} [" in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b,1\nc,d,2\n", r"data.csv holds pairs with a score, and .* the head 'classify': give"),
        (
            "text,label\na,x\nb,no\n",
            r"data.csv, line 3: the checkpoint has no label 'no', it has x",
        ),
    ],
)
def test_data_that_do_not_fit_are_found_before_the_work(
    classifier_checkpoint: Path, tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "data.csv").write_text(content)
    steps: list[str] = []
    with pytest.raises(LannerError, match=message):
        export(
            classifier_checkpoint,
            tmp_path / "x.lanner",
            quality_data=tmp_path / "data.csv",
            progress=steps.append,
        )
    assert steps == ["loading the checkpoint"]
    assert names(tmp_path) == ["data.csv"]


def test_a_graph_that_answers_wrongly_is_not_written(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def write_with_wrong_weights(graph: Any, *rest: Any, **options: Any) -> list[str]:
        import torch  # noqa: PLC0415

        bias = graph.transformer.encoder.layer[1].output.dense.bias
        with torch.no_grad():
            bias[0] += 0.5
            passes = write_fp32(graph, *rest, **options)
            bias[0] -= 0.5
        return passes

    monkeypatch.setattr(variants_module, "write_fp32", write_with_wrong_weights)
    with pytest.raises(
        ParityError, match=r"the fp32 variant does not reproduce its checkpoint: .*"
    ):
        export(tiny_checkpoint, tmp_path / "wrong.lanner")
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_export_leaves_nothing(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(variants_module, "write_int8", fail)
    with pytest.raises((KeyboardInterrupt, OutputError), match=r"^$|No space left on device"):
        export(tiny_checkpoint, tmp_path / "x.lanner")
    assert names(tmp_path) == []


def test_a_disk_that_is_too_small_is_said_before_the_work(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(9, 9, 10_000))
    said: list[str] = []
    with pytest.raises(
        OutputError,
        match=rf"^this export needs 0.\d MB in {tmp_path}, where 0.0 MB are free: make room there",
    ):
        export(tiny_checkpoint, tmp_path / "a.lanner", progress=said.append)
    assert said == ["loading the checkpoint"]
    assert names(tmp_path) == []


@pytest.mark.usefixtures("tiny_artifact")  # its graph is already traced
def test_a_disk_that_fills_up_is_said(tiny_checkpoint: Path, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(
            OutputError,
            match=rf"^the export has no room in {tmp_path} or /\S+ \(File too large\): make room ",
        ):
            export(tiny_checkpoint, tmp_path / "a.lanner")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(tmp_path) == []


PEAK = """
import resource, sys
from pathlib import Path
import sentence_transformers
from lanner_export.export import export
def peak_bytes(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak_bytes()
artifact = export(sys.argv[1], sys.argv[2])
weights_bytes = (artifact.directory / "model.fp32.onnx").stat().st_size
print((peak_bytes() - before) / weights_bytes)
"""


@pytest.mark.no_transformers
@pytest.mark.slow
def test_memory_is_bounded(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {
        "hidden_size": 1024,
        "num_hidden_layers": 6,
        "intermediate_size": 4096,
    }
    model = bert_model(**sizes, initializer_range=0.02)
    plain_checkpoint(tmp_path / "large", model)
    command = [sys.executable, "-c", PEAK, str(tmp_path / "large"), str(tmp_path / "a.lanner")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 3.5


def test_an_artifact_is_replaced_only_when_asked(tiny_checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.lanner"
    first = export(tiny_checkpoint, target, precisions=["fp32"])
    with pytest.raises(OutputExistsError, match=r"a.lanner exists: pass --overwrite to replace it"):
        export(tiny_checkpoint, target, precisions=["fp32"])
    assert Artifact.open(target).manifest == first.manifest
    second = export(tiny_checkpoint, target, precisions=["fp32"], max_tokens=8, overwrite=True)
    assert second.manifest.tokenizer.max_tokens == 8
    assert names(tmp_path) == ["a.lanner"]


def test_a_failed_replacement_keeps_the_old_artifact(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.lanner"
    first = export(tiny_checkpoint, target, precisions=["fp32"])
    monkeypatch.setattr(draft_module, "readme", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError, match="division"):
        export(tiny_checkpoint, target, precisions=["fp32"], overwrite=True)
    assert Artifact.open(target).manifest == first.manifest
    assert names(tmp_path) == ["a.lanner"]


def test_what_is_no_artifact_is_never_replaced(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "diary.txt").touch()
    with pytest.raises(
        OutputExistsError, match=r"holds what is not of a Lanner artifact \(diary.txt\)"
    ):
        export(tiny_checkpoint, tmp_path, overwrite=True)
    with pytest.raises(OutputExistsError, match=r"diary.txt exists and holds what is not of a La"):
        export(tiny_checkpoint, tmp_path / "diary.txt", overwrite=True)
    assert names(tmp_path) == ["diary.txt"]


def test_bad_arguments_are_found_before_the_work(tiny_checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "x.lanner"
    with pytest.raises(UnsupportedError, match=r"unknown precision fp17: use fp32, int8"):
        export(tiny_checkpoint, target, precisions=["fp17"])
    with pytest.raises(InputError, match=r"there is no file .*gone.txt: check the path"):
        export(tiny_checkpoint, target, calibration=tmp_path / "gone.txt")
    with pytest.raises(InputError, match=r"there is no file .*gone.csv: check the path"):
        export(tiny_checkpoint, target, quality_data=tmp_path / "gone.csv")
    assert names(tmp_path) == []


def test_a_lost_fusion_is_said(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variants_module, "count_fused_ops", lambda _: {"Gelu": 2})
    warnings: list[str] = []
    export(tiny_checkpoint, tmp_path / "w.lanner", precisions=["fp32"], warn=warnings.append)
    (warning,) = warnings
    assert warning.startswith(
        "2 of 2 attentions and 5 of 5 layer norms of the fp32 variant are not"
    )

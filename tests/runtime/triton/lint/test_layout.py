from pathlib import Path

import pytest

pytest.importorskip("tritonclient", reason="needs the triton extra")

from tests.support.triton_repository import (
    ENSEMBLE,
    ONNX,
    PYTHON,
    changed,
    check,
    faults,
    write_model,
)

CONFIG = "minilm/config.pbtxt"


def test_another_name_than_the_directory_s(tmp_path: Path) -> None:
    write_model(tmp_path, "minilm", changed(ONNX, '"minilm"', '"mpnet"'))
    assert faults(tmp_path) == [
        (CONFIG, 1, "error", "model-name", "the name is 'mpnet', but the directory's is 'minilm'")
    ]
    assert check(tmp_path)[0].remedy == 'name: "minilm"'


@pytest.mark.parametrize(
    ("file", "line"),
    [("model.onnx", ""), ("model.plan", ""), ("other", 'backend: "mine"'), ("x", 'platform: "y"')],
)
def test_a_backend_that_can_be_guessed(tmp_path: Path, file: str, line: str) -> None:
    write_model(tmp_path, "minilm", changed(ONNX, 'backend: "onnxruntime"', line), file)
    assert "no-backend" not in [found.rule for found in check(tmp_path)]


def test_no_backend(tmp_path: Path) -> None:
    write_model(tmp_path, "minilm", changed(ONNX, 'backend: "onnxruntime"', ""), "model.bin")
    assert faults(tmp_path) == [
        (CONFIG, 1, "error", "no-backend", "nothing says which backend runs minilm")
    ]


def test_a_backend_in_the_name_of_the_model(tmp_path: Path) -> None:
    config = 'input { name: "a" data_type: TYPE_FP32 dims: 1 }'
    write_model(tmp_path, "minilm.identity", config)
    assert check(tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "problem", "remedy"),
    [
        (
            '{ name: "attention_mask" data_type: TYPE_INT64 dims: [ -1 ] }',
            '{ name: "attention_mask" data_type: TYPE_INT64 }',
            6,
            "input 'attention_mask' has no dims",
            "for example dims: [ -1 ]",
        ),
        (
            'name: "sentence_embedding" data_type: TYPE_FP32',
            'name: "sentence_embedding"',
            9,
            "output 'sentence_embedding' has no data_type",
            "for example data_type: TYPE_INT64",
        ),
        (
            'name: "sentence_embedding" data_type: TYPE_FP32 dims: [ 4 ]',
            "",
            9,
            "output '' has no name and data_type and dims",
            'for example name: "input_ids" data_type: TYPE_INT64 dims: [ -1 ]',
        ),
        (
            "dims: [ 4 ]",
            "dims: [ 1,\n 0 ]",
            10,
            "output 'sentence_embedding' has a dimension of 0",
            "give its size, or -1 for any size",
        ),
    ],
)
def test_a_tensor_that_lacks_something(
    tmp_path: Path, old: str, new: str, line: int, problem: str, remedy: str
) -> None:
    write_model(tmp_path, "minilm", changed(ONNX, old, new))
    assert faults(tmp_path) == [(CONFIG, line, "error", "tensor", problem)]
    assert check(tmp_path)[0].remedy == remedy


def test_what_a_tensor_of_tensorrt_lacks_is_in_the_engine(tmp_path: Path) -> None:
    config = changed(ONNX, 'backend: "onnxruntime"', 'backend: "tensorrt"')
    config = changed(
        config, 'name: "sentence_embedding" data_type: TYPE_FP32 dims: [ 4 ]', 'name: "a"'
    )
    write_model(tmp_path, "minilm", config)
    assert check(tmp_path) == []


def test_no_version(tmp_path: Path) -> None:
    write_model(tmp_path, "minilm", ONNX, versions=())
    assert faults(tmp_path) == [("minilm", 1, "error", "no-version", "minilm has no version")]
    assert check(tmp_path)[0].remedy == f"mkdir {tmp_path / 'minilm' / '1'}"


def test_an_ensemble_has_an_empty_version(tmp_path: Path) -> None:
    write_model(tmp_path, "all", ENSEMBLE)
    write_model(tmp_path, "part", PYTHON)
    assert check(tmp_path) == []


@pytest.mark.parametrize("name", ["v2", "02", "0", "latest"])
def test_a_directory_that_is_no_version_to_triton(tmp_path: Path, name: str) -> None:
    write_model(tmp_path, "minilm", ONNX, versions=("1", name))
    assert faults(tmp_path) == [
        (
            f"minilm/{name}",
            1,
            "warning",
            "version-name",
            f"Triton does not treat the directory {name} as a version",
        )
    ]
    directory = tmp_path / "minilm"
    assert check(tmp_path)[0].remedy == f"mv {directory / name} {directory / '2'}"


def test_other_directories_are_the_models_own_affair(tmp_path: Path) -> None:
    directory = write_model(tmp_path, "minilm", ONNX)
    for name in ("configs", "warmup", "tokenizer", ".git", "1_old"):
        (directory / name).mkdir()
    assert check(tmp_path) == []


def test_a_name_that_triton_reads_as_a_version(tmp_path: Path) -> None:
    write_model(tmp_path, "minilm", ONNX, versions=("1", "2_old"))
    assert faults(tmp_path) == [
        (
            "minilm/2_old",
            1,
            "error",
            "misread-version",
            "Triton reads 2_old as version 2, which does not exist",
        )
    ]


def test_a_version_without_its_model(tmp_path: Path) -> None:
    write_model(tmp_path, "minilm", ONNX, "model.bin")
    assert faults(tmp_path) == [
        (CONFIG, 1, "error", "model-file", "version 1 lacks model.onnx"),
    ]
    assert check(tmp_path)[0].remedy == f"copy the model to {tmp_path}/minilm/1/model.onnx"


def test_a_model_of_another_name(tmp_path: Path) -> None:
    config = 'default_model_filename: "model.int8.onnx"\n' + ONNX
    directory = write_model(tmp_path, "minilm", config)
    assert faults(tmp_path) == [
        (CONFIG, 1, "error", "model-file", "version 1 lacks model.int8.onnx")
    ]
    (directory / "1" / "model.int8.onnx").touch()
    assert check(tmp_path) == []


@pytest.mark.parametrize("name", ["/none/model.onnx", "../model.onnx", "m" * 999])
def test_a_model_of_a_name_that_leads_elsewhere(tmp_path: Path, name: str) -> None:
    write_model(tmp_path, "minilm", f'default_model_filename: "{name}"\n{ONNX}')
    assert [found.problem for found in check(tmp_path)] == [f"version 1 lacks {name}"]


def test_only_versions_that_are_served_need_a_model(tmp_path: Path) -> None:
    directory = write_model(tmp_path, "minilm", ONNX, versions=("1", "2", "10"))
    (directory / "2" / "model.onnx").unlink()
    (directory / "1" / "model.onnx").unlink()
    assert check(tmp_path) == []
    write_config = (directory / "config.pbtxt").write_text
    write_config(ONNX + "version_policy { latest { num_versions: 2 } }", encoding="utf-8")
    assert [found.problem for found in check(tmp_path)] == ["version 2 lacks model.onnx"]
    write_config(ONNX + "version_policy { all { } }", encoding="utf-8")
    assert [found.problem for found in check(tmp_path)] == [
        "version 1 lacks model.onnx",
        "version 2 lacks model.onnx",
    ]


def test_a_model_of_several_files(tmp_path: Path) -> None:
    directory = write_model(tmp_path, "minilm", ONNX, "x")
    (directory / "1" / "model.onnx").mkdir()
    assert [found.problem for found in check(tmp_path)] == ["version 1 lacks model.onnx/model.onnx"]
    (directory / "1" / "model.onnx" / "model.onnx").touch()
    assert check(tmp_path) == []


def test_the_weights_of_openvino(tmp_path: Path) -> None:
    config = changed(ONNX, 'backend: "onnxruntime"', 'backend: "openvino"')
    config = config.replace("dims: [ -1 ]", "dims: [ 4 ]")
    config += 'parameters { key: "ENABLE_BATCH_PADDING" value { string_value: "YES" } }'
    directory = write_model(tmp_path, "minilm", config, "model.xml")
    assert [found.problem for found in check(tmp_path)] == ["version 1 lacks model.bin"]
    (directory / "1" / "model.bin").touch()
    assert check(tmp_path) == []


def test_engines_by_compute_capability(tmp_path: Path) -> None:
    config = changed(ONNX, 'backend: "onnxruntime"', 'backend: "tensorrt"')
    config += 'cc_model_filenames [\n  { key: "8.9" value: "a.plan" },\n'
    config += '  { key: "9.0" value: "b.plan" }\n]'
    write_model(tmp_path, "minilm", config, "a.plan")
    line = ONNX.count("\n") + 3
    assert faults(tmp_path) == [(CONFIG, line, "error", "model-file", "version 1 lacks b.plan")]


def test_a_version_that_is_to_be_served_and_not_there(tmp_path: Path) -> None:
    config = "version_policy { specific { versions: [\n 1,\n 4 ] } }\n" + ONNX
    write_model(tmp_path, "minilm", config)
    assert faults(tmp_path) == [
        (
            CONFIG,
            3,
            "error",
            "version-policy",
            "the policy serves version 4, which minilm does not have",
        )
    ]
    assert check(tmp_path)[0].remedy == "version_policy { specific { versions: [ 1 ] } }"


def test_no_version_is_to_be_served(tmp_path: Path) -> None:
    write_model(tmp_path, "minilm", "version_policy { latest { } }\n" + ONNX)
    assert faults(tmp_path) == [
        (CONFIG, 1, "error", "version-policy", "the policy serves the latest 0 versions")
    ]


def test_a_model_without_a_configuration(tmp_path: Path) -> None:
    write_model(tmp_path, "minilm", ONNX)
    (write_model(tmp_path, "other", "", "model.onnx") / "config.pbtxt").unlink()
    assert faults(tmp_path) == [
        (
            "other",
            1,
            "warning",
            "no-config",
            "other has no config.pbtxt for its model of onnxruntime",
        )
    ]


def test_a_directory_that_is_no_model(tmp_path: Path) -> None:
    write_model(tmp_path, "minilm", ONNX)
    (tmp_path / "notes").mkdir()
    assert faults(tmp_path) == [
        (
            "notes",
            1,
            "error",
            "not-a-model",
            "notes holds neither a config.pbtxt nor a version with a model",
        )
    ]

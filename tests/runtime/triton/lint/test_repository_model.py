from pathlib import Path

import pytest

pytest.importorskip("tritonclient", reason="needs the triton extra")

from tests.support.triton_repository import ONNX, changed, write_model

from lanner.triton.lint.finding import Finding
from lanner.triton.lint.repository_model import (
    SYNTAX,
    RepositoryModel,
    json_line,
    version_directories,
)


def read(directory: Path) -> RepositoryModel:
    model = RepositoryModel.read(directory)
    assert isinstance(model, RepositoryModel)
    return model


def test_versions_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("10", "9", "1", "01", "0", "v2", "1.5", "٣", "configs"):
        (tmp_path / name).mkdir()
    (tmp_path / "7").touch()
    assert [path.name for path in version_directories(tmp_path)] == ["1", "9", "10"]


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("", ["10"]),
        ("version_policy { latest { num_versions: 2 } }", ["9", "10"]),
        ("version_policy { latest { num_versions: 8 } }", ["1", "9", "10"]),
        ("version_policy { specific { versions: [ 9, 1, 3 ] } }", ["1", "9"]),
        ("version_policy { all { } }", ["1", "9", "10"]),
    ],
)
def test_the_served_versions_are_those_of_the_policy(
    tmp_path: Path, policy: str, served: list[str]
) -> None:
    model = read(write_model(tmp_path, "minilm", ONNX + policy, versions=("10", "9", "1")))
    assert [path.name for path in model.served_versions] == served


@pytest.mark.parametrize(
    ("line", "file", "backend"),
    [
        ('backend: "python"', "model.onnx", "python"),
        ('platform: "tensorrt_plan"', "model.onnx", "tensorrt"),
        ('platform: "somebody_s"', "model.onnx", ""),
        ('platform: "ensemble"', "model.onnx", ""),
        ('default_model_filename: "model.xml"', "model.onnx", "openvino"),
        ('default_model_filename: "bert.xml"', "model.onnx", "rapids"),
        ("", "model.py", "python"),
        ("", "model.pt", "pytorch"),
        ("", "weights", "rapids"),
    ],
)
def test_the_backend_is_guessed_as_triton_guesses(
    tmp_path: Path, line: str, file: str, backend: str
) -> None:
    config = changed(ONNX, 'backend: "onnxruntime"', line)
    assert read(write_model(tmp_path, "minilm.rapids", config, file)).backend == backend


def test_a_finding_is_on_the_line_of_its_field(tmp_path: Path) -> None:
    directory = write_model(tmp_path, "minilm", ONNX)
    found = read(directory).finding(SYNTAX, "instance_group[0].count", "too many", "fewer")
    assert (found.file, found.line) == (directory / "config.pbtxt", 12)


def test_a_parameter_that_is_not_there(tmp_path: Path) -> None:
    model = read(write_model(tmp_path, "minilm", ONNX))
    assert model.parameter("lanner_buckets") == "2,4"
    assert model.parameter("none") is None
    # Asking must not create a member, as protobuf's maps do.
    assert "none" not in model.config.parameters


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        (ONNX.replace("dynamic_batching", "dynamic_baching"), "14:1", 'named "dynamic_baching".'),
        ('name: "a"\ninput {\n\n', "2:7", 'Expected "}".'),
        ("\nmax_batch_size: eight", "2:17", "Couldn't parse integer: eight"),
        ('input { }\nname: "\\377"', "2:13", "position 0: invalid start byte"),
    ],
)
def test_what_cannot_be_parsed_is_a_finding(
    tmp_path: Path, text: str, place: str, problem: str
) -> None:
    directory = write_model(tmp_path, "minilm", text)
    found = RepositoryModel.read(directory)
    assert isinstance(found, Finding)
    assert (found.file, found.line) == (directory / "config.pbtxt", int(place.partition(":")[0]))
    assert (found.severity, found.rule) == ("error", "config-syntax")
    assert found.problem.startswith(f"it is not a model configuration: {place} : ")
    assert found.problem.endswith(problem)  # the middle part is protobuf's
    assert found.remedy == "fix that line; the fields are those of Triton's model_config.proto"


def test_what_is_no_text_is_a_finding(tmp_path: Path) -> None:
    directory = write_model(tmp_path, "minilm", ONNX)
    (directory / "config.pbtxt").write_bytes(b'name: "\xff"')
    found = RepositoryModel.read(directory)
    assert isinstance(found, Finding)
    assert found.line == 1
    assert found.problem.startswith("it cannot be read: 'utf-8' codec can't decode byte 0xff")


def test_the_line_of_a_key_of_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{\n "a": "b",\n "b": 1\n}', encoding="utf-8")
    assert json_line(path, "b") == 3
    assert json_line(path, "c") == 1
    assert json_line(tmp_path / "none", "a") == 1

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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

from lanner.errors import RepositoryError
from lanner.triton.lint import artifact as lint_artifact
from lanner.triton.lint import batching as lint_batching
from lanner.triton.lint import execution as lint_execution
from lanner.triton.lint import layout as lint_layout
from lanner.triton.lint import onnxruntime as lint_onnxruntime
from lanner.triton.lint import repository_model, serving_machine
from lanner.triton.lint.finding import Rule
from lanner.triton.lint.linter import lint

#: One line for each fault, so that a line identifies its fault.
FAULTY = """\
name: "other"
backend: "onnxruntime"
max_batch_size: 8
input { name: "input_ids" data_type: TYPE_INT64 dims: [ -1 ] }
output { name: "vector" data_type: TYPE_FP32 dims: [ 0 ] }
instance_group { kind: KIND_CPU count: 2 }
dynamic_batching {
  preferred_batch_size: 16
  default_queue_policy { max_queue_size: 64 }
}
optimization { graph { level: 2 } }
parameters { key: "intra_op_thread_count" value { string_value: "9" } }
"""
LINES = {
    "model-name": 1,
    "unequal-lengths": 4,
    "tensor": 5,
    "preferred-batch-size": 8,
    "queue-policy": 9,
    "no-graph-optimization": 11,
    "too-many-threads": 12,
}


def test_a_clean_repository(tmp_path: Path) -> None:
    write_model(tmp_path, "minilm", ONNX)
    write_model(tmp_path, "part", PYTHON)
    write_model(tmp_path, "all", ENSEMBLE)
    (tmp_path / "README.md").touch()
    (tmp_path / "minilm" / ".ipynb_checkpoints").mkdir()
    assert check(tmp_path) == []


@pytest.mark.parametrize("name", [".git", ".ipynb_checkpoints", ".lanner.abcdefgh"])
def test_a_hidden_directory_is_a_model_to_triton(tmp_path: Path, name: str) -> None:
    write_model(tmp_path, "minilm", ONNX)
    (tmp_path / name).mkdir()
    problem = f"{name} holds neither a config.pbtxt nor a version with a model"
    assert faults(tmp_path) == [(name, 1, "error", "not-a-model", problem)]


@pytest.mark.parametrize("place", ["gone", "minilm/gone", "minilm/2"])
def test_a_link_that_leads_nowhere(tmp_path: Path, place: str) -> None:
    write_model(tmp_path, "minilm", ONNX)
    (tmp_path / "minilm" / "1" / "not looked at").symlink_to("/nowhere")
    (tmp_path / place).symlink_to("/nowhere")
    problem = f"{Path(place).name} is a link that leads nowhere"
    assert faults(tmp_path) == [(place, 1, "error", "broken-link", problem)]


def test_a_name_that_no_process_is_started_for(tmp_path: Path) -> None:
    write_model(tmp_path, "a;b", PYTHON)
    write_model(tmp_path, "c d", changed(ONNX, 'name: "minilm"', ""))  # it needs no process
    problem = "no process can be started for a model with the name 'a;b'"
    assert faults(tmp_path) == [("a;b", 1, "error", "unstartable-name", problem)]


def test_findings_are_sorted_by_file_and_line(tmp_path: Path) -> None:
    write_model(tmp_path, "b", FAULTY)
    write_model(tmp_path, "a", FAULTY)
    found = check(tmp_path)
    assert [(row.file, row.line) for row in found] == sorted((row.file, row.line) for row in found)
    # The sum of the threads belongs to no model, and the missing warm-up has no line of its own.
    rules = {row.rule: row.line for row in found if row.file.parent.name == "a"}
    assert rules == {**LINES, "no-warm-up": 1}
    assert [row.rule for row in found if row.file == tmp_path] == ["too-many-threads"]


@given(
    place=st.integers(0, FAULTY.count("\n")),
    comments=st.integers(1, 5),
    comment=st.text(st.characters(codec="utf-8", exclude_characters="\r\n")),
)
def test_comment_lines_shift_the_findings_below_them(
    tmp_path_factory: pytest.TempPathFactory, place: int, comments: int, comment: str
) -> None:
    rows = FAULTY.split("\n")
    text = "\n".join([*rows[:place], *[f"# {comment}"] * comments, *rows[place:]])
    repository = tmp_path_factory.mktemp("repository")
    write_model(repository, "minilm", text)
    lines = {row.rule: row.line for row in check(repository)}
    assert lines.pop("no-warm-up") == 1
    assert lines == {rule: line + comments * (line > place) for rule, line in LINES.items()}


@given(
    start=st.integers(0, len(ONNX)),
    length=st.integers(0, 40),
    text=st.text("{}[]<>\"'\\:,;#-0a \n") | st.text(),
)
def test_whatever_a_configuration_says_there_are_only_findings(
    tmp_path_factory: pytest.TempPathFactory, start: int, length: int, text: str
) -> None:
    repository = tmp_path_factory.mktemp("repository")
    write_model(repository, "minilm", ONNX[:start] + text + ONNX[start + length :])
    for found in check(repository):
        assert found.line >= 1


def test_a_broken_configuration_leaves_the_others_checked(tmp_path: Path) -> None:
    write_model(tmp_path, "a", ONNX + "}\n")
    write_model(tmp_path, "b", ONNX)
    assert [fault[:4] for fault in faults(tmp_path)] == [
        ("a/config.pbtxt", 1 + ONNX.count("\n"), "error", "config-syntax"),
        ("b/config.pbtxt", 1, "error", "model-name"),
    ]


def test_findings_are_plain_json(tmp_path: Path) -> None:
    write_model(tmp_path, "minilm", FAULTY)
    rows = [found.to_json() for found in check(tmp_path)]
    assert json.loads(json.dumps(rows)) == rows
    assert rows[0]["file"] == str(tmp_path / "minilm" / "config.pbtxt")


def test_cores_are_those_of_this_machine_unless_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_machine, "DEVICES", tmp_path / "none")
    monkeypatch.setattr(serving_machine, "available_cores", lambda: 1)
    write_model(tmp_path / "repository", "minilm", ONNX)
    assert [found.rule for found in lint(tmp_path / "repository")] == ["too-many-threads"]
    assert lint(tmp_path / "repository", cores=2) == []


def test_a_repository_that_is_no_directory(tmp_path: Path) -> None:
    path = tmp_path / "none"
    with pytest.raises(RepositoryError) as error:
        lint(path)
    assert str(error.value) == (
        f"{path} is not a directory: pass one that holds a directory for each model"
    )


@pytest.mark.parametrize("name", ["", "notes", ".git/1"])
def test_a_repository_without_a_model(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir(parents=True, exist_ok=True)
    with pytest.raises(RepositoryError) as error:
        lint(tmp_path)
    assert str(error.value) == (
        f"{tmp_path} holds no model: none of its directories has a config.pbtxt or a version; "
        "make a repository with 'lanner repository ARTIFACT --output REPOSITORY'"
    )


def test_a_model_in_place_of_the_repository(tmp_path: Path) -> None:
    directory = write_model(tmp_path, "minilm", ONNX)
    with pytest.raises(RepositoryError) as error:
        lint(directory)
    assert str(error.value) == f"{directory} is a model, not a repository: pass {tmp_path}"


def test_each_rule_has_a_name_of_its_own_and_says_why() -> None:
    modules = (
        lint_artifact,
        lint_batching,
        lint_execution,
        lint_layout,
        lint_onnxruntime,
        repository_model,
    )
    rules = [value for m in modules for value in vars(m).values() if isinstance(value, Rule)]
    names = [rule.name for rule in rules]
    assert len(names) == len(set(names)) >= 30
    assert all(rule.why for rule in rules)

from pathlib import Path

import pytest

pytest.importorskip("tritonclient", reason="needs the triton extra")

from tests.support.triton_repository import MACHINE, ONNX, changed, check, faults, write_model

from lanner.triton.lint.serving_machine import ServingMachine
from lanner.triton.repository.serving import Serving
from lanner.triton.repository.write import write_repository

CONFIG = "minilm/config.pbtxt"
THREADS = 'parameters { key: "intra_op_thread_count" value { string_value: "1" } }\n'


@pytest.mark.parametrize(
    ("parameter", "line"), [("", 1), (changed(THREADS, '"1"', '"0"'), 17)], ids=["none", "0"]
)
def test_threads_without_a_number_are_pinned(tmp_path: Path, parameter: str, line: int) -> None:
    config = changed(changed(ONNX, THREADS, parameter), "count: 2", "count: 1")
    write_model(tmp_path, "minilm", config)
    problem = "the threads of minilm are pinned to cores"
    assert faults(tmp_path) == [(CONFIG, line, "warning", "pinned-threads", problem)]
    assert check(tmp_path)[0].remedy == changed(THREADS, '"1"', '"2"').strip()


def made(artifact: Path, repository: Path, variant: str) -> Path:
    """Write a repository for the backend onnxruntime, on a machine like the linter's."""
    serving = Serving(backend="onnxruntime", cores=MACHINE.cores)
    write_repository(
        [artifact], repository, variant=variant, serving=serving, names=["minilm"], with_text=False
    )
    return repository


@pytest.mark.parametrize(
    ("variant", "old", "least"),
    [
        ("fp32", "25.11", "Triton 25.12 (ONNX Runtime 1.23)"),
        ("int8", "26.01", "Triton 26.02 (ONNX Runtime 1.24)"),
    ],
)
def test_a_triton_whose_onnxruntime_is_too_old(
    word_artifact: Path, tmp_path: Path, variant: str, old: str, least: str
) -> None:
    repository = made(word_artifact, tmp_path / "repository", variant)

    def found(release: str | None) -> list[str]:
        machine = ServingMachine(MACHINE.cores, triton=release)
        return [one.problem for one in check(repository, machine) if one.severity == "error"]

    assert found(old) == [f"minilm needs {least} or later, but this is Triton {old}"]
    assert found(least[7:12]) == found("27.01") == found(None) == []


def test_int8_in_another_onnxruntime_than_in_process(word_artifact: Path, tmp_path: Path) -> None:
    assert check(made(word_artifact, tmp_path / "fp32", "fp32")) == []
    (found,) = check(made(word_artifact, tmp_path / "int8", "int8"))
    assert (found.rule, found.severity) == ("int8-by-version", "warning")
    assert found.problem == "minilm runs int8 in the ONNX Runtime of the server"
    assert found.why.endswith(
        "vectors of one text keep a cosine of at least 0.991, 0.9998 on average, so they cannot "
        "stand beside vectors that were made in process"
    )

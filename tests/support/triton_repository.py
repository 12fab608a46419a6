"""Hand-written Triton model repositories in which the linter finds nothing.

`ONNX`, `PYTHON` and `ENSEMBLE` are clean on `MACHINE`. A test changes one place of them and knows
its line.
"""

from pathlib import Path

import pytest

from lanner.triton.lint.finding import Finding
from lanner.triton.lint.linter import lint
from lanner.triton.lint.serving_machine import ServingMachine

MACHINE = ServingMachine(cores=2)

ONNX = """\
name: "minilm"
backend: "onnxruntime"
max_batch_size: 8
input [
  { name: "input_ids" data_type: TYPE_INT64 dims: [ -1 ] },
  { name: "attention_mask" data_type: TYPE_INT64 dims: [ -1 ] }
]
output [
  { name: "sentence_embedding" data_type: TYPE_FP32 dims: [ 4 ] }
]
instance_group [
  { kind: KIND_CPU count: 2 }
]
dynamic_batching {
  preserve_ordering: false
}
parameters { key: "intra_op_thread_count" value { string_value: "1" } }
parameters { key: "lanner_buckets" value { string_value: "2,4" } }
model_warmup {
  name: "first" batch_size: 1
  inputs { key: "input_ids" value { data_type: TYPE_INT64 dims: [ 2 ] zero_data: true } }
  inputs { key: "attention_mask" value { data_type: TYPE_INT64 dims: [ 2 ] zero_data: true } }
}
"""

PYTHON = """\
backend: "python"
max_batch_size: 8
input { name: "text" data_type: TYPE_STRING dims: [ 1 ] }
output { name: "sentence_embedding" data_type: TYPE_FP32 dims: [ 4 ] }
dynamic_batching { }
model_warmup {
  name: "first" batch_size: 1
  inputs { key: "text" value { data_type: TYPE_STRING dims: [ 1 ] zero_data: true } }
}
"""

ENSEMBLE = """\
platform: "ensemble"
max_batch_size: 8
input { name: "text" data_type: TYPE_STRING dims: [ 1 ] }
output { name: "sentence_embedding" data_type: TYPE_FP32 dims: [ 4 ] }
ensemble_scheduling {
  step {
    model_name: "part"
    model_version: -1
    input_map { key: "text" value: "text" }
    output_map { key: "sentence_embedding" value: "sentence_embedding" }
  }
}
"""

FILES = {"onnxruntime": "model.onnx", "python": "model.py", "tensorrt": "model.plan"}


def write_model(
    repository: Path, name: str, config: str, *files: str, versions: tuple[str, ...] = ("1",)
) -> Path:
    """Write a model with these files in each version; by default with its backend's file."""
    backend = next((word for word in FILES if f'backend: "{word}"' in config), "")
    (repository / name).mkdir(parents=True)
    for version in versions:
        directory = repository / name / version
        directory.mkdir()
        for file in files or filter(None, [FILES.get(backend)]):
            (directory / file).write_bytes(b"x")
    (repository / name / "config.pbtxt").write_text(config, encoding="utf-8")
    return repository / name


def changed(config: str, old: str, new: str) -> str:
    assert config.count(old) == 1, f"{old!r} stands {config.count(old)} times"
    return config.replace(old, new)


def check(repository: Path, machine: ServingMachine = MACHINE) -> list[Finding]:
    """Return the findings of the linter on that machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ServingMachine, "this", lambda _: machine)
        return lint(repository)


def faults(
    repository: Path, machine: ServingMachine = MACHINE
) -> list[tuple[str, int, str, str, str]]:
    """Return the file, line, severity, rule and problem of each finding."""
    return [
        (
            str(found.file.relative_to(repository)),
            found.line,
            found.severity,
            found.rule,
            found.problem,
        )
        for found in check(repository, machine)
    ]

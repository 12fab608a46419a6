"""Rules on the ONNX Runtime inside Triton: its version, its threads, its int8."""

from collections.abc import Iterator

from lanner.triton.contract.onnxruntime_versions import INT8_DIFFERS, is_int8, least_version
from lanner.triton.contract.tensors import INPUT_KIND
from lanner.triton.lint.artifact import served_manifest
from lanner.triton.lint.execution import is_on_gpu
from lanner.triton.lint.finding import Finding, Rule
from lanner.triton.lint.repository_model import RepositoryModel
from lanner.triton.lint.serving_machine import ServingMachine

OLD_VERSION = Rule(
    "onnxruntime-version",
    "error",
    "each release of Triton brings one ONNX Runtime, and an older one refuses the graph (release "
    "notes of NVIDIA's container)",
)
PINNED_THREADS = Rule(
    "pinned-threads",
    "warning",
    "without a number of threads ONNX Runtime pins one to each core, where it waits for whatever "
    "else runs there (ONNX Runtime, 'Thread management')",
)
INT8_ELSEWHERE = Rule(
    "int8-by-version",
    "warning",
    f"{INT8_DIFFERS}, so they cannot stand beside vectors that were made in process",
)

_THREADS = "intra_op_thread_count"


def lint_onnxruntime(model: RepositoryModel, machine: ServingMachine) -> Iterator[Finding]:
    """Lint rules for models of the ONNX Runtime backend on a CPU."""
    if model.backend != "onnxruntime" or is_on_gpu(model, machine):
        return
    if (model.parameter(_THREADS) or "0") == "0":
        path = f'parameters["{_THREADS}"]'
        problem = f"the threads of {model.name} are pinned to cores"
        remedy = f'parameters {{ key: "{_THREADS}" value {{ string_value: "{machine.cores}" }} }}'
        yield model.finding(PINNED_THREADS, path, problem, remedy)
    manifest = served_manifest(model)
    if manifest is None or model.parameter(INPUT_KIND) is None:
        return
    precision = manifest.variants[0].precision
    least = least_version(precision)
    if machine.triton is not None and machine.triton < least.triton:
        problem = f"{model.name} needs {least} or later, but this is Triton {machine.triton}"
        remedy = "use a newer Triton, or the backend python"
        yield model.finding(OLD_VERSION, "backend", problem, remedy)
    if is_int8(precision):
        problem = f"{model.name} runs int8 in the ONNX Runtime of the server"
        remedy = "use the backend python, or --variant fp32; or compare vectors of this server only"
        yield model.finding(INT8_ELSEWHERE, "default_model_filename", problem, remedy)

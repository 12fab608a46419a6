"""A tiny hand-written Triton model repository, whose answers can be worked out by hand."""

from pathlib import Path

from tests.support.processes import processes

_CONFIG = """\
backend: "python"
max_batch_size: 8
input [{name: "x" data_type: TYPE_FP32 dims: [-1]}]
output [{name: "y" data_type: TYPE_FP32 dims: [-1]}]
instance_group [{kind: KIND_CPU}]
"""
#: It imports Lanner too, as the models that Lanner makes do.
DOUBLE = """\
import lanner, triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        inputs = [pb_utils.get_input_tensor_by_name(one, "x").as_numpy() for one in requests]
        outputs = [pb_utils.Tensor("y", 2 * x) for x in inputs]
        return [pb_utils.InferenceResponse([one]) for one in outputs]
"""
BROKEN = """\
class TritonPythonModel:
    def initialize(self, args):
        raise ValueError("the weights\\nare gone")
"""


def write_triton_model(repository: Path, name: str = "double", code: str = DOUBLE) -> Path:
    """Add a model of the Python backend to a repository, and return the repository."""
    model = repository / name
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(_CONFIG)
    (model / "1" / "model.py").write_text(code)
    return repository


def processes_of(repository: Path) -> list[int]:
    """Return the processes that name a repository: the server and the stubs of its models."""
    return processes(lambda command: str(repository).encode() in command)

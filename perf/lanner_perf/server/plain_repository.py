"""A model repository as a team writes it by hand, for `triton_report` to compare with.

A Python backend runs ONNX Runtime with its defaults and a stock int8 graph. Dynamic batching is on,
as in Triton's documentation. `lanner_perf.kinds.triton_plain` is its client.
"""

import shutil
from pathlib import Path

from lanner_perf.kinds.triton_plain import MODEL

_CONFIG = """\
backend: "python"
max_batch_size: 64
input [
  { name: "input_ids" data_type: TYPE_INT64 dims: [ -1 ] },
  { name: "attention_mask" data_type: TYPE_INT64 dims: [ -1 ] }
]
output [ { name: "sentence_embedding" data_type: TYPE_FP32 dims: [ %d ] } ]
dynamic_batching { }
instance_group [ { count: 1 kind: KIND_CPU } ]
"""
_MODEL = """\
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

NAMES = ("input_ids", "attention_mask")


class TritonPythonModel:
    def initialize(self, args):
        self.session = onnxruntime.InferenceSession(str(Path(__file__).parent / "model.onnx"))

    def execute(self, requests):
        parts = [
            [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in NAMES]
            for request in requests
        ]
        ids, mask = (np.concatenate(column) for column in zip(*parts))
        (vectors,) = self.session.run(None, {"input_ids": ids, "attention_mask": mask})
        ends = np.cumsum([len(part[0]) for part in parts])
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("sentence_embedding", part)])
            for part in np.split(vectors, ends[:-1])
        ]
"""


def write_plain_repository(graph: Path, repository: Path, dimension: int) -> None:
    """Write the repository for an ONNX file that returns vectors of that dimension."""
    version = repository / MODEL / "1"
    version.mkdir(parents=True)
    (repository / MODEL / "config.pbtxt").write_text(_CONFIG % dimension)
    (version / "model.py").write_text(_MODEL)
    shutil.copyfile(graph, version / "model.onnx")

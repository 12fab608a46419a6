"""The model repository that a team writes by hand, for `lanner_perf.triton_report` to compare with.

A Python backend around ONNX Runtime with its defaults and a stock int8 graph, dynamic batching
switched on as Triton's documentation shows it, and a client of tritonclient and tokenizers.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CONFIG = """\
name: "plain"
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
    """Writes the repository around an ONNX file that answers vectors of so many dimensions."""
    version = repository / "plain" / "1"
    version.mkdir(parents=True)
    (repository / "plain" / "config.pbtxt").write_text(_CONFIG % dimension)
    (version / "model.py").write_text(_MODEL)
    shutil.copyfile(graph, version / "model.onnx")


class PlainClient:
    """What a team writes to call it.

    Args:
        host: Name and port of the server's gRPC.
        tokenizer: A tokenizer.json.
    """

    def __init__(self, host: str, tokenizer: Path) -> None:
        import tritonclient.grpc  # noqa: PLC0415 (an extra)
        from tokenizers import Tokenizer  # noqa: PLC0415

        self._grpc: Any = tritonclient.grpc
        self._client = self._grpc.InferenceServerClient(host)
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_padding()

    def encode(self, text: str) -> NDArray[np.float32]:
        """The vector of one text, float32 [dim]."""
        ids = np.array([self._tokenizer.encode(text).ids], dtype=np.int64)
        inputs = []
        for name, tensor in (("input_ids", ids), ("attention_mask", np.ones_like(ids))):
            given = self._grpc.InferInput(name, list(tensor.shape), "INT64")
            given.set_data_from_numpy(tensor)
            inputs.append(given)
        result = self._client.infer("plain", inputs)
        vector: NDArray[np.float32] = result.as_numpy("sentence_embedding")[0]
        return vector

"""The call of a token model on a GPU, with a stand-in for the backend's own module.

Without a GPU, `tests/end_to_end/test_triton.py` runs the real one.
"""

import importlib
import sys
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from lanner.errors import EngineError

CPU, GPU = 0, 2
BUCKETS = (4, 8)


class Tensor:
    """Return an array as python_backend/src/pb_tensor.cc does: only from CPU memory."""

    def __init__(self, name: str, array: NDArray[Any], memory: int = CPU) -> None:
        self.name, self._array, self._memory = name, array, memory

    def as_numpy(self) -> NDArray[Any]:
        if self._memory != CPU:
            msg = "Tensor is stored in GPU and cannot be converted to NumPy."
            raise RuntimeError(msg)
        return self._array


class InferenceRequest:
    """A request to a model on a GPU that answers the sum of each row."""

    error: ClassVar[str | None] = None

    def __init__(
        self,
        model_name: str,
        model_version: int,
        requested_output_names: list[str],
        inputs: list[Tensor],
        preferred_memory: Any = None,
    ) -> None:
        self.called = model_name, model_version, requested_output_names
        self.inputs = inputs
        self.memory = GPU if preferred_memory is None else preferred_memory.memory

    def exec(self) -> SimpleNamespace:
        assert self.called == ("model", 3, ["sentence_embedding"])
        rows = self.inputs[0].as_numpy()
        assert rows.shape[1] in BUCKETS
        answer = Tensor("sentence_embedding", rows.sum(1, dtype=np.float32)[:, None], self.memory)
        return SimpleNamespace(
            outputs=[answer],
            has_error=lambda: self.error is not None,
            error=lambda: SimpleNamespace(message=lambda: self.error),
        )


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Any:
    backend: Any = ModuleType("triton_python_backend_utils")
    backend.Tensor, backend.InferenceRequest = Tensor, InferenceRequest
    backend.TRITONSERVER_MEMORY_CPU = CPU
    backend.PreferredMemory = lambda memory: SimpleNamespace(memory=memory)
    backend.get_output_tensor_by_name = lambda response, _: response.outputs[0]
    monkeypatch.setitem(sys.modules, backend.__name__, backend)
    monkeypatch.delitem(sys.modules, "lanner.triton.backend.token_model", raising=False)
    module = importlib.import_module("lanner.triton.backend.token_model")
    # Later imports must find the real module, or none.
    monkeypatch.delitem(sys.modules, "lanner.triton.backend.token_model")
    served: Any = SimpleNamespace(version="3", buckets=BUCKETS)
    return module.BackendEngine("model", served, output="sentence_embedding")


def test_what_a_model_on_a_gpu_answers_comes_to_the_cpu(engine: Any) -> None:
    answer = engine.run({"input_ids": np.array([[1, 2, 3], [4, 5, 6]])})
    np.testing.assert_array_equal(answer, [[6], [15]])
    assert answer.dtype == np.float32


def test_a_model_that_failed_is_named(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InferenceRequest, "error", "no profile")
    with pytest.raises(EngineError, match=r"^the model model failed: no profile$"):
        engine.run({"input_ids": np.array([[1, 2, 3]])})

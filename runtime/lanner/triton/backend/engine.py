"""A token model beside a text model in one server, as an engine."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from lanner.artifact.buckets import fill_to_bucket
from lanner.errors import EngineError
from lanner.triton.contract.served_model import ServedModel


class BackendEngine:
    """Calls the token model through the backend's own API (business logic scripting).

    Args:
        model: The token model's name.
        served: The text model, whose tokenizer, version and buckets are the token model's.
        output: The tensor that it answers with.
    """

    name = "triton"
    #: The token model takes off what fills a batch up, or has buckets anyhow.
    run_tokens = 64

    def __init__(self, model: str, served: ServedModel, *, output: str) -> None:
        self._model, self._version = model, int(served.version)
        self._output = output
        self._buckets = served.buckets

    def run(
        self,
        inputs: Mapping[str, NDArray[Any]],
        *,
        is_alone: bool = False,
        deadline_s: float | None = None,
    ) -> NDArray[np.float32]:
        """See `lanner.engines.Engine.run`."""
        request = pb_utils.InferenceRequest(
            model_name=self._model,
            model_version=self._version,
            requested_output_names=[self._output],
            inputs=[
                pb_utils.Tensor(name, tensor)
                for name, tensor in fill_to_bucket(inputs, self._buckets).items()
            ],
            # What a model on a GPU answers would else stay there.
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU),
        )
        response = request.exec()
        if response.has_error():
            msg = f"the model {self._model} failed: {response.error().message()}"
            raise EngineError(msg)
        output = pb_utils.get_output_tensor_by_name(response, self._output)
        return np.array(output.as_numpy(), dtype=np.float32)

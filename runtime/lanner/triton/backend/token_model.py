"""The token model of the same server as an engine of its text model."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from lanner.artifact.buckets import fill_to_bucket
from lanner.errors import EngineError
from lanner.triton.contract.served_model import ServedModel


class BackendEngine:
    """An engine that calls the token model through the backend's API (business logic scripting).

    Args:
        model: The token model's name.
        served: The text model, with the tokenizer, version and buckets of the token model.
        output: The name of the output tensor.
    """

    name = "triton"
    #: The token model removes padding, or has buckets.
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
            # Otherwise the output of a model on a GPU would stay there.
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU),
        )
        response = request.exec()
        if response.has_error():
            msg = f"the model {self._model} failed: {response.error().message()}"
            raise EngineError(msg)
        output = pb_utils.get_output_tensor_by_name(response, self._output)
        return np.array(output.as_numpy(), dtype=np.float32)

"""What carries a request's tensors: its message, or memory that client and server share."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Carrier:
    """The message itself.

    Args:
        inputs: The tensors, int64 or, as BYTES, of objects.
        outputs: The names of those that are wanted.
    """

    def __init__(self, inputs: Mapping[str, NDArray[Any]], outputs: tuple[str, ...]) -> None:
        self._inputs, self._outputs = inputs, outputs

    def input_tensors(self, kind: Callable[..., Any]) -> list[Any]:
        """The inputs as tritonclient takes them: INT64, or of objects BYTES.

        Args:
            kind: The class ``InferInput`` of the protocol.
        """
        tensors = []
        for name, tensor in self._inputs.items():
            datatype = "BYTES" if tensor.dtype == np.object_ else "INT64"
            given = kind(name, list(tensor.shape), datatype)
            self.fill(name, given)
            tensors.append(given)
        return tensors

    def output_tensors(self, kind: Callable[..., Any]) -> list[Any]:
        """The outputs that are asked for.

        Args:
            kind: The class ``InferRequestedOutput`` of the protocol.
        """
        return [kind(name) for name in self._outputs]

    def answers(self, result: Any) -> dict[str, NDArray[Any] | None]:
        """The outputs of an ``InferResult``; None for one that is not there."""
        return {name: self.answer(result, name) for name in self._outputs}

    def fill(self, name: str, tensor: Any) -> None:
        """Gives an ``InferInput`` its values."""
        tensor.set_data_from_numpy(self._inputs[name])

    def answer(self, result: Any, name: str) -> NDArray[Any] | None:
        """One output of an ``InferResult``, or None."""
        output: NDArray[Any] | None = result.as_numpy(name)
        return output

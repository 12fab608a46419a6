"""A Triton server as an engine: each batch is a request."""

import random
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.buckets import fill_to_bucket
from lanner.errors import (
    EngineError,
    InputError,
    LannerError,
    ModelChangedError,
    ModelUnavailableError,
    ServerUnavailableError,
)
from lanner.running.call import deadline_error
from lanner.triton.client.transport import Transport
from lanner.triton.contract.served_model import ServedModel

#: Waiting times between tries, in seconds: each is twice the one before, up to the second.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 2.0
#: Errors that a retry may resolve. Requests change nothing on the server, so one may be sent again
#: even if it arrived.
_PASSING = (ServerUnavailableError, ModelUnavailableError)


class TritonEngine:
    """An engine that sends batches to one version of a model, any number at once.

    Args:
        transport: The connection.
        served: The server's description of the model.
        output: The name of the output tensor.
        version: The version to request; empty for the newest.
        retries: The number of retries if the server or the model is unavailable.
        priority: The priority from 1, served first; 0 for the model's default.

    Raises:
        InputError: `retries` is negative.
    """

    name = "triton"

    def __init__(
        self,
        transport: Transport,
        served: ServedModel,
        *,
        output: str,
        version: str = "",
        retries: int = 3,
        priority: int = 0,
    ) -> None:
        if retries < 0:
            msg = f"retries must be at least 0, not {retries}"
            raise InputError(msg)
        self.transport, self.served = transport, served
        self._outputs = (output,)
        self._version, self._retries, self._priority = version, retries, priority
        self._buckets = served.buckets
        #: A request has a high fixed cost. If the server removes padding, texts of any lengths
        #: share a request.
        self.run_tokens = 64 if self._buckets else 1_000

    def close(self) -> None:
        """Close the connection."""
        self.transport.close()

    def run(
        self,
        inputs: Mapping[str, NDArray[Any]],
        *,
        is_alone: bool = False,
        deadline_s: float | None = None,
    ) -> NDArray[np.float32]:
        """Run one batch; see `lanner.engines.Engine.run`.

        Raises:
            ModelChangedError: Another version answered than the one that the texts were tokenised
                for.
            ServerUnavailableError, ModelUnavailableError: All retries failed.
            Overloaded, DeadlineError, InputError, EngineError: The server reported it.
        """
        if not self.served.takes_texts:
            inputs = fill_to_bucket(inputs, self._buckets)
        count = len(next(iter(inputs.values())))
        # Waiting callers share a request, and may exceed the server's largest batch.
        most = self.served.max_batch_size or count
        parts = [
            self._ask({name: t[start : start + most] for name, t in inputs.items()}, deadline_s)
            for start in range(0, count, most)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _ask(
        self, inputs: Mapping[str, NDArray[Any]], deadline_s: float | None
    ) -> NDArray[np.float32]:
        (output,) = self.answer(inputs, self._outputs, deadline_s).values()
        if output.dtype != np.float32:
            msg = (
                f"the model {self.served.name} answered {output.dtype} as {self._outputs[0]}, "
                "where float32 is expected: make its repository with 'lanner repository'"
            )
            raise EngineError(msg)
        count = len(next(iter(inputs.values())))
        if output.ndim < 2 or len(output) != count:
            msg = (
                f"the model {self.served.name} answered {self._outputs[0]} of the shape "
                f"{list(output.shape)} to {count} inputs: each must have a row, so its server or "
                "what stands before it is out of order"
            )
            raise EngineError(msg)
        return output

    def answer(
        self,
        inputs: Mapping[str, NDArray[Any]],
        outputs: tuple[str, ...],
        deadline_s: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Return the named outputs, with retries if they may help; see `run`.

        Args:
            inputs: The tensors.
            outputs: The names.
            deadline_s: See `run`.
        """
        wait_s = _FIRST_WAIT_S
        for attempt in range(self._retries + 1):
            timeout_s = None if deadline_s is None else deadline_s - time.monotonic()
            if timeout_s is not None and timeout_s <= 0:
                raise deadline_error()
            try:
                answer = self.transport.infer(
                    self.served.name,
                    self._version,
                    inputs,
                    outputs,
                    timeout_s=timeout_s,
                    priority=self._priority,
                )
            except _PASSING as error:
                self._wait(error, attempt, wait_s, deadline_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
                continue
            if answer.version != self.served.version:
                msg = (
                    f"the model {self.served.name} answered with version {answer.version}, and "
                    f"the texts were tokenised for version {self.served.version}"
                )
                raise ModelChangedError(msg)
            return self._whole(answer.outputs)
        raise AssertionError  # the last try raises

    def _whole(self, outputs: Mapping[str, NDArray[Any] | None]) -> dict[str, NDArray[Any]]:
        found = {name: output for name, output in outputs.items() if output is not None}
        missing = outputs.keys() - found.keys()
        if missing:
            msg = (
                f"the model {self.served.name} answered without {min(missing)}: it has no such "
                "output, or its response cache remembers that this request failed"
            )
            raise EngineError(msg)
        return found

    def _wait(
        self, error: LannerError, attempt: int, wait_s: float, deadline_s: float | None
    ) -> None:
        # Jitter: callers that failed together should not all retry at once.
        wait_s *= random.uniform(0.5, 1.0)  # noqa: S311
        is_last = attempt == self._retries
        if is_last or (deadline_s is not None and time.monotonic() + wait_s >= deadline_s):
            raise error
        time.sleep(wait_s)

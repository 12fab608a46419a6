"""gRPC, through tritonclient."""

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lanner.errors import MissingExtraError
from lanner.triton.client.certificates import system_roots
from lanner.triton.client.refusal import server_error
from lanner.triton.client.transport import Address, Answer, input_tensors, queue_timeout_us

try:
    from google.protobuf.json_format import MessageToDict
    from tritonclient.grpc import (
        MAX_GRPC_MESSAGE_SIZE,
        InferenceServerClient,
        InferenceServerException,
        InferInput,
        InferRequestedOutput,
    )
except ImportError as error:
    what = "talking to a Triton server"
    raise MissingExtraError(what, "triton", "tritonclient") from error

#: Messages of any size; and a server that comes back is found within a second, where gRPC would let
#: two minutes pass between its tries (doc/connection-backoff.md of grpc).
_CHANNEL = {
    "grpc.max_send_message_length": MAX_GRPC_MESSAGE_SIZE,
    "grpc.max_receive_message_length": MAX_GRPC_MESSAGE_SIZE,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1_000,
}
#: Where gRPC lets a user say whom to trust (doc/environment_variables.md of grpc).
_ROOTS_VARIABLE = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"


class GrpcTransport:
    """See `lanner.triton.client.transport.Transport`. A channel is shared by all threads."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._client: Any = None
        self._pid = 0
        self._has_answered = False
        self._lock = threading.Lock()

    def infer(
        self,
        model: str,
        version: str,
        inputs: Mapping[str, NDArray[Any]],
        outputs: tuple[str, ...],
        *,
        timeout_s: float | None,
        priority: int,
    ) -> Answer:
        """See `lanner.triton.client.transport.Transport.infer`."""
        result = self._call(
            self.client.infer,
            model,
            version,
            inputs=input_tensors(inputs, InferInput),
            outputs=[InferRequestedOutput(name) for name in outputs],
            priority=priority,
            timeout=queue_timeout_us(timeout_s),
            client_timeout=timeout_s,
        )
        answered = {name: result.as_numpy(name) for name in outputs}
        return Answer(answered, result.get_response().model_version)

    def config(self, model: str, version: str) -> dict[str, Any]:
        """See `lanner.triton.client.transport.Transport.config`."""
        response = self._call(self.client.get_model_config, model, version)
        found: dict[str, Any] = MessageToDict(response.config, preserving_proto_field_name=True)
        return found

    def versions(self, model: str) -> list[str]:
        """See `lanner.triton.client.transport.Transport.versions`."""
        response = self._call(self.client.get_model_metadata, model, "")
        return sorted(response.versions, key=int)

    def server(self) -> dict[str, Any]:
        """See `lanner.triton.client.transport.Monitor.server`."""
        found: dict[str, Any] = MessageToDict(self._send(self.client.get_server_metadata))
        return found

    def statistics(self, model: str, version: str) -> list[dict[str, Any]]:
        """See `lanner.triton.client.transport.Monitor.statistics`."""
        response = self._call(self.client.get_inference_statistics, model, version)
        found = MessageToDict(response, preserving_proto_field_name=True)
        return list(found["model_stats"])

    def close(self) -> None:
        """See `lanner.triton.client.transport.Transport.close`."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    @property
    def client(self) -> Any:
        """The channel; a new one after a fork, which no channel survives."""
        if self._client is None or self._pid != os.getpid():
            with self._lock:
                if self._client is None or self._pid != os.getpid():
                    self._client, self._pid = self._connected(), os.getpid()
        return self._client

    def _connected(self) -> Any:
        address = self._address
        return InferenceServerClient(
            address.host,
            ssl=address.is_encrypted,
            root_certificates=_text(address.root_certificates or _roots()),
            # It finds the key among what else is in a file, but looks in no other.
            private_key=_text(address.private_key or address.certificate_chain),
            certificate_chain=_text(address.certificate_chain),
            channel_args=list(_CHANNEL.items()),
        )

    def _call(self, method: Callable[..., Any], model: str, version: str, **arguments: Any) -> Any:
        """A method of tritonclient that speaks of a model."""
        return self._send(
            method, model, version, model_name=model, model_version=version, **arguments
        )

    def _send(
        self, method: Callable[..., Any], model: str = "", version: str = "", **arguments: Any
    ) -> Any:
        """A method of tritonclient, with the headers and errors of every request."""
        headers = dict(self._address.headers) or None
        try:
            answer = method(headers=headers, **arguments)
        except InferenceServerException as error:
            code = (error.status() or "").removeprefix("StatusCode.")
            detail = error.message() or ""
            raise server_error(
                code,
                detail,
                address=self._address,
                model=model,
                version=version,
                has_answered=self._has_answered,
            ) from None
        self._has_answered = True
        return answer


def _roots() -> Path | None:
    """GRPC brings roots of its own, and would not see those that an administrator added."""
    return None if _ROOTS_VARIABLE in os.environ else system_roots()


def _text(path: Any) -> str | None:
    return None if path is None else str(path)

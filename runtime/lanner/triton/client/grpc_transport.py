"""The gRPC transport, through tritonclient."""

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.request import proxy_bypass

from numpy.typing import NDArray

from lanner.errors import MissingExtraError, ServerError
from lanner.monitoring.traces import current_headers
from lanner.triton.client.certificates import system_roots
from lanner.triton.client.grpc_messages import CountedChannel
from lanner.triton.client.refusal import server_error
from lanner.triton.client.responses import read_versions
from lanner.triton.client.transport import (
    ANSWER_S,
    METADATA_S,
    MOST_BYTES,
    Address,
    ServerAnswer,
    input_tensors,
    queue_timeout_us,
)

try:
    from google.protobuf.json_format import MessageToDict
    from tritonclient.grpc import (
        MAX_GRPC_MESSAGE_SIZE,
        InferenceServerClient,
        InferenceServerException,
        InferInput,
        InferRequestedOutput,
        service_pb2_grpc,
    )
except ImportError as error:
    what = "talking to a Triton server"
    raise MissingExtraError(what, "triton", "tritonclient") from error

#: A server that comes back is found within a second, where gRPC would let two minutes pass between
#: its tries; `min` is the time that one try may take (doc/connection-backoff.md of grpc). A peer
#: that is gone is found out in 20 s; Triton takes questions after it in more than five minutes of
#: silence alone. A channel has a connection of its own, so that a new one is new.
_CHANNEL = {
    "grpc.max_send_message_length": MAX_GRPC_MESSAGE_SIZE,
    "grpc.max_receive_message_length": MOST_BYTES,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 10_000,
    "grpc.max_reconnect_backoff_ms": 1_000,
    "grpc.keepalive_time_ms": 330_000,
    "grpc.keepalive_timeout_ms": 20_000,
    "grpc.use_local_subchannel_pool": 1,
}
#: gRPC's variables for proxies (doc/environment_variables.md of grpc); the first one set counts.
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
#: gRPC's variable for trusted certificates (doc/environment_variables.md of grpc).
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
    ) -> ServerAnswer:
        """See `lanner.triton.client.transport.Transport.infer`."""
        result = self._call(
            self.client.infer,
            model,
            version,
            inputs=input_tensors(inputs, InferInput),
            outputs=[InferRequestedOutput(name) for name in outputs],
            priority=priority,
            timeout=queue_timeout_us(timeout_s),
            client_timeout=ANSWER_S if timeout_s is None else timeout_s,
            is_time_of_caller=timeout_s is not None,
        )
        try:
            if any(output.datatype == "BYTES" for output in result.get_response().outputs):
                msg = "a tensor of BYTES"  # each item of which would be an object
                raise ValueError(msg)
            answered = {name: result.as_numpy(name) for name in outputs}
            return ServerAnswer(answered, str(result.get_response().model_version))
        except Exception as error:  # noqa: BLE001 (of whatever the bytes are no tensor)
            raise self._strange(error) from None

    def config(self, model: str, version: str) -> dict[str, Any]:
        """See `lanner.triton.client.transport.Transport.config`."""
        response = self._call(self.client.get_model_config, model, version)
        found: dict[str, Any] = MessageToDict(response.config, preserving_proto_field_name=True)
        return found

    def versions(self, model: str) -> list[str]:
        """See `lanner.triton.client.transport.Transport.versions`."""
        response = self._call(self.client.get_model_metadata, model, "")
        try:
            return read_versions({"versions": list(response.versions)})
        except ValueError as error:
            raise self._strange(error) from None

    def server(self) -> dict[str, Any]:
        """See `lanner.triton.client.transport.Monitor.server`."""
        found: dict[str, Any] = MessageToDict(self._send(self.client.get_server_metadata))
        return found

    def statistics(self, model: str, version: str) -> list[dict[str, Any]]:
        """See `lanner.triton.client.transport.Monitor.statistics`."""
        response = self._call(self.client.get_inference_statistics, model, version)
        found = MessageToDict(response, preserving_proto_field_name=True)
        return list(found.get("model_stats", []))

    def close(self) -> None:
        """See `lanner.triton.client.transport.Transport.close`."""
        with self._lock:
            if self._client is not None and self._pid == os.getpid():
                self._client.close()
            self._client = None

    @property
    def client(self) -> Any:
        """Return the channel: a new one after a fork, which no channel survives."""
        if self._client is None or self._pid != os.getpid():
            with self._lock:
                if self._client is None or self._pid != os.getpid():
                    self._client, self._pid = self._connected(), os.getpid()
        return self._client

    def _connected(self) -> Any:
        address = self._address
        client = InferenceServerClient(
            address.host,
            ssl=address.is_encrypted,
            root_certificates=_text(address.root_certificates or _roots()),
            # gRPC finds a key among other content of a file, but searches only this file.
            private_key=_text(address.private_key or address.certificate_chain),
            certificate_chain=_text(address.certificate_chain),
            channel_args=[
                *_CHANNEL.items(),
                # gRPC would send even this machine's own traffic there.
                *([("grpc.enable_http_proxy", 0)] if address.is_loopback else []),
            ],
        )
        # tritonclient takes no other way to read an answer.
        stub = service_pb2_grpc.GRPCInferenceServiceStub(CountedChannel(client._channel))
        client._client_stub = stub
        return client

    def _call(self, method: Callable[..., Any], model: str, version: str, **arguments: Any) -> Any:
        """Call a method of tritonclient about a model."""
        return self._send(
            method, model, version, model_name=model, model_version=version, **arguments
        )

    def _send(
        self,
        method: Callable[..., Any],
        model: str = "",
        version: str = "",
        *,
        is_time_of_caller: bool = False,
        client_timeout: float | None = None,
        **arguments: Any,
    ) -> Any:
        """A method of tritonclient, with the headers and errors of every request.

        Args:
            method: The method.
            model: The name of the model, for messages.
            version: Its version.
            is_time_of_caller: True if the time limit is the caller's.
            client_timeout: The time limit in seconds; None for `METADATA_S`.
            arguments: The arguments of the method.
        """
        headers = {**self._address.headers, **current_headers.get()} or None
        asked = getattr(method, "__self__", None)
        allowed_s = METADATA_S if client_timeout is None else client_timeout
        try:
            answer = method(headers=headers, client_timeout=allowed_s, **arguments)
        except InferenceServerException as error:
            code = (error.status() or "").removeprefix("StatusCode.")
            detail = error.message() or ""
            if code == "DEADLINE_EXCEEDED":
                self._give_up(asked)
                if not is_time_of_caller:
                    code, detail = "UNAVAILABLE", f"no answer in {allowed_s:.0f} s"
            if code == "INTERNAL" and "deserializing" in detail:
                unreadable = ValueError("its message is damaged, or has too many parts")
                raise self._strange(unreadable) from None
            if code == "UNAVAILABLE" and (proxy := self._proxy()):
                detail += f"; gRPC goes through the proxy that {proxy} names"
            raise server_error(
                code,
                detail,
                address=self._address,
                model=model,
                version=version,
                has_answered=self._has_answered,
            ) from None
        except (ValueError, TypeError) as error:  # what it answers is not what its type says
            raise self._strange(error) from None
        self._has_answered = True
        return answer

    def _give_up(self, client: Any) -> None:
        """Let the next request open a connection: the present one may be dead.

        Requests of others on the present connection go on, and it closes after them.
        """
        with self._lock:
            if self._client is client:
                self._client = None

    def _strange(self, error: Exception) -> ServerError:
        msg = (
            f"{self._address.url} does not answer as Triton does ({error}): check what runs there, "
            "perhaps a proxy"
        )
        return ServerError(msg)

    def _proxy(self) -> str | None:
        """Return the variable that names the proxy for this address, or None."""
        if self._address.is_loopback or proxy_bypass(self._address.host.rpartition(":")[0]):
            return None
        return next((name for name in _PROXIES if os.environ.get(name)), None)


def _roots() -> Path | None:
    """Return the system's roots: gRPC's own would lack those that an administrator added."""
    return None if _ROOTS_VARIABLE in os.environ else system_roots()


def _text(path: Any) -> str | None:
    return None if path is None else str(path)

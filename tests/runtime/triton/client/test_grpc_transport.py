"""gRPC with servers that do not answer, and behind proxies."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tritonclient.grpc", reason="needs the triton extra")

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from lanner.errors import DeadlineError, ServerError, ServerUnavailableError
from lanner.triton.client import grpc_transport
from lanner.triton.client.grpc_transport import GrpcTransport
from lanner.triton.client.transport import Address

IDS = {"input_ids": np.array([[1, 2]])}


def transport(port: int, host: str = "127.0.0.1") -> GrpcTransport:
    return GrpcTransport(Address.parse(f"grpc://{host}:{port}"))


def ask(made: GrpcTransport, timeout_s: float | None = 10.0) -> Any:
    return made.infer("m", "", IDS, ("y",), timeout_s=timeout_s, priority=0).outputs["y"]


class Service(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Answers what it is given."""

    def __init__(self, shape: list[int], data: bytes, datatype: str = "FP32") -> None:
        self.shape, self.data, self.datatype = shape, data, datatype

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        del request, context
        response = service_pb2.ModelInferResponse(model_name="m", model_version="1")
        response.outputs.add(name="y", datatype=self.datatype, shape=self.shape)
        response.raw_output_contents.append(self.data)
        return response

    def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        del request, context
        return service_pb2.ModelMetadataResponse(name="m", versions=["one"])


@contextmanager
def served(service: Service) -> Iterator[int]:
    server = grpc.server(ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


GOOD = Service([1, 2], np.array([0.5, 2], "<f4").tobytes())


@contextmanager
def relay(port: int, delay_s: float = 0) -> Iterator[tuple[int, threading.Event]]:
    """Yield a port before another one; while the event is set, it accepts data and stays silent."""
    is_silent = threading.Event()
    threads: list[threading.Thread] = []

    def start(work: Callable[..., None], *arguments: socket.socket) -> None:
        threads.append(threading.Thread(target=work, args=arguments, daemon=True))
        threads[-1].start()

    def pass_on(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(2**16):
                if not is_silent.is_set():
                    target.sendall(piece)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def connect(client: socket.socket) -> None:
        time.sleep(delay_s)
        with client, socket.create_connection(("127.0.0.1", port)) as behind:
            start(pass_on, behind, client)
            pass_on(client, behind)

    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    start(connect, server.accept()[0])

        start(accept)
        yield server.getsockname()[1], is_silent
        server.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(10)


def test_an_answer() -> None:
    with served(GOOD) as port:
        made = transport(port)
        assert ask(made).tolist() == [[0.5, 2]]
        made.close()


@pytest.mark.parametrize(
    "service",
    [
        Service([2, 2], b"12345678"),
        Service([-1, 2], b"1234567"),
        Service([1, 2], b"12345678", "NONSENSE"),
        Service([1, 2], b"1", "BYTES"),
    ],
)
def test_an_answer_of_another_type(service: Service) -> None:
    with served(service) as port:
        made = transport(port)
        with pytest.raises(
            ServerError, match=r"does not answer as Triton does \(.*: check what runs there"
        ):
            ask(made)
        with pytest.raises(ServerError, match=r"\(a version that is no number\)"):
            made.versions("m")
        made.close()


def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_transport, "METADATA_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        made = transport(silent.getsockname()[1])
        before = time.monotonic()
        for call in (lambda: made.versions("m"), lambda: made.config("m", "1"), made.server):
            with pytest.raises(ServerUnavailableError, match=r"\(no answer in 1 s\)"):
                call()
        assert time.monotonic() - before < 10
        made.close()


@pytest.mark.slow
def test_a_swallowed_connection_is_left_behind() -> None:
    with served(GOOD) as port, relay(port) as (before, is_silent):
        made = transport(before)
        assert ask(made).tolist() == [[0.5, 2]]
        first = made.client
        is_silent.set()
        with pytest.raises(DeadlineError):
            ask(made, timeout_s=0.5)
        is_silent.clear()  # for new connections: the old one has lost the sent data
        assert made.client is not first
        assert ask(made, timeout_s=10).tolist() == [[0.5, 2]]
        made.close()


def test_a_handshake_may_take_longer_than_the_time_between_tries() -> None:
    with served(GOOD) as port, relay(port, delay_s=0.5) as (slow, _):
        made = transport(slow)
        assert ask(made).tolist() == [[0.5, 2]]
        made.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_behind_no_proxy(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with served(GOOD) as port:
        made = transport(port, host)
        assert ask(made).tolist() == [[0.5, 2]]
        made.close()


def test_a_proxy_in_between_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY", "https_proxy", "grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    made = transport(8001, "triton.example")
    message = r"; gRPC goes through the proxy that http_proxy names\): see whether it runs"
    with pytest.raises(ServerUnavailableError, match=message):
        ask(made, timeout_s=None)
    made.close()

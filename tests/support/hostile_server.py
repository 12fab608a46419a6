"""Tiny servers that answer any bytes that a test wants, over HTTP and gRPC."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

#: Sends an answer to the given request.
Answer = Callable[[socket.socket, bytes], None]
#: Returns the bytes of an answer to a gRPC call with the given context.
GrpcAnswer = Callable[[Any], bytes]


@contextmanager
def answering(answer: Answer) -> Iterator[int]:
    """Yield the port of a server that always gives this answer, and keeps connections open."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(client: socket.socket) -> None:
            with client, suppress(OSError):
                while (request := _request(client)) and not ended.is_set():
                    answer(client, request)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = server.accept()
                    threading.Thread(target=serve, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield server.getsockname()[1]
        finally:
            ended.set()
            server.shutdown(socket.SHUT_RDWR)


def saying(*parts: bytes) -> Answer:
    """Return an answer that is always the same."""

    def answer(client: socket.socket, request: bytes) -> None:
        for part in parts:
            client.sendall(part)

    return answer


def routed(answers: Mapping[str, Answer]) -> Answer:
    """Return an answer that depends on the end of the request's path; the first match counts."""

    def answer(client: socket.socket, request: bytes) -> None:
        path = request.split(b" ", 2)[1].decode()
        next(one for end, one in answers.items() if path.endswith(end))(client, request)

    return answer


def hanging_up(*parts: bytes) -> Answer:
    """Return an answer that is always the same and ends the connection."""

    def answer(client: socket.socket, request: bytes) -> None:
        saying(*parts)(client, request)
        client.shutdown(socket.SHUT_RDWR)

    return answer


@contextmanager
def grpc_answering(answers: Mapping[str, GrpcAnswer], **options: Any) -> Iterator[int]:
    """Yield the port of a real gRPC server that answers methods of Triton's service with bytes.

    Args:
        answers: The answers by the name of the method; they are looked up at each call.
        options: The options of `grpc.server`.
    """
    import grpc  # noqa: PLC0415 (an extra)

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, call: Any) -> Any:
            def answer(_: bytes, context: Any) -> bytes:
                return answers[call.method.rpartition("/")[2]](context)

            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(ThreadPoolExecutor(2), handlers=[Handler()], **options)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


def page(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """Return a whole HTTP answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def dripping(start: bytes, drop: bytes, every_s: float = 0.05) -> Answer:
    """Return an answer without an end, sent drop by drop."""

    def answer(client: socket.socket, request: bytes) -> None:
        client.sendall(start)
        while True:
            client.sendall(drop)
            time.sleep(every_s)

    return answer


def _request(client: socket.socket) -> bytes:
    """Return the head and the body of an HTTP request."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = client.recv(2**16)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (
            int(line.partition(b":")[2])
            for line in head.splitlines()
            if line.lower().startswith(b"content-length")
        ),
        0,
    )
    while len(body) < length:
        piece = client.recv(2**16)
        if not piece:
            return b""
        body += piece
    return head + b"\r\n\r\n" + body

"""Answers over gRPC that Triton never gives."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("tritonclient.grpc", reason="needs the triton extra")

import grpc
from google.protobuf.json_format import ParseDict, ParseError
from tests.support.bounds import cases, use
from tests.support.forged_server import ForgedServer, bounded
from tests.support.hostile_server import GrpcAnswer, answering, dripping, grpc_answering, hanging_up
from tests.support.mutations import changed, damaged
from tests.support.served_words import (
    ANSWERS,
    DATATYPES,
    Tensors,
    connected,
    other_tensors,
    recarried,
)
from tritonclient.grpc import service_pb2

from lanner.triton.client import grpc_transport
from lanner.triton.client.grpc_messages import require_few_parts

pytestmark = pytest.mark.slow
Server = ForgedServer[GrpcAnswer]


@pytest.fixture(scope="module", autouse=True)
def bounds() -> Iterator[None]:
    received = {"grpc.max_receive_message_length": 2**22}
    with bounded(grpc_transport, _CHANNEL={**grpc_transport._CHANNEL, **received}):
        yield


def metadata(versions: list[str]) -> bytes:
    made = service_pb2.ModelMetadataResponse(name="m", versions=versions, platform="python")
    return bytes(made.SerializeToString())


def config_of(content: dict[str, Any]) -> bytes:
    made = service_pb2.ModelConfigResponse()
    ParseDict(content, made.config, ignore_unknown_fields=True)
    return bytes(made.SerializeToString())


def answer(tensors: Tensors) -> Any:
    made = service_pb2.ModelInferResponse(model_name="m", model_version="1")
    for name, one in tensors.items():
        made.outputs.add(name=name, datatype=DATATYPES[one.dtype.str[1:]], shape=one.shape)
        made.raw_output_contents.append(one.tobytes())
    return made


def saying(content: bytes) -> GrpcAnswer:
    return lambda _: content


def whole(config: dict[str, Any], head: str) -> dict[str, bytes]:
    return {
        "ModelMetadata": metadata(["1"]),
        "ModelConfig": config_of(config),
        "ModelInfer": answer(ANSWERS[head]).SerializeToString(),
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server("grpc", tmp_path_factory.mktemp("served"), whole, saying)
    with grpc_answering(made.answers, compression=grpc.Compression.NoCompression) as made.port:
        yield made


@pytest.mark.parametrize("head", sorted(ANSWERS))
def test_what_triton_answers_is_an_answer(server: Server, head: str) -> None:
    server.become(head)
    assert server.ask() is None


of_routes = st.sampled_from(("ModelMetadata", "ModelConfig", "ModelInfer"))


@cases(300)
@given(data=st.data())
def test_bytes(server: Server, data: st.DataObject) -> None:
    """Answer with messages that the schema reads differently, or not at all."""
    head = data.draw(st.sampled_from(sorted(ANSWERS)))
    server.become(head)
    route = data.draw(of_routes)
    content = data.draw(damaged(server.whole(head)[route]))
    server.answers[route] = lambda _: content
    server.ask()


@cases(250)
@given(data=st.data())
def test_messages(server: Server, data: st.DataObject) -> None:
    """Answer with other tensors, configurations and versions."""
    head = data.draw(st.sampled_from(sorted(ANSWERS)))
    server.become(head)
    kind = data.draw(st.sampled_from(("tensors", "raw", "config", "carried", "versions")))
    route, content = "ModelConfig", b""
    if kind == "versions":
        route = "ModelMetadata"
        versions = st.sampled_from(("1", "2", "0", "-1", "", "x", "9" * 5_000, "\u0661", "1\n"))
        content = metadata(data.draw(st.lists(versions, max_size=3)))
    elif kind == "config":
        try:
            content = config_of(data.draw(changed(server.configs[head])))
        except (ParseError, ValueError, TypeError, AttributeError):
            content = b""
    elif kind == "carried":
        content = config_of(data.draw(recarried(server.configs[head])))
    else:
        route = "ModelInfer"
        made = answer(data.draw(other_tensors(ANSWERS[head])))
        if kind == "raw":
            _spoil(made, data)
        content = made.SerializeToString()
    server.answers[route] = lambda _: content
    server.ask()


def _spoil(made: Any, data: st.DataObject) -> None:
    """Let an answer contradict itself."""
    if not made.outputs:
        return
    output = made.outputs[0]
    kind = data.draw(st.sampled_from(("shape", "datatype", "cut", "more", "typed", "version")))
    if kind == "shape":
        sizes = st.sampled_from((-1, 0, 1, 3, 2**31, 2**62))
        del output.shape[:]
        output.shape.extend(data.draw(st.lists(sizes, max_size=40)))
    elif kind == "datatype":
        names = (
            "",
            "FP64",
            "FP16",
            "BF16",
            "BYTES",
            "BOOL",
            "UINT64",
            "INVALID",
            "fp32",
            "x" * 999,
        )
        output.datatype = data.draw(st.sampled_from(names))
    elif kind == "cut":
        made.raw_output_contents[0] = made.raw_output_contents[0][:-3]
    elif kind == "more":
        made.raw_output_contents.append(b"more")
    elif kind == "typed":
        del made.raw_output_contents[:]
        output.contents.fp32_contents.extend([1.0, float("nan")])
    else:
        made.model_version = data.draw(st.sampled_from(("", "2", "x" * 10_000, "\0")))


@cases(100)
@given(data=st.data())
def test_refusals(server: Server, data: st.DataObject) -> None:
    """Answer with any status, any text, and trailers."""
    server.become("embed")
    code = data.draw(st.sampled_from([code for code in grpc.StatusCode if code.value[0]]))
    words = (
        "",
        "no",
        "\x1b[2J",
        "é\u202e",
        "x" * 4_000,
        "{what} %s",
        "\n\nAt:\n  x",
        "failed to connect",
    )
    detail = data.draw(st.sampled_from(words))
    trailers = data.draw(
        st.sampled_from(
            (
                (),
                (("grpc-status-details-bin", b"\xff\xfe"),),
                (("x-bin", b"\0" * 1_000), ("retry-after", "x")),
            )
        )
    )

    def refuse(context: Any) -> bytes:
        context.set_trailing_metadata(trailers)
        context.abort(code, detail)
        raise AssertionError

    server.answers[data.draw(of_routes)] = refuse
    assert server.ask() is not None


@pytest.mark.parametrize("route", ["ModelMetadata", "ModelConfig", "ModelInfer"])
@pytest.mark.parametrize("is_packed", [False, True])
def test_messages_that_are_too_large(server: Server, route: str, is_packed: bool) -> None:
    def fill(context: Any) -> bytes:
        if is_packed:
            context.set_compression(grpc.Compression.Gzip)
        return b"\x0a\x80\x80\x80\x10" + b"m" * 2**25

    server.become("embed")
    server.answers[route] = fill
    assert server.ask() is not None


@pytest.mark.parametrize(
    ("route", "part"),
    [
        ("ModelInfer", b"\x2a\x00"),  # tensors without anything
        ("ModelInfer", b"\x22\x00"),  # parameters
        ("ModelInfer", b"\x32\x00"),  # contents
        ("ModelMetadata", b"\x12\x00"),  # versions
        ("ModelConfig", b"\x0a\x02\x2a\x00"),  # configurations with an input
    ],
)
def test_millions_of_parts_without_anything(server: Server, route: str, part: bytes) -> None:
    server.become("embed")
    server.answers[route] = saying(part * (2**22 // len(part) - 64))
    error = server.ask()
    said = "does not answer as Triton does (its message is damaged, or has too many parts): check"
    assert said in str(error), error


def test_a_tensor_of_millions_of_objects(server: Server) -> None:
    server.become("embed")
    made = answer(ANSWERS["embed"])
    made.outputs[0].datatype = "BYTES"
    del made.outputs[0].shape[:]
    made.outputs[0].shape.append(2**20 - 64)
    made.raw_output_contents[0] = b"\0\0\0\0" * (2**20 - 64)
    server.answers["ModelInfer"] = saying(made.SerializeToString())
    assert "does not answer as Triton does (a tensor of BYTES): check" in str(server.ask())


def varint(value: int) -> bytes:
    groups = [value >> shift & 127 for shift in range(0, 28, 7)]
    return bytes([*(group | 128 for group in groups[:-1]), groups[-1]])


def test_parts_within_parts_count_too() -> None:
    inner = b"\x22\x00" * 2**18  # parameters of a tensor
    kind = service_pb2.ModelInferResponse.DESCRIPTOR
    whole = b"\x2a" + varint(len(inner)) + inner
    with pytest.raises(ValueError, match=r"^a message of more than 131,072 parts$"):
        require_few_parts(whole, kind)
    shape = b"\x1a" + varint(2**22) + b"\x01" * 2**22
    with pytest.raises(ValueError, match=r"^a message of more than 131,072 parts$"):
        require_few_parts(b"\x2a" + varint(len(shape)) + shape, kind)
    require_few_parts(b"\x32" + varint(2**24) + b"\x2a\x00" * 2**23, kind)  # a tensor's bytes


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" * 3,
        b"\x00\x00\x00\x07\x00\x00\x00\x00\x00",
        b"\x15\x03\x01\x00\x02\x02F",
        b"\xff" * 10_000,
    ],
)
def test_what_is_no_grpc(content: bytes) -> None:
    with answering(hanging_up(content)) as port:
        assert use(lambda: connected(f"grpc://127.0.0.1:{port}")) is not None
    with answering(dripping(content, b"\x00", 0.02)) as port:
        assert use(lambda: connected(f"grpc://127.0.0.1:{port}")) is not None

"""HTTP with servers whose answers Triton would never give."""

import gzip
import json
import os
import random
import re
import threading
import time
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tritonclient.http", reason="needs the triton extra")

from tests.support.hostile_server import Answer, answering, dripping, page, saying

from lanner.errors import DeadlineError, LannerError, ServerError, ServerUnavailableError
from lanner.triton.client import http_transport
from lanner.triton.client.http_transport import HttpTransport
from lanner.triton.client.transport import Address

IDS = {"input_ids": np.array([[1, 2]])}
LENGTH = "Inference-Header-Content-Length"


def transport(port: int) -> HttpTransport:
    return HttpTransport(Address.parse(f"http://127.0.0.1:{port}"))


def ask(answer: Answer, timeout_s: float | None = 10.0) -> dict[str, Any]:
    with answering(answer) as port:
        made = transport(port)
        try:
            found = made.infer("m", "", IDS, ("y",), timeout_s=timeout_s, priority=0)
        finally:
            made.close()
    return {name: None if one is None else one.tolist() for name, one in found.outputs.items()}


def tensors(outputs: object, data: bytes = b"", **more: object) -> bytes:
    head = json.dumps({"model_name": "m", "model_version": "1", "outputs": outputs, **more})
    return page(head.encode() + data, f"{LENGTH}: {len(head)}")


def output(**changes: object) -> dict[str, object]:
    size = {"binary_data_size": 8}
    return {"name": "y", "datatype": "FP32", "shape": [1, 2], "parameters": size, **changes}


DATA = np.array([[0.5, 2]], "<f4").tobytes()


def test_tensors_as_bytes_and_as_json() -> None:
    assert ask(saying(tensors([output()], DATA))) == {"y": [[0.5, 2]]}
    other = output(name="z", datatype="INT64", shape=[1])
    both = tensors([other, output()], np.array([7]).tobytes() + DATA)
    assert ask(saying(both)) == {"y": [[0.5, 2]]}
    plain = output(parameters={}, data=[0.5, 2])
    assert ask(saying(tensors([plain]))) == {"y": [[0.5, 2]]}
    assert ask(saying(tensors([]))) == {"y": None}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (page(b"<html>maintenance</html>"), "Expecting value"),
        (page(b""), "Expecting value"),
        (page(b"[" * 10**6), "nested too deeply"),
        (page(b"[]"), "not a JSON object"),
        (page(b'{"outputs": [NaN]}'), "it holds NaN, which is not JSON"),
        (page(b"{}", f"{LENGTH}: -1"), "no length of its header"),
        (page(b"{}", f"{LENGTH}: many"), "no length of its header"),
        (page(b"{}", f"{LENGTH}: 99999999999999999999"), "no length of its header"),
        (page(b"{}", f"{LENGTH}: 3"), "shorter than its header says"),
        (tensors({}), "no list of outputs"),
        (tensors([1]), "an output without a name"),
        (tensors([output(datatype="BYTES")], DATA), "an output of the type 'BYTES'"),
        (tensors([output(shape="x")], DATA), "an output of no shape"),
        (tensors([output(shape=[-1, 2])], DATA), "an output of no shape"),
        (tensors([output(shape=[True, 2])], DATA), "an output of no shape"),
        (tensors([output(shape=[1] * 9)], DATA), "an output of no shape"),
        (tensors([output(shape=[10**30, 2])], DATA), "an output of 8" + "0" * 30),
        (tensors([output(shape=[3, 2])], DATA), "an output of 24 bytes that has 8"),
        (tensors([output()], DATA[:4]), "an output of 8 bytes that has 8"),
        (tensors([output(parameters={"binary_data_size": -8})], DATA), "that has -8"),
        (tensors([output(parameters=None)]), "an output without data"),
        (tensors([output(parameters=None, data=["x", "y"])]), "could not convert"),
        (tensors([output(parameters=None, data=[{}, []])]), "sequence"),
        (tensors([output(parameters=None, data=[1])]), "1 values in an output of 2"),
    ],
)
def test_what_is_no_answer_of_triton(answer: bytes, problem: str) -> None:
    message = (
        rf"^http://127\.0\.0\.1:\d+/v2/models/m/infer does not answer as Triton does \(.*{problem}"
    )
    with pytest.raises(ServerError, match=message):
        ask(saying(answer))


@pytest.mark.parametrize("path", ["config", "versions", "server", "statistics"])
@pytest.mark.parametrize("body", [b"<html>maintenance</html>", b"[]", b"7", b"{", b"\xff"])
def test_a_page_instead_of_metadata(path: str, body: bytes) -> None:
    with answering(saying(page(body, "Content-Type: text/html"))) as port:
        made = transport(port)
        arguments = {"config": ("m", "1"), "versions": ("m",), "statistics": ("m", "1")}
        with pytest.raises(
            ServerError, match=r"does not answer as Triton does \(.*: check what runs there"
        ):
            getattr(made, path)(*arguments.get(path, ()))
        made.close()


@pytest.mark.parametrize(
    "versions", [None, [], "1", [1], ["one"], ["-1"], [None], {"1": 1}, ["\u0661"]]
)
def test_versions_that_are_none(versions: object) -> None:
    with (
        answering(saying(page(json.dumps({"versions": versions}).encode()))) as port,
        pytest.raises(ServerError, match=r"\((no versions in it|a version that is no number)\)"),
    ):
        transport(port).versions("m")


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a" * 10**5 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 twohundred\r\n\r\n",
    ],
)
def test_what_is_no_http(answer: bytes) -> None:
    with pytest.raises(ServerError):
        ask(saying(answer))


def test_a_length_of_minus_one_and_an_answer_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_transport, "MOST_BYTES", 10**6)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"
    message = r"answers more than 1,000,000 bytes: check what runs there$"
    with pytest.raises(ServerError, match=message):
        ask(dripping(head, b"x" * 50_000, every_s=0))


def test_an_answer_that_unpacks() -> None:
    bomb = gzip.compress(b" " * 10**7)
    message = r"answers compressed, although nobody asked for that: check what runs there$"
    with pytest.raises(ServerError, match=message):
        ask(saying(page(bomb, "Content-Encoding: gzip")))
    with pytest.raises(LannerError, match=r"answered 418: "):
        ask(saying(page(bomb, "Content-Encoding: gzip", status="418 no")))


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_an_answer_that_drips_ends_with_its_time(start: bytes) -> None:
    drop = b"1\r\nx\r\n" if b"chunked" in start else b"x"
    # The answer has no end: without the deadline this test has none either.
    with pytest.raises(DeadlineError, match=r"^the deadline passed before the model m on http"):
        ask(dripping(start, drop), timeout_s=0.4)
    with pytest.raises(DeadlineError):
        ask(lambda client, request: time.sleep(3), timeout_s=0.2)


def test_without_a_time_of_the_caller_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_transport, "ANSWER_S", 0.3)
    monkeypatch.setattr(http_transport, "METADATA_S", 0.2)
    with pytest.raises(ServerUnavailableError, match=r"\(no whole answer in 0 s\)"):
        ask(dripping(b"HTTP/1.1 200 OK\r\n", b"x"), timeout_s=None)
    with answering(dripping(b"", b"x")) as port:
        for call in (
            lambda: transport(port).config("m", "1"),
            lambda: transport(port).versions("m"),
        ):
            with pytest.raises(ServerUnavailableError, match=r"\(no whole answer in 0 s\)"):
                call()


def test_a_connection_is_used_again_after_its_deadline() -> None:
    with answering(saying(tensors([output()], DATA))) as port:
        made = transport(port)
        for _ in range(3):
            assert made.infer("m", "", IDS, ("y",), timeout_s=0.3, priority=0).version == "1"
            time.sleep(0.2)
        made.close()


def test_a_forked_child_has_connections_of_its_own() -> None:
    seen: list[object] = []

    def answer(client: Any, request: bytes) -> None:
        seen.append(client.getpeername())
        client.sendall(tensors([output()], DATA))

    with answering(answer) as port:
        made = transport(port)
        made.infer("m", "", IDS, ("y",), timeout_s=10, priority=0)
        for _ in range(2):
            pid = os.fork()
            if pid == 0:
                try:
                    made.infer("m", "", IDS, ("y",), timeout_s=10, priority=0)
                    os._exit(0)
                except BaseException:  # noqa: BLE001 (a child of a fork ends here)
                    os._exit(1)
            assert os.waitpid(pid, 0)[1] == 0
        made.infer("m", "", IDS, ("y",), timeout_s=10, priority=0)
        made.close()
    assert len(set(seen)) == 3
    assert seen[0] == seen[3]


def test_answers_that_are_damaged_anywhere_are_errors_of_lanner() -> None:
    rng = random.Random(20)  # noqa: S311 (the same each time)
    good = tensors([output(), output(name="z")], DATA * 2)
    answers: list[bytes] = []

    def answer(client: Any, request: bytes) -> None:
        client.sendall(answers[-1])
        client.shutdown(1)

    with answering(answer) as port:
        made = transport(port)
        failed = 0
        for _ in range(300):
            damaged = bytearray(good)
            for _ in range(rng.randint(1, 4)):
                place = rng.randrange(len(damaged))
                kind = rng.randrange(3)
                if kind == 0:
                    damaged[place] = rng.randrange(256)
                elif kind == 1:
                    del damaged[place : place + rng.randint(1, 9)]
                else:
                    damaged[place:place] = rng.randbytes(rng.randint(1, 9))
            answers.append(bytes(damaged))
            with suppress(LannerError):
                failed += 1
                made.infer("m", "", IDS, ("y",), timeout_s=5, priority=0)
                failed -= 1
        made.close()
    assert failed > 200


def test_threads_share_the_connections() -> None:
    with answering(saying(tensors([output()], DATA))) as port:
        made = transport(port)
        found: list[str] = []

        def work() -> None:
            found.extend(
                made.infer("m", "", IDS, ("y",), timeout_s=10, priority=0).version
                for _ in range(20)
            )

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        made.close()
    assert found == ["1"] * 80


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert ask(saying(tensors([output()], DATA))) == {"y": [[0.5, 2]]}


def test_the_name_of_an_error_is_short() -> None:
    with pytest.raises(LannerError) as failed:
        ask(saying(page(b"x" * 10**6, status="500 no")))
    assert len(str(failed.value)) < 500
    assert re.match(r"the model m on http://127\.0\.0\.1:\d+ failed: x+", str(failed.value))

"""The service under load, slow and hostile clients, and in its life: over TCP."""

import json
import math
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("uvicorn", reason="needs the extra 'service'")
pytest.importorskip("onnx", reason="needs the export extra to write a graph")

from tests.support.hostile_requests import is_whole, status
from tests.support.service import Answer, Service, serving
from tests.support.word_artifact import write_manifest, write_word_artifact

from lanner.engines import Engine


class HeldEngine:
    """A real engine that answers when it is told to."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name, self.run_tokens = engine.name, engine.run_tokens
        self.has_begun, self.may_go = threading.Event(), threading.Event()
        self.rows: list[int] = []

    def run(
        self,
        inputs: Mapping[str, NDArray[np.int64]],
        *,
        is_alone: bool = False,
        deadline_s: float | None = None,
    ) -> NDArray[np.float32]:
        del deadline_s
        self.rows.append(len(inputs["input_ids"]))
        self.has_begun.set()
        assert self.may_go.wait(timeout=20)
        return self._engine.run(inputs, is_alone=is_alone)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_word_artifact(tmp_path_factory.mktemp("words") / "words.lanner")


@pytest.fixture(scope="module")
def service(words: Path) -> Iterator[Service]:
    limits = {"max_body_bytes": 10_000, "max_texts": 5, "max_text_characters": 1_000}
    with serving(
        {"words": words}, head_timeout_s=0.3, body_timeout_s=0.3, max_header_bytes=4_096, **limits
    ) as running:
        yield running


@contextmanager
def held(words: Path, **settings: Any) -> Iterator[tuple[Service, HeldEngine]]:
    """Yield a service whose engine waits."""
    with serving({"words": words}, **{"threads": 1, **settings}) as service:
        assert service.get("/health").status == 200  # the models have answered once by then
        runner = service.app.pipeline.catalogue.models["words"].model.runner
        engine = HeldEngine(runner.engine)
        runner.engine = engine
        runner.scheduler.token_s = math.inf  # none runs on the event loop, which would wait, too
        try:
            yield service, engine
        finally:
            engine.may_go.set()


def in_background(service: Service, texts: list[str]) -> tuple[threading.Thread, list[Answer]]:
    answers: list[Answer] = []
    thread = threading.Thread(
        target=lambda: answers.append(service.post("/v1/embeddings", {"input": texts}))
    )
    thread.start()
    return thread, answers


def waiting(service: Service, tokens: int) -> None:
    while service.app.pipeline.queue.tokens < tokens:
        time.sleep(0.005)


def raw(service: Service, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """Return all that the service answers to bytes."""
    with socket.create_connection(("127.0.0.1", service.door.port), timeout=10) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause_s)
        found = b""
        while piece := connection.recv(65_536):
            found += piece
        return found


def head(length: int, *headers: str) -> bytes:
    lines = ["POST /v1/embeddings HTTP/1.1", "Host: x", f"Content-Length: {length}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"input": ["a"] * 6}, "the request has 6 texts, and may have 5"),
        ({"input": ["a", "b" * 1_001]}, "the text at index 1 has 1,001 characters, and may have"),
        ({"input": "a", "user": "x" * 10_000}, "the body may have 10,000 bytes"),
    ],
    ids=["texts", "characters", "bytes"],
)
def test_a_request_that_is_too_large_is_413(service: Service, content: object, said: str) -> None:
    answer = service.post("/v1/embeddings", content)
    assert answer.status == 413
    assert said in answer.json["error"]["message"]


def test_a_body_whose_length_is_not_told_is_bounded_too(service: Service) -> None:
    chunk = b"1000\r\n" + b"x" * 0x1000 + b"\r\n"
    start = b"POST /embed HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    found = raw(service, start + chunk * 4 + b"0\r\n\r\n" + b"GET / HTTP/1.0\r\n\r\n")
    assert found.startswith(b"HTTP/1.1 413 ")


def test_bodies_are_bounded_together(words: Path) -> None:
    content = {"input": "a " * 500}  # about a kilobyte
    with held(words, max_bytes_in_flight=2_500) as (service, engine):
        first = [in_background(service, ["a " * 500])[0] for _ in range(2)]
        while service.app.pipeline.figures.in_flight < 2:
            time.sleep(0.005)
        waiting(service, 8)
        answer = service.post("/v1/embeddings", content)
        assert (answer.status, answer.json["error"]["code"]) == (429, "overloaded")
        assert re.fullmatch(
            r"bodies of 2,\d+ bytes are being answered already: try again later",
            answer.json["error"]["message"],
        )
        assert "retry-after" in answer.headers
        small = in_background(service, ["a"])[0]  # there is room for it
        waiting(service, 9)
        engine.may_go.set()
        for thread in (*first, small):
            thread.join()
        assert service.post("/v1/embeddings", content).status == 200
        # One that is alone may have any size that a body may have.
        assert service.post("/v1/embeddings", {"input": "a " * 5_000}).status == 200


def test_requests_that_the_loop_is_late_with_are_refused_unread(
    words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b'{"input": "a"}'
    with serving({"words": words}) as service, ExitStack() as stack:
        kept = [
            stack.enter_context(
                socket.create_connection(("127.0.0.1", service.door.port), timeout=20)
            )
            for _ in range(6)
        ]

        def answer(connection: socket.socket) -> bytes:
            found = b""
            while not is_whole(found):
                found += connection.recv(65_536)
            return found

        for connection in kept:  # each is accepted
            connection.sendall(head(len(body)) + body)
            assert status(answer(connection)) == 200
        reading = threading.Event()

        def check(*_: object) -> None:
            reading.set()
            time.sleep(0.7)  # of the event loop

        monkeypatch.setattr(service.app.pipeline, "check", check)
        kept[0].sendall(head(len(body)) + body)
        reading.wait(20)
        # All of them come while the loop is busy: the first one alone has its turn at once.
        for connection in kept[1:]:
            connection.sendall(head(len(body)) + body)
        assert status(answer(kept[0])) == 200
        answers = sorted(map(answer, kept[1:]), key=status)
        assert [status(one) for one in answers] == [200, 429, 429, 429, 429]
        assert b"\r\nretry-after: 1\r\n" in answers[-1]
        assert re.search(
            rb"the service is [01]\.\d s behind with reading requests: try again later", answers[-1]
        )


def test_the_tokens_of_a_request_are_bounded(words: Path) -> None:
    ids = {"shape": [3, 2], "datatype": "INT64", "data": [2] * 6}
    tensors = [{"name": name, **ids} for name in ("input_ids", "attention_mask")]
    with serving({"words": words}, max_tokens=5) as service:
        assert service.post("/v1/embeddings", {"input": ["a b", "a b c"]}).status == 200
        assert service.post("/v1/embeddings", {"input": "a " * 500}).status == 200  # cut to four
        answer = service.post("/v1/embeddings", {"input": ["a b c", "a b c"]})
        assert answer.status == 413
        assert answer.json["error"]["message"] == "the request has 6 tokens, and may have 5"
        assert service.post("/v2/models/words/infer", {"inputs": tensors}).status == 413


_STOPPED_AT_ONCE = """
import os, signal, sys
from lanner.machine.interruption import handled
from lanner.service.connection import ServiceConfig
from lanner.service.server import Door
from lanner.service.settings import Settings
def stop(*_):
    os.kill(os.getpid(), signal.SIGTERM)
if sys.argv[2] == "loop":  # between the first line of the server and its own handlers
    make = ServiceConfig.get_loop_factory
    ServiceConfig.get_loop_factory = lambda self: (stop(), make(self))[1]
door = Door(Settings(models={"words": sys.argv[1]}, port=0, workers=int(sys.argv[3])))
with handled():
    door.serve(stop if sys.argv[2] == "ready" else lambda _: None)
"""


@pytest.mark.parametrize(("when", "workers"), [("ready", 1), ("ready", 2), ("loop", 1)])
def test_a_signal_before_the_first_request_ends_it_quietly(
    words: Path, when: str, workers: int
) -> None:
    command = [sys.executable, "-c", _STOPPED_AT_ONCE, str(words), when, str(workers)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGTERM, "", "")


def test_a_compressed_body_is_415(service: Service) -> None:
    answer = service.post("/v1/embeddings", b"\x1f\x8b", content_encoding="gzip")
    assert (answer.status, answer.json["error"]["code"]) == (415, "encoded")


def test_a_body_that_comes_slowly_is_408(service: Service) -> None:
    found = raw(service, head(100, "Connection: close"), b'{"input"')
    assert found.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "sent", [b"", b"POST /v1/embeddings HTTP/1.1\r\nHost:"], ids=["no", "half"]
)
def test_a_head_that_does_not_come_is_408(service: Service, sent: bytes) -> None:
    assert raw(service, sent).startswith(b"HTTP/1.1 408 ")


def test_a_head_that_is_too_large_is_431(service: Service) -> None:
    found = raw(service, head(0, "X-Long: " + "x" * 5_000))
    assert found.startswith(b"HTTP/1.1 431 ")
    # It never ends.
    found = raw(service, b"GET /health HTTP/1.1\r\n" + (b"X: " + b"y" * 1_000 + b"\r\n") * 6)
    assert b"HTTP/1.1 431 " in found


def test_the_wait_for_a_turn_is_told_apart_from_the_run(
    words: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with held(words, log="json", access_log=True) as (service, engine):
        first, _ = in_background(service, ["a"])
        engine.has_begun.wait(20)
        answers: list[Answer] = []
        second = threading.Thread(
            target=lambda: answers.append(service.post("/embed", {"inputs": "b"}))
        )
        second.start()
        waiting(service, 2)
        time.sleep(0.4)
        engine.may_go.set()
        first.join()
        second.join()
        (answer,) = answers
        assert 390 <= int(answer.headers["x-queue-time"]) <= int(answer.headers["x-total-time"])
        assert int(answer.headers["x-inference-time"]) < 390
        alone = service.post("/embed", {"inputs": "b"})
        assert int(alone.headers["x-queue-time"]) < 390
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if "{" in line]
    held_back, waited = (one["parts_ms"] for one in lines[-3:-1])
    assert held_back["model"] > 390 > held_back["queue"]
    assert waited["queue"] > 390 > waited["model"]
    assert {"read", "decode", "tokenize", "queue", "model", "encode"} == waited.keys()


def test_connections_are_bounded(words: Path) -> None:
    with serving({"words": words}, max_connections=2) as service:
        address = ("127.0.0.1", service.door.port)
        with socket.create_connection(address), socket.create_connection(address):
            time.sleep(0.1)
            found = raw(service, b"")
        assert found.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1\r\n" in found


def test_requests_in_a_row_on_one_connection_are_answered_in_their_order(
    service: Service,
) -> None:
    bodies = [json.dumps({"input": text}).encode() for text in ("a", "b", "c")]
    requests = b"".join(head(len(body)) + body for body in bodies[:2])
    found = raw(service, requests + head(len(bodies[2]), "Connection: close") + bodies[2])
    lines = [line for line in found.split(b"\r\n") if line.startswith(b'{"object"')]
    places = [json.loads(line.partition(b"HTTP/1.1")[0])["data"][0]["embedding"] for line in lines]
    assert places == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]


def test_paths_and_methods_that_are_not_there(service: Service) -> None:
    answer = service.ask("PUT", "/v1/embeddings", b"{}", {})
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert service.get("/v1/nothing").json["error"]["code"] == "not_found"
    assert service.get("/nothing").json["error_type"] == "Validation"
    for path in ("/..%2f..%2fetc/passwd", "//embed", "/v1/embeddings/", "/%00", "/models/"):
        assert service.get(path).status == 404
    assert service.ask("HEAD", "/health", None, {}).status == 200


def test_an_id_of_the_client_comes_back_unless_it_could_do_harm(service: Service) -> None:
    assert service.get("/health", x_request_id="abc-1").headers["x-request-id"] == "abc-1"
    for bad in ("a b", "x" * 200, '"'):
        assert service.get("/health", x_request_id=bad).headers["x-request-id"] not in (bad, "")


def test_what_waits_is_bounded_in_tokens_and_the_rest_is_429(words: Path) -> None:
    with held(words, max_queue_tokens=6) as (service, engine):
        first, first_answers = in_background(service, ["a a"])
        assert engine.has_begun.wait(10)
        second, second_answers = in_background(service, ["b b b b"])
        waiting(service, 6)
        refused = service.post("/v1/embeddings", {"input": "c"})
        assert refused.status == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert int(refused.headers["retry-after-ms"]) >= 1
        assert refused.json["error"]["message"].startswith("6 tokens wait for the models already")
        assert service.post("/embed", {"inputs": "c"}).json["error_type"] == "Overloaded"
        engine.may_go.set()
        first.join()
        second.join()
        assert [answer.status for answer in first_answers + second_answers] == [200, 200]
        # A request that is larger than the bound runs where nothing waits.
        assert service.post("/v1/embeddings", {"input": ["a b c d"] * 3}).status == 200
        assert service.app.pipeline.queue.tokens == 0


def test_requests_of_many_connections_run_together(words: Path) -> None:
    with held(words) as (service, engine):
        first, _ = in_background(service, ["a"])
        assert engine.has_begun.wait(10)
        others = [in_background(service, ["b"]) for _ in range(8)]
        waiting(service, 9)
        engine.may_go.set()
        first.join()
        for thread, answers in others:
            thread.join()
            assert answers[0].json["data"][0]["embedding"] == [0, 1, 0, 0]
        assert engine.rows == [1, 8]


def test_a_request_without_an_answer_in_time_is_refused(words: Path) -> None:
    with held(words, request_timeout_s=0.2) as (service, engine):
        answer = service.post("/v1/embeddings", {"input": "a"})
        assert (answer.status, answer.json["error"]["code"]) == (429, "overloaded")
        assert "retry-after" in answer.headers
        engine.may_go.set()


def test_a_client_that_leaves_takes_its_work_with_it(words: Path) -> None:
    with held(words) as (service, engine):
        thread, answers = in_background(service, ["a"])
        assert engine.has_begun.wait(10)
        body = b'{"input": "b b b"}'
        with socket.create_connection(("127.0.0.1", service.door.port)) as connection:
            connection.sendall(head(len(body)) + body)
            waiting(service, 4)
        while service.app.pipeline.queue.tokens > 1:
            time.sleep(0.005)
        engine.may_go.set()
        thread.join()
        assert answers[0].status == 200
        assert service.post("/v1/embeddings", {"input": "c"}).status == 200
        assert engine.rows == [1, 1]
        assert 'status="499"} 1' in service.get("/metrics").body.decode()


def test_a_stop_finishes_what_is_in_flight(words: Path) -> None:
    with held(words) as (service, engine):
        thread, answers = in_background(service, ["a"])
        assert engine.has_begun.wait(10)
        service.door.stop()
        time.sleep(0.3)
        with pytest.raises(OSError, match="refused"):
            service.get("/health")
        engine.may_go.set()
        thread.join()
        assert answers[0].status == 200


def test_a_dead_model_makes_the_service_unready_and_not_dead(words: Path) -> None:
    with serving({"words": words}) as service:
        assert service.get("/ready").json == {"status": "ready", "models": ["words"]}
        health = service.app.pipeline.health
        health.kept_s, health.timeout_s = 0.0, 0.2
        runner = service.app.pipeline.catalogue.models["words"].model.runner
        engine = HeldEngine(runner.engine)
        runner.engine = engine
        unready = service.get("/ready")
        assert (unready.status, unready.headers["retry-after"]) == (503, "1")
        assert unready.json["error_type"] == "Unhealthy"
        assert service.get("/health").status == 200
        engine.may_go.set()
        assert service.get("/ready").status == 200


def test_a_new_version_takes_over_between_requests(
    words: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    link = tmp_path / "words.lanner"
    first = write_word_artifact(tmp_path / "first.lanner")
    second = write_word_artifact(tmp_path / "second.lanner")
    write_manifest(second, prompts={"query": "b "})
    link.symlink_to(first)
    with serving({"words": link}, reload_s=0.05) as service:

        def prompted() -> list[float]:
            answer = service.post("/v1/embeddings", {"input": "b", "model": "words:query"})
            assert answer.status == 200, answer.body
            return list(answer.json["data"][0]["embedding"])

        assert prompted() != [0, 1, 0, 0]
        moved = tmp_path / "moved"
        moved.symlink_to(second)
        moved.rename(link)
        end = time.monotonic() + 20
        while prompted() != [0, 1, 0, 0]:
            assert time.monotonic() < end
        assert service.get("/v2/models/words").json["versions"] == ["2"]
        # One that is damaged, or means something else, is not taken.
        (second / "model.fp32.onnx").write_bytes(b"")
        write_manifest(second, similarity="dot")
        time.sleep(0.5)
        assert service.get("/v2/models/words").json["versions"] == ["2"]
        assert prompted() == [0, 1, 0, 0]
    told = capfd.readouterr().err
    assert "version 2 of words takes over" in told
    assert "the new version of words is not used: " in told


def test_admin_routes_can_have_a_port_of_their_own(words: Path) -> None:
    with serving({"words": words}, admin_port=0) as service:
        assert service.get("/metrics").status == 404
        assert service.post("/v1/embeddings", {"input": "a"}).status == 200
        admin = service.app.limits.admin_port
        assert admin
        assert service.door.admin_url == f"http://localhost:{admin}"
        with socket.create_connection(("127.0.0.1", admin)) as connection:
            connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            found = b""
            while piece := connection.recv(65_536):
                found += piece
        assert b'lanner_texts_total{model="words"} 1\n' in found
        assert b"lanner_request_duration_seconds_bucket" in found

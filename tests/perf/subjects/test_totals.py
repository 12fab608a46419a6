"""The counts of a client and a real server; test_call_parts.py tests the arithmetic."""

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("psutil", reason="needs lanner-bench")
pytest.importorskip("tritonclient.grpc", reason="needs the triton extra")

import lanner
from lanner.artifact.artifact import Artifact
from lanner.triton.repository.serving import Serving
from lanner.triton.repository.write import write_repository
from lanner.triton.server.installation import Installation
from lanner.triton.server.server import TritonServer
from lanner_perf.subjects.server_cpu import cpu_s, is_here, server_process
from lanner_perf.subjects.totals import Counter, RequestClock, cache_lookups


@pytest.fixture(scope="module")
def server(
    tritonserver: Installation, tiny_artifact: Artifact, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    repository = tmp_path_factory.mktemp("server") / "repository"
    serving = Serving(response_cache=True)
    write_repository([tiny_artifact.directory], repository, names=["tiny"], serving=serving)
    with TritonServer(
        repository, http_port=0, grpc_port=0, metrics_port=0, installation=tritonserver
    ) as server:
        yield server


def test_requests_are_timed_whether_or_not_they_fail() -> None:
    clock = RequestClock()
    double = clock.timed(lambda number: 2 * number)
    assert double(3) == 6
    with pytest.raises(TypeError):
        double()
    threads = [threading.Thread(target=double, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.requests == 22
    assert clock.seconds > 0


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_what_is_counted_is_what_was_sent(server: TritonServer, protocol: str) -> None:
    url = server.grpc_url if protocol == "grpc" else server.http_url
    model, other = lanner.connect(url, "tiny"), lanner.connect(url, "tiny")
    engine: Any = model.runner.engine
    transport, clock = engine.transport, RequestClock()
    transport.infer = clock.timed(transport.infer)
    counter = Counter(lambda: transport, "tiny", clock, url.partition("://")[2])
    before = counter()
    for number in range(7):
        model.encode(f"{protocol} {'man ' * number}")
    for _ in range(2):
        model.encode(f"{protocol} ")  # from the cache
    found = counter().since(before)
    assert (found.requests, found.served) == (9, 9)
    assert (found.cached, found.texts, found.runs) == (2, 7, 7)
    # The model answers before the server stops its clock, so the parts may exceed the client's wait
    # by a little. A wrong unit would be a factor of a thousand.
    assert found.queue_s > 0
    assert found.request_s / 100 < found.compute_s + found.queue_s < 10 * found.request_s
    other.encode(f"somebody else over {protocol}")
    end = time.monotonic() + 10
    while (found := counter().since(before)).served < 10 and time.monotonic() < end:
        time.sleep(0.01)
    assert (found.requests, found.served) == (9, 10)
    assert cache_lookups(transport, "tiny") >= 10
    model.close()
    other.close()


def test_the_process_of_a_server_here(server: TritonServer) -> None:
    for url in (server.grpc_url, server.http_url):
        process = server_process(url.partition("://")[2])
        assert process.pid == server.pid
        assert cpu_s(process) > 0
        assert process.children(recursive=True)  # the processes that run its models
    assert server_process(f"localhost:{os.getpid() % 1000 + 1}") is None


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost:8001", True),
        ("127.0.0.1:1", True),
        ("192.0.2.1:8001", False),  # an address reserved for documentation (RFC 5737)
        ("no-such-host.invalid:8001", False),
    ],
)
def test_what_is_here(host: str, expected: bool) -> None:
    assert is_here(host) is expected

"""Shared memory, on a real server where one is needed."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lanner
from lanner.artifact import Artifact
from lanner.errors import InputError, LannerError, ServerError, ServerUnavailableError
from lanner.triton.installation import Installation
from lanner.triton.repository import write_repository
from lanner.triton.server import TritonServer
from lanner.triton.shared_memory import Region, SharedMemory

grpc = pytest.importorskip("tritonclient.grpc", reason="needs the triton extra")

TEXTS = ["a man is eating", "two dogs", "", *(f"a man {'plays ' * n}" for n in range(20))]
ONE = {"input_ids": np.zeros((1, 2), np.int64)}


class Server:
    """What a server knows of regions."""

    def __init__(self) -> None:
        self.regions: dict[str, tuple[str, int]] = {}
        self.refusal: LannerError | None = None

    def register_memory(self, name: str, key: str, size_bytes: int) -> None:
        if self.refusal is not None:
            raise self.refusal
        assert Path(f"/dev/shm{key}").stat().st_size == size_bytes  # noqa: S108
        self.regions[name] = (key, size_bytes)

    def unregister_memory(self, name: str) -> None:
        del self.regions[name]


@pytest.fixture(scope="module")
def repository(
    tiny_artifact: Artifact, tagger_artifact: Artifact, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("shared") / "repository"
    directories = [tiny_artifact.directory, tagger_artifact.directory]
    write_repository(directories, path, names=["embed", "tag"], variant="fp32")
    return path


@pytest.fixture(scope="module")
def server(repository: Path, tritonserver: Installation) -> Iterator[TritonServer]:
    with start(repository, tritonserver) as running:
        yield running


def start(
    repository: Path, tritonserver: Installation, *options: str, grpc_port: int = 0
) -> TritonServer:
    return TritonServer(
        repository,
        http_port=0,
        grpc_port=grpc_port,
        metrics_port=0,
        installation=tritonserver,
        options=options,
    )


def regions_of(server: TritonServer) -> list[str]:
    client = grpc.InferenceServerClient(server.grpc_url.removeprefix("grpc://"))
    found = list(client.get_system_shared_memory_status().regions)
    client.close()
    return found


def names_here() -> list[str]:
    return [path.name for path in Path("/dev/shm").glob("lanner-client-*")]  # noqa: S108


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("name", ["embed", "embed_text", "tag", "tag_text"])
def test_answers_are_those_of_messages(server: TritonServer, name: str, protocol: str) -> None:
    url = server.grpc_url if protocol == "grpc" else server.http_url
    plain, shared = (lanner.connect(url, name, shared_memory=shares) for shares in (False, True))
    for texts in (TEXTS, TEXTS[:1], TEXTS * 20):  # the last of them in a larger region
        if name.startswith("tag"):
            assert shared.tag(texts) == plain.tag(texts)
        else:
            np.testing.assert_allclose(shared.encode(texts), plain.encode(texts), atol=1e-6)
    # What may be given up gets its answer by message.
    if name.startswith("embed"):
        late = shared.encode(TEXTS, timeout_ms=60_000)
        np.testing.assert_allclose(late, plain.encode(TEXTS), atol=1e-6)
    assert 1 <= len(regions_of(server)) <= shared.runner.workers
    assert names_here() == []
    del shared
    gc.collect()
    assert regions_of(server) == []


def test_a_closed_transport_takes_its_regions_back(server: TritonServer) -> None:
    model = lanner.connect(server.grpc_url, "embed", shared_memory=True)
    model.encode(TEXTS)
    assert regions_of(server)
    model.runner.engine.transport.close()
    assert regions_of(server) == []


def test_a_refused_request_leaves_its_region_to_the_next(server: TritonServer) -> None:
    model = lanner.connect(server.grpc_url, "embed", shared_memory=True)
    transport = model.runner.engine.transport
    wrong = {"input_ids": np.full((1, 2), 10**6), "attention_mask": np.ones((1, 2), np.int64)}
    for _ in range(3):
        with pytest.raises(InputError, match="knows tokens from 0 to"):
            transport.infer("embed", "", wrong, ("sentence_embedding",), timeout_s=None, priority=0)
    assert len(regions_of(server)) == 1


def test_a_server_that_began_anew_gets_new_regions(
    repository: Path, tritonserver: Installation
) -> None:
    with start(repository, tritonserver) as first:
        port = int(first.grpc_url.rpartition(":")[2])
        model = lanner.connect(first.grpc_url, "embed", shared_memory=True, retries=30)
        expected = model.encode(TEXTS)
    with start(repository, tritonserver, grpc_port=port) as second:
        np.testing.assert_allclose(model.encode(TEXTS), expected, atol=1e-6)
        assert regions_of(second)


def test_a_server_that_cannot_map_the_memory_is_named(
    repository: Path, tritonserver: Installation
) -> None:
    closed = "--grpc-restricted-protocol=shared-memory:key=secret"
    with start(repository, tritonserver, closed) as server:
        model = lanner.connect(server.grpc_url, "embed", shared_memory=True)
        message = (
            f"^the server at {server.grpc_url} cannot map shared memory of this machine \\(.*\\): "
            "connect without shared_memory, or run it here, with this /dev/shm and as this user$"
        )
        with pytest.raises(ServerError, match=message):
            model.encode("a man")
    assert names_here() == []


def test_a_region_that_has_no_room_is_named() -> None:
    message = (
        r"^1,125,899,906,842,624 bytes of shared memory are not to be had in /dev/shm \(.+\): make "
        "room there, or connect without shared_memory$"
    )
    with pytest.raises(ServerError, match=message):
        Region(1 << 50)
    assert names_here() == []


def carry(memory: SharedMemory, inputs: Any = ONE, output_bytes: int | None = None) -> None:
    with memory.carrier(inputs, ("vector",), output_bytes):
        pass


def test_a_region_serves_one_request_after_the_other() -> None:
    server = Server()
    memory = SharedMemory("grpc://host", server)
    carry(memory)
    carry(memory)
    assert [size for _, size in server.regions.values()] == [65_536]
    # What is too small makes room for what is large enough: 16 bytes are padded to 64.
    carry(memory, output_bytes=65_536)
    assert [size for _, size in server.regions.values()] == [131_072]
    with memory.carrier(ONE, ("vector",), None):
        carry(memory)  # a second request at the same time has a region of its own
    assert len(server.regions) == 2
    memory.close()
    assert server.regions == {}


def test_a_region_that_a_lost_server_may_write_into_is_given_up() -> None:
    server = Server()
    memory = SharedMemory("grpc://host", server)
    gone = ServerUnavailableError("gone")
    with pytest.raises(ServerUnavailableError), memory.carrier(ONE, ("vector",), 64):
        raise gone
    with pytest.raises(KeyboardInterrupt), memory.carrier(ONE, ("vector",), 64):
        raise KeyboardInterrupt
    carry(memory)
    assert len(server.regions) == 3


def test_a_forked_child_has_regions_of_its_own() -> None:
    server = Server()
    memory = SharedMemory("grpc://host", server)
    carry(memory)
    before = set(server.regions)
    child = os.fork()
    if child == 0:  # the exit status says how many it made, beside the one that it knows of
        carry(memory)
        os._exit(len(set(server.regions) - before))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert set(server.regions) == before


def test_a_server_that_is_gone_is_not_said_to_lack_memory() -> None:
    server = Server()
    server.refusal = ServerUnavailableError("no server answers")
    with pytest.raises(ServerUnavailableError, match=r"^no server answers$"):
        carry(SharedMemory("grpc://host", server))

"""Workers that are clients: of Lanner's service, and of a real Triton server."""

import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow", reason="needs the extra 'distributed'")
pytest.importorskip("fsspec", reason="needs the extra 'distributed'")
pytest.importorskip("tritonclient", reason="needs the extra 'triton'")
pytest.importorskip("uvicorn", reason="needs the extra 'service'")
import pyarrow as pa
import pyarrow.parquet as pq
from tests.support.jobs import job, write_parquet
from tests.support.service import Service, serving
from tests.support.word_artifact import write_manifest, write_word_artifact

from lanner.distributed import ArrowEncoder
from lanner.distributed.job import Job
from lanner.distributed.local import Local
from lanner.distributed.status import status_of
from lanner.errors import ArtifactError, InputError, Overloaded, ServerUnavailableError
from lanner.files.rows import Columns
from lanner.triton.repository.write import write_repository
from lanner.triton.server.installation import Installation
from lanner.triton.server.server import TritonServer

TABLE = pa.table({"text": ["a b", "c", "", "a a b"]})
VECTORS = [[0.5, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], pytest.approx([2 / 3, 1 / 3, 0, 0])]


@pytest.fixture
def service(word_artifact: Path) -> Iterator[Service]:
    with serving({"words": word_artifact}) as running:
        yield running


def answers(encoder: ArrowEncoder) -> list[list[float]]:
    found: list[list[float]] = encoder(TABLE).column("embedding").to_pylist()
    return found


def job_of(place: str, source: Path, output: Path) -> Job:
    return Job(ArrowEncoder(place), str(source), str(output), Columns(["text"], ["id"], ["id"]))


def rows_of(output: Path) -> list[Any]:
    table = pa.concat_tables(pq.read_table(path) for path in output.glob("part-*"))
    found: list[Any] = table.sort_by("id").to_pylist()
    return found


def test_a_worker_asks_a_service(service: Service, word_artifact: Path, tmp_path: Path) -> None:
    place = f"{service.url}/words"
    encoder = ArrowEncoder(place)
    assert answers(encoder) == VECTORS
    assert answers(pickle.loads(pickle.dumps(encoder))) == VECTORS  # noqa: S301 (its own)
    assert encoder.source.is_remote
    assert encoder.identity["engine"] == "triton"
    with pytest.raises(
        InputError, match=r"^the server decides variant, engine, device and threads"
    ):
        ArrowEncoder(place, threads=1)
    write_parquet(tmp_path / "in", files=3, rows=50)
    assert job_of(place, tmp_path / "in", tmp_path / "far").run(Local()) == (3, 0, 150, 0, 0)
    assert status_of(str(tmp_path / "far")).engine == "triton"
    job(word_artifact, tmp_path / "in", tmp_path / "near").run(Local())
    assert rows_of(tmp_path / "far") == rows_of(tmp_path / "near")


def test_a_worker_waits_for_a_service_that_is_away(word_artifact: Path) -> None:
    with serving({"words": word_artifact}) as running:
        encoder = ArrowEncoder(f"{running.url}/words")
        port = running.door.port
    over = threading.Event()

    def come_back() -> None:
        time.sleep(1)
        with serving({"words": word_artifact}, port=port):
            over.wait()

    thread = threading.Thread(target=come_back)
    begin_s = time.monotonic()
    thread.start()
    try:
        assert answers(encoder) == VECTORS
        assert time.monotonic() - begin_s > 1
    finally:
        over.set()
        thread.join()
    encoder.patience_s = 0
    with pytest.raises(ServerUnavailableError):
        encoder(TABLE)


def test_a_worker_waits_for_a_service_that_is_overloaded(word_artifact: Path) -> None:
    with serving({"words": word_artifact}, request_timeout_s=1e-6) as running:
        encoder = ArrowEncoder(f"{running.url}/words", patience_s=0.6)
        begin_s = time.monotonic()
        with pytest.raises(Overloaded, match="try again later"):
            encoder(TABLE)
        assert time.monotonic() - begin_s > 0.5


def test_another_model_at_the_same_url_is_refused(word_artifact: Path, tmp_path: Path) -> None:
    with serving({"words": word_artifact}) as running:
        encoder = ArrowEncoder(f"{running.url}/words")
        port = running.door.port
    other = write_word_artifact(tmp_path / "other.lanner")
    write_manifest(other, prompts={})
    message = r"^http://127.0.0.1:\d+/words serves another model than at the start \(its manif"
    with (
        serving({"words": other}, port=port),
        pytest.raises(ArtifactError, match=message),
    ):
        encoder(TABLE)


@pytest.mark.slow
def test_a_worker_asks_a_triton_server(
    tritonserver: Installation, word_artifact: Path, tmp_path: Path
) -> None:
    write_repository([word_artifact], tmp_path / "repository", variant="fp32")
    write_parquet(tmp_path / "in", files=3, rows=50)
    server = TritonServer(
        tmp_path / "repository",
        http_port=0,
        grpc_port=0,
        metrics_port=0,
        installation=tritonserver,
    )
    with server:
        for place in (f"{server.grpc_url}/words", f"{server.http_url}/words"):
            assert answers(ArrowEncoder(place)) == VECTORS
        far = job_of(f"{server.grpc_url}/words", tmp_path / "in", tmp_path / "far")
        assert far.run(Local(2)) == (3, 0, 150, 0, 0)
    job(word_artifact, tmp_path / "in", tmp_path / "near").run(Local())
    assert rows_of(tmp_path / "far") == rows_of(tmp_path / "near")

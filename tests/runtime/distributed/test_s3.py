"""Storage over HTTP: moto's server of S3, some of whose requests fail or are slow."""

import io
import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

pytest.importorskip("s3fs", reason="needs s3fs: make distributed")
pytest.importorskip("moto.server", reason="needs moto: make distributed")
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from moto.server import ThreadedMotoServer
from tests.support.jobs import contents, job, write_parquet

from lanner.distributed.local import Local
from lanner.distributed.status import status_of

pytestmark = pytest.mark.slow


class Troubled(BaseHTTPRequestHandler):
    """Passes requests on; some fail by turns, and some are slow."""

    protocol_version = "HTTP/1.1"
    behind = 0
    numbers = itertools.count(1)
    injected: ClassVar[Counter[str]] = Counter()

    def handle_any(self) -> None:
        number = next(self.numbers)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if number % 18 == 9:
            self.injected["503"] += 1
            self._answer(503, {}, b"")
            return
        if number % 18 == 0:
            self.injected["no answer"] += 1
            self.close_connection = True
            return
        if number % 7 == 0:
            self.injected["slow"] += 1
            time.sleep(0.2)
        behind = HTTPConnection("127.0.0.1", self.behind)
        behind.request(self.command, self.path, body or None, dict(self.headers))
        found = behind.getresponse()
        self._answer(found.status, dict(found.headers), found.read())
        behind.close()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815 (of the library)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    moto = ThreadedMotoServer(port=0, verbose=False)
    moto.start()
    _, Troubled.behind = moto.get_host_and_port()
    reset = HTTPConnection("127.0.0.1", Troubled.behind)
    reset.request("POST", "/moto-api/reset")
    assert reset.getresponse().status == 200
    reset.close()
    Troubled.numbers = itertools.count(1)
    Troubled.injected.clear()
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Troubled)
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("LANNER_CACHE", str(tmp_path / "cache"))
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    fsspec.filesystem("s3").clear_instance_cache()
    files = fsspec.filesystem("s3", skip_instance_cache=True)
    files.mkdir("bucket")
    yield files
    fsspec.filesystem("s3").clear_instance_cache()
    proxy.shutdown()
    thread.join()
    proxy.server_close()
    moto.stop()


def given(storage: Any, artifact: Path, tmp_path: Path) -> tuple[str, str]:
    """Put an artifact and files of texts into storage; return their URLs."""
    write_parquet(tmp_path / "in", files=12, rows=100)
    storage.put(str(tmp_path / "in"), "bucket/in", recursive=True)
    storage.put(str(artifact), "bucket/words.lanner", recursive=True)
    return "s3://bucket/words.lanner", "s3://bucket/in"


def in_storage(storage: Any, folder: str) -> dict[str, bytes]:
    storage.invalidate_cache()
    return {path.rpartition("/")[2]: storage.cat(path) for path in storage.glob(f"{folder}/part-*")}


def require_trouble() -> None:
    injected = Troubled.injected
    assert min(injected["503"], injected["no answer"], injected["slow"]) >= 5, injected


def test_a_job_from_storage_to_storage(storage: Any, word_artifact: Path, tmp_path: Path) -> None:
    planned = job(*given(storage, word_artifact, tmp_path), "s3://bucket/out")
    job(word_artifact, tmp_path / "in", tmp_path / "here").run(Local())
    assert planned.run(Local()) == (12, 0, 1_200, 0, 0)
    assert planned.run(Local()) == (12, 12, 0, 0, 0)
    assert status_of("s3://bucket/out").rows == 1_200
    require_trouble()
    tables = [
        pa.concat_tables([pq.read_table(io.BytesIO(raw)) for raw in found.values()]).sort_by("id")
        for found in (in_storage(storage, "bucket/out"), contents(tmp_path / "here"))
    ]
    assert tables[0] == tables[1]


def test_a_cluster_writes_the_same_files(storage: Any, word_artifact: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs Ray: make distributed")
    from tests.support.ray_cluster import two_nodes  # noqa: PLC0415 (it imports Ray)

    from lanner.distributed.ray import Ray  # noqa: PLC0415

    places = given(storage, word_artifact, tmp_path)
    job(*places, "s3://bucket/here").run(Local())
    Troubled.injected.clear()
    with two_nodes():
        summary = job(*places, "s3://bucket/there").run(Ray())
        assert summary == (12, 0, 1_200, 0, 0)
    require_trouble()
    assert in_storage(storage, "bucket/there") == in_storage(storage, "bucket/here")
    assert not storage.exists("bucket/there/_unfinished")

"""Storage over HTTP: moto's server of S3, some of whose requests fail or are slow."""

import os
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("s3fs", reason="needs s3fs: make distributed")
pytest.importorskip("moto.server", reason="needs moto: make distributed")
import fsspec
from moto.server import ThreadedMotoServer
from tests.support.jobs import contents, job, write_parquet

from lanner.distributed.local import Local
from lanner.distributed.status import status_of

pytestmark = pytest.mark.slow


class Troubled(BaseHTTPRequestHandler):
    """Passes requests on; each ninth fails, and each seventh is slow."""

    protocol_version = "HTTP/1.1"
    behind = 0
    count = 0

    def handle_any(self) -> None:
        Troubled.count += 1
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if Troubled.count % 9 == 0:
            self._answer(503, {}, b"")
            return
        if Troubled.count % 7 == 0:
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
    Troubled.count = 0
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


def test_a_job_from_storage_to_storage(storage: Any, word_artifact: Path, tmp_path: Path) -> None:
    write_parquet(tmp_path / "in", files=4, rows=100)
    job(word_artifact, tmp_path / "in", tmp_path / "here").run(Local())
    storage.put(str(tmp_path / "in"), "bucket/in", recursive=True)
    storage.put(str(word_artifact), "bucket/words.lanner", recursive=True)
    planned = job("s3://bucket/words.lanner", "s3://bucket/in", "s3://bucket/out")
    assert planned.run(Local()) == (4, 0, 400, 0, 0)
    storage.invalidate_cache()
    assert len(storage.glob("bucket/out/part-*")) == len(contents(tmp_path / "here")) == 4
    assert status_of("s3://bucket/out").rows == 400
    assert planned.run(Local()) == (4, 4, 0, 0, 0)
    assert Troubled.count > 50

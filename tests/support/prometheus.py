"""A real Prometheus and a real Alertmanager, and a webhook that keeps what arrives."""

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
_INSTALLED = ROOT / "build" / "monitoring" / "root" / "usr" / "bin"


def binary(name: str) -> str:
    """Return the path of a program of Prometheus, or skip the test."""
    for found in (_INSTALLED / name, shutil.which(name)):
        if found and Path(found).exists():
            return str(found)
    pytest.skip(f"needs {name}: run 'make monitoring' on Debian")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def ask(url: str, **query: str) -> Any:
    """Return the JSON of an address."""
    full = f"{url}?{urllib.parse.urlencode(query)}" if query else url
    with urllib.request.urlopen(full, timeout=10) as answer:  # noqa: S310 (of this machine)
        return json.load(answer)


@contextmanager
def webhook() -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Yield the port of a server, and the alerts that it has got."""
    got: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.extend(json.loads(self.rfile.read(int(self.headers["content-length"])))["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port, got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def running(command: list[str], ready: str, log: Path) -> Iterator[None]:
    """Run a program until the end of the block, which begins when an address answers."""
    # Alertmanager of `make monitoring` looks for its templates below the working directory.
    directory = _INSTALLED.parents[1] if _INSTALLED.is_dir() else None
    with (
        log.open("wb") as file,
        subprocess.Popen(command, stdout=file, stderr=file, cwd=directory) as process,
    ):
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    with urllib.request.urlopen(ready, timeout=5):  # noqa: S310
                        break
                except OSError:
                    assert process.poll() is None, log.read_text()
                    assert time.monotonic() < deadline, log.read_text()
                    time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait(30)


def configuration(jobs: list[dict[str, Any]], alertmanager: int) -> str:
    """Return the configuration of Prometheus; JSON is YAML."""
    return json.dumps(
        {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "alerting": {
                "alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]
            },
            "scrape_configs": jobs,
        }
    )


@contextmanager
def watching(
    directory: Path, jobs: list[dict[str, Any]], rules: str, webhook_port: int
) -> Iterator[str]:
    """Run a Prometheus and an Alertmanager; yield the address of the first.

    Args:
        directory: A directory for their files.
        jobs: What to scrape.
        rules: The rules.
        webhook_port: The port that gets the alerts.
    """
    prometheus, alertmanager = binary("prometheus"), binary("prometheus-alertmanager")
    server, manager = free_port(), free_port()
    (directory / "rules.yml").write_text(rules)
    (directory / "prometheus.yml").write_text(configuration(jobs, manager))
    receiver = {"name": "all", "webhook_configs": [{"url": f"http://127.0.0.1:{webhook_port}/"}]}
    route = {"receiver": "all", "group_wait": "1s", "group_interval": "1s"}
    (directory / "alertmanager.yml").write_text(
        json.dumps({"route": route, "receivers": [receiver]})
    )
    of_manager = [
        alertmanager,
        f"--config.file={directory / 'alertmanager.yml'}",
        f"--storage.path={directory / 'manager'}",
        f"--web.listen-address=127.0.0.1:{manager}",
        "--cluster.listen-address=",
    ]
    of_server = [
        prometheus,
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{server}",
    ]
    ready = f"http://127.0.0.1:{manager}/-/ready"
    with running(of_manager, ready, directory / "alertmanager.log"):
        url = f"http://127.0.0.1:{server}"
        with running(of_server, f"{url}/-/ready", directory / "prometheus.log"):
            yield url

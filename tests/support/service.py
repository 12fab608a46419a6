"""A real service on a free port of this machine, in a thread of the test."""

import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="needs the extra 'service'")

from tests.support.waiting import wait_until

from lanner.service.app import App
from lanner.service.server import Door
from lanner.service.settings import Settings


@dataclass
class Answer:
    """An answer of a service."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Service:
    """A running service."""

    door: Door
    app: App

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.door.port}"

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, None, headers)

    def post(self, path: str, content: object, **headers: str) -> Answer:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.ask("POST", path, body, headers)

    def ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.door.port, timeout=30)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            response = connection.getresponse()
            return Answer(
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                response.read(),
            )
        finally:
            connection.close()


@contextmanager
def serving(models: Mapping[str, str | Path], **settings: Any) -> Iterator[Service]:
    """Yield a service of artifacts or addresses, by the names of its models."""
    named = {name: str(path) for name, path in models.items()}
    door = Door(
        Settings(
            **{"models": named, "port": 0, "threads": 2, "access_log": False, **settings}
        ).checked()
    )
    apps: list[App] = []
    started = threading.Event()
    failures: list[BaseException] = []

    def tell(app: App | None) -> None:
        if app is not None:
            apps.append(app)
        started.set()

    def run() -> None:
        try:
            door.serve(tell)
        except BaseException as error:  # noqa: BLE001 (raised again in the test)
            failures.append(error)
            started.set()

    thread = threading.Thread(target=run)
    thread.start()
    started.wait()
    try:
        if failures:
            raise failures[0]
        pipeline = apps[0].pipeline
        names = {served.name for served in pipeline.catalogue}
        # A probe at the start could share a batch with a test's request.
        wait_until(lambda: names <= pipeline.health.are_ready.keys())
        yield Service(door, apps[0])
    finally:
        door.stop()
        thread.join(30)
        assert not thread.is_alive()

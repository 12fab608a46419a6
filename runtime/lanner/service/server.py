"""The server of the service: models, application, sockets and processes."""

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

from lanner.errors import LannerError, MissingExtraError, UsageError
from lanner.machine.machine import available_cores
from lanner.service.access.cors import parse_origins
from lanner.service.access.log import Log, json_line
from lanner.service.access.rates import Rates
from lanner.service.app import App, AppLimits
from lanner.service.connection import Connection, ConnectionLimits, ServiceConfig
from lanner.service.core.canary import watch
from lanner.service.core.catalogue import Catalogue
from lanner.service.core.figures import Figures
from lanner.service.core.pipeline import Pipeline, TextLimits
from lanner.service.core.queue import TokenQueue
from lanner.service.core.served import ServedModel
from lanner.service.entrance import Entrance
from lanner.service.metrics.snapshots import Snapshots
from lanner.service.protection import (
    expiries,
    open_canary,
    open_keys,
    open_masker,
    open_tracing,
    open_vocabulary,
)
from lanner.service.replacement import Replacement
from lanner.service.settings import Settings
from lanner.service.supervisor import Supervisor
from lanner.service.targets import is_url, open_target

try:
    import uvicorn
except ImportError as error:
    what = "the service"
    raise MissingExtraError(what, "service", "uvicorn") from error

#: Threads for long work besides the models' own threads: tokenizing many texts, joining entities.
_THREADS = 8
#: A worker that does not answer for this many seconds is ended and replaced.
_HANGS_S = 60.0
#: A worker looks at its parent once in this many seconds.
_PARENT_S = 1.0
#: The exit code of a worker that cannot start.
STARTUP_FAILURE = 3


def open_app(settings: Settings, shared: Path | None = None, parent: int | None = None) -> App:
    """Load the models of a service, and return its application.

    Args:
        settings: The settings.
        shared: The directory in which all workers count the use of keys and the answers; None
            counts in memory, for a single process.
        parent: The process whose end also ends this worker, or None.

    Raises:
        LannerError: A model cannot be loaded or reached, or a file cannot be used.
    """
    log = Log(shape=settings.log, requests=settings.access_log)
    tell = partial(log.message, "warning")
    keys = open_keys(settings, tell)
    threads = ThreadPoolExecutor(_THREADS, "lanner-service")
    figures = Figures(None if shared is None else Snapshots(shared))
    figures.sources.append(expiries(settings, keys))

    def open_model(name: str, version: int) -> ServedModel:
        target = settings.models[name]
        return open_target(name, target, settings, threads, version=version, models=figures.models)

    models = {name: open_model(name, 1) for name in settings.models}
    catalogue = Catalogue(models, settings.aliases)
    pipeline = Pipeline(
        catalogue,
        TokenQueue(settings.max_queue_tokens),
        TextLimits(
            settings.max_texts,
            settings.max_text_characters,
            settings.max_tokens,
            settings.truncate,
        ),
        masker=open_masker(settings, models=figures.models),
        vocabulary=open_vocabulary(settings),
        figures=figures,
        triton_metrics=settings.triton_metrics,
        has_tei_names=settings.metrics_compat == "tei",
    )
    directories = {
        name: Path(target) for name, target in settings.models.items() if not is_url(target)
    }
    replacement = Replacement(
        catalogue, directories, open_model, every_s=settings.reload_s, tell=tell
    )
    limits = AppLimits(
        settings.max_body_bytes,
        settings.body_timeout_s,
        settings.request_timeout_s,
        settings.admin_port,
        settings.max_bytes_in_flight,
    )
    canary = open_canary(settings, tell)
    figures.sources.append(canary.write)
    background: list[Callable[[], Awaitable[None]]] = [
        replacement.run,
        figures.share,
        partial(watch, catalogue, pipeline.health, canary, settings.probe_s),
    ]
    if parent is not None:
        background.append(partial(_end_with, parent))
    return App(
        pipeline,
        limits,
        tuple(background),
        entrance=Entrance(keys, Rates(None if shared is None else shared / "rates")),
        origins=parse_origins(settings.cors_origins),
        log=log,
        tracing=open_tracing(settings),
    )


def _open_in_worker(settings: Settings, shared: Path, parent: int) -> App:
    """Open the application of a worker; if that fails, write the reason and end the process."""
    try:
        return open_app(settings, shared, parent)
    except LannerError as error:
        message = f"a worker of the service cannot start: {error}"
        line = json_line("error", message) if settings.log == "json" else message
        sys.stderr.write(f"{line}\n")
        sys.exit(STARTUP_FAILURE)


async def _end_with(parent: int) -> None:
    """End this worker if its parent is killed: nobody else would end it, and it holds the port."""
    while os.getppid() == parent:
        await asyncio.sleep(_PARENT_S)
    signal.raise_signal(signal.SIGTERM)


class Door:
    """The listening service: binds its ports at once, and answers as soon as it runs.

    Args:
        settings: The settings.

    Raises:
        UsageError: A port is taken or not allowed.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._is_stopping = False
        self._server: uvicorn.Server | None = None
        self._supervisor: Supervisor | None = None
        self._sockets = [_bound(settings.host, settings.port)]
        if settings.admin_port is not None:
            self._sockets.append(_bound(settings.host, settings.admin_port))
        #: The port that the service listens on.
        self.port = int(self._sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """The address for clients on this machine."""
        return self._url(self.port)

    @property
    def admin_url(self) -> str | None:
        """The address of the admin routes on this machine, if they have a port of their own."""
        if len(self._sockets) == 1:
            return None
        return self._url(int(self._sockets[1].getsockname()[1]))

    def _url(self, port: int) -> str:
        scheme = "http" if self.settings.tls_certificate is None else "https"
        host = self.settings.host
        host = {"0.0.0.0": "localhost", "::": "localhost", "127.0.0.1": "localhost"}.get(host, host)  # noqa: S104
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    def serve(self, tell: Callable[[App | None], object] = lambda _: None) -> None:
        """Serve until told to stop; requests in flight may finish within a time limit.

        Args:
            tell: Called with the application when the models are loaded. With several workers each
                loads its own models, so `tell` is called earlier, with None.

        Raises:
            LannerError: A model cannot be loaded, or a worker cannot start.
        """
        settings = self.settings
        if settings.admin_port is not None:
            # If port 0 was asked for, this is the port that the system chose.
            settings = replace(settings, admin_port=int(self._sockets[1].getsockname()[1]))
        with self._closing(), self._stopped_by_signals():
            if settings.workers == 1:
                app = open_app(settings)
                self._server = uvicorn.Server(_configuration(app, settings))
                tell(app)
                if not self._is_stopping:
                    self._server.run(self._sockets)
            else:
                tell(None)
                self._serve_in_workers(settings)

    def _serve_in_workers(self, settings: Settings) -> None:
        share = max(1, (settings.threads or available_cores()) // settings.workers)
        log = Log(shape=settings.log)
        with TemporaryDirectory(prefix="lanner-serve-") as directory, closing(log):
            of_worker = replace(settings, threads=share)
            factory = partial(_open_in_worker, of_worker, Path(directory), os.getpid())
            self._supervisor = Supervisor(
                _configuration(factory, settings, is_factory=True),
                self._sockets,
                partial(log.message, "warning"),
            )
            if not self._is_stopping:
                self._supervisor.run()

    @contextmanager
    def _closing(self) -> Iterator[None]:
        try:
            yield
        finally:
            for one in self._sockets:
                one.close()

    @contextmanager
    def _stopped_by_signals(self) -> Iterator[None]:
        """Stop at SIGINT and SIGTERM, and raise the signal again after the block.

        uvicorn does the same, but only while it runs. A signal just before that would leave it half
        started.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        received: list[int] = []

        def take(number: int, _: FrameType | None) -> None:
            received.append(number)
            self.stop()

        before = {
            number: signal.signal(number, take)
            for number in (signal.SIGINT, signal.SIGTERM)
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if received:
            signal.raise_signal(received[0])

    def stop(self) -> None:
        """Stop serving; any thread may call it."""
        self._is_stopping = True
        if self._server is not None:
            self._server.should_exit = True
        if self._supervisor is not None:
            self._supervisor.should_exit.set()


def _configuration(
    app: App | Callable[[], App], settings: Settings, *, is_factory: bool = False
) -> ServiceConfig:
    configuration = ServiceConfig(
        app,
        factory=is_factory,
        loop="uvloop",
        http=Connection,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        workers=settings.workers,
        timeout_keep_alive=max(1, int(settings.idle_timeout_s)),
        timeout_graceful_shutdown=max(1, int(settings.drain_s)),
        timeout_worker_healthcheck=int(_HANGS_S),
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )
    configuration.limits = ConnectionLimits(
        settings.head_timeout_s,
        settings.max_header_bytes,
        settings.max_connections,
        settings.send_timeout_s,
    )
    configuration.settings = settings
    return configuration


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(2_048)
        listening.set_inheritable(True)
    except OSError as error:
        listening.close()
        msg = f"the service cannot listen on {host} port {port}: {error.strerror}"
        raise UsageError(msg) from None
    return listening

"""A Triton server as a child of this process: starting, waiting, stopping."""

import http.client
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self
from urllib.parse import quote

from lanner.errors import ServerError, UsageError
from lanner.machine import interruption
from lanner.triton.server import launch
from lanner.triton.server.installation import Installation, find_tritonserver
from lanner.triton.server.ports import DEFAULT_PORTS, choose_ports
from lanner.triton.server.served_repository import plain_path, require_repository
from lanner.triton.server.server_log import ServerLog
from lanner.triton.server.server_options import ADMINISTRATION_HEADER, LOOPBACK, ServerOptions
from lanner.triton.server.stubs import StubWatch

CACHE_BYTES = 64 * 2**20
READY_TIMEOUT_S = 300.0
GRACE_S = 30

_POLL_S = 0.1
#: The time between two looks at all processes, which take 20 us each.
_WATCH_S = 2.0
#: The most time for unloading the models after the requests in flight are done.
_UNLOAD_S = 10.0
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (where shm_open(3) puts its names on Linux)


class TritonServer:
    """A tritonserver that serves one repository; a context manager that starts and stops it.

    The server and its child processes end with this object, even if this process is killed.

    Args:
        repository: A Triton model repository.
        http_port: The HTTP port; 0 takes a free one.
        grpc_port: The gRPC port; 0 takes a free one.
        metrics_port: The port of the metrics; 0 takes a free one.
        host: The address to listen on; other machines can only reach ``"0.0.0.0"``.
        options: Options of tritonserver; they override those of Lanner.
        cache_bytes: Size of the response cache, if the server has one; 0 for none.
        ready_timeout_s: The most time for loading.
        grace_s: The most time for requests in flight at the stop, unless `options` set it.
        tell: Called with readable lines of the log, in another thread.
        verbose: Pass all lines to `tell`, exactly as the server wrote them.
        installation: The tritonserver; None to find one.

    Raises:
        RepositoryError: There is nothing to serve.
        UsageError: Two ports are the same, or `options` holds an option with an argument here.
    """

    def __init__(
        self,
        repository: str | os.PathLike[str],
        *,
        http_port: int = DEFAULT_PORTS["http"],
        grpc_port: int = DEFAULT_PORTS["grpc"],
        metrics_port: int = DEFAULT_PORTS["metrics"],
        host: str = LOOPBACK,
        options: Sequence[str] = (),
        cache_bytes: int = CACHE_BYTES,
        ready_timeout_s: float = READY_TIMEOUT_S,
        grace_s: int = GRACE_S,
        tell: Callable[[str], object] | None = None,
        verbose: bool = False,
        installation: Installation | None = None,
    ) -> None:
        self.repository = require_repository(Path(repository))
        self.log = ServerLog(tell, verbose=verbose)
        self._ports = {"http": http_port, "grpc": grpc_port, "metrics": metrics_port}
        self._options = ServerOptions(options, host)
        self._secret = secrets.token_urlsafe(24)
        self._cache_bytes = cache_bytes
        self._ready_timeout_s = ready_timeout_s
        asked = self._options.value("--exit-timeout-secs") or ""
        self._grace_s = int(asked) if asked.isdecimal() else grace_s
        self._installation = installation
        self._work: tempfile.TemporaryDirectory[str] | None = None
        # The Python backend names its regions with this prefix, which no other process uses.
        self._memory_prefix = f"lanner-{os.getpid()}-{secrets.token_hex(4)}-"
        self._is_stopping = False
        self._process: subprocess.Popen[str] | None = None
        self._spawn_error: OSError | None = None
        self._was_spawned = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # guards the end of the process and the cleanup

    @property
    def http_url(self) -> str:
        """URL for `lanner.connect`; the ports are known once the server has started."""
        return f"http://{self._options.host('http')}:{self._ports['http']}"

    @property
    def grpc_url(self) -> str:
        """URL for `lanner.connect`; ``grpcs`` if the options enable TLS."""
        scheme = "grpcs" if self._options.is_grpc_encrypted else "grpc"
        return f"{scheme}://{self._options.host('grpc')}:{self._ports['grpc']}"

    @property
    def metrics_url(self) -> str:
        """URL for Prometheus."""
        return f"http://{self._options.host('metrics')}:{self._ports['metrics']}/metrics"

    @property
    def pid(self) -> int:
        """Process id of the running tritonserver."""
        if self._process is None:
            msg = "tritonserver has not been started"
            raise ServerError(msg)
        return self._process.pid

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and wait until it is ready; `stop` must follow in any case.

        Raises:
            ServerError: There is no tritonserver, a port is taken, or it did not become ready.
            InputError: A certificate in the options cannot be used.
            RepositoryError: The server could not load a model.
            UsageError: The server does not know one of the options.
        """
        if self._thread is not None:
            msg = "a TritonServer can only be started once: make a new one"
            raise UsageError(msg)
        self._options.require_certificates()
        installation = self._installation or find_tritonserver(self.repository)
        addresses = {name: self._options.address(name) for name in self._ports}
        self._ports = choose_ports(self._ports, addresses)
        self._work = tempfile.TemporaryDirectory(prefix="lanner-serve-")
        work = Path(self._work.name)
        layout, environment = installation.lay_out(work)
        layout.append(f"--model-repository={plain_path(self.repository, work)}")
        (work / "run").mkdir()
        defaults = self._defaults(installation, layout)
        command = [str(installation.binary), *defaults, *self._options.given]
        self._thread = threading.Thread(
            target=self._run, args=(command, environment), name="tritonserver", daemon=True
        )
        self._thread.start()
        self._was_spawned.wait()
        if self._spawn_error is not None:
            msg = f"{installation.binary} cannot be run: {self._spawn_error.strerror}"
            raise ServerError(msg)
        self._await_ready()

    def models(self) -> list[dict[str, str]]:
        """Return name, version, state and reason of every model, from the repository index.

        Raises:
            ServerError: The server does not answer.
        """
        found: list[dict[str, str]] = self._json("POST", "/v2/repository/index")
        return found

    def configuration(self, model: str) -> dict[str, Any]:
        """Return the configuration of a ready model, completed by Triton.

        Raises:
            ServerError: The server does not answer, or has no such model.
        """
        found: dict[str, Any] = self._json("GET", f"/v2/models/{quote(model, safe='')}/config")
        return found

    @property
    def is_public(self) -> bool:
        """True if other machines may reach the server."""
        return self._options.is_public

    def version(self) -> str:
        """Return the version that the server reports.

        Raises:
            ServerError: The server does not answer.
        """
        return str(self._json("GET", "/v2").get("version", ""))

    def wait(self) -> None:
        """Wait until the server is stopped; stop it if the process of a model died.

        Raises:
            ServerError: The server ended by itself, or the process of a model did.
        """
        if self._process is None or self._thread is None:
            return
        while not self._has_ended():
            if (dead := self._watch.dead()) and not self._is_stopping:
                self._give_up(dead)
            self._thread.join(_WATCH_S)  # it ends with the output of the server
        if self._is_stopping:
            return
        self._finish()
        msg = f"tritonserver {self._ended()} while serving; its last message: {self.log.last()}"
        raise ServerError(msg)

    def stop(self) -> None:
        """Stop the server: requests in flight get the grace period, then it is killed."""
        self._is_stopping = True
        try:
            if self._thread is not None:
                self._was_spawned.wait()
            if self._process is not None and not self._has_ended():
                self._process.send_signal(signal.SIGTERM)
                end = time.monotonic() + self._grace_s + _UNLOAD_S
                while not self._has_ended() and time.monotonic() < end:
                    time.sleep(_POLL_S)
        finally:
            self._finish()

    def _give_up(self, dead: list[str]) -> NoReturn:
        """Stop a server that would refuse every request for these models from now on."""
        msg = (
            f"the process of {', '.join(dead)} died, and tritonserver does not replace it: see the "
            "log for the reason (memory may have run out), then start the server again"
        )
        self.log.tell(f"stopping: {msg}")
        self.stop()
        raise ServerError(msg)

    def _run(self, command: list[str], environment: dict[str, str]) -> None:
        """Start the process and read its output to the end.

        The kernel signals the server when this thread ends, not when the process does (prctl(2),
        PR_SET_PDEATHSIG), so the thread that starts the server must live as long as the server.
        """
        launcher = [sys.executable, "-I", "-S", str(Path(launch.__file__)), str(os.getpid())]
        # Not the current directory: Python imports from its working directory.
        directory = Path(self._work.name if self._work else "", "run")
        try:
            process = subprocess.Popen(  # noqa: S603 (a list, and no shell)
                [*launcher, *command],
                env=environment,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # only this process gets Ctrl-C
            )
        except OSError as error:
            self._spawn_error = error
            return
        else:
            self._process = process
            self._watch = StubWatch(process.pid)
        finally:
            self._was_spawned.set()
        if process.stdout is not None:  # always true with stdout=PIPE
            with process.stdout as lines:
                for line in lines:
                    self.log.add(line.rstrip("\n"))

    def _defaults(self, installation: Installation, layout: list[str]) -> list[str]:
        """Return Lanner's own options, without those that the user gave."""
        defaults = [
            *(f"--{name}-port={port}" for name, port in self._ports.items()),
            *(f"--{name}-address={self._options.address(name)}" for name in self._ports),
            *layout,
            f"--exit-timeout-secs={self._grace_s}",
        ]
        if self._cache_bytes and installation.has_cache:
            defaults.append(f"--cache-config=local,size={self._cache_bytes}")
        # Model repositories and settings of backends accumulate, so they are kept in any case.
        kept = [
            option
            for option in defaults
            if option.startswith("--model-repository")
            or self._options.value(option.partition("=")[0]) is None
        ]
        kept += [
            option
            for option in self._options.restrictions(self._secret)
            if installation.knows(option.partition("=")[0])
        ]
        if not any("shm-region-prefix-name" in option for option in self._options.given):
            setting = f"shm-region-prefix-name={self._memory_prefix}"
            kept.append(f"--backend-config=python,{setting}")
        return kept

    def _await_ready(self) -> None:
        end = time.monotonic() + self._ready_timeout_s
        while not self._has_ended():
            interruption.check()
            if self._is_ready():
                # Triton makes the regions readable for everybody, whatever the umask.
                for region in self._memory():
                    region.chmod(0o600)
                self._watch.dead()  # notes which stub runs which model
                return
            if stuck := self.log.stuck(self.repository):
                raise stuck
            if time.monotonic() > end:
                msg = (
                    f"tritonserver was not ready after {self._ready_timeout_s:g} s: see its log "
                    "for the reason, or allow more time with --ready-timeout (ready_timeout_s)"
                )
                raise ServerError(msg)
            time.sleep(_POLL_S)
        self._finish()
        raise self.log.failure(self._ended(), self.repository)

    def _is_ready(self) -> bool:
        try:
            return self._ask("GET", "/v2/health/ready")[0] == 200
        except ServerError:
            return False

    def _json(self, method: str, path: str) -> Any:
        status, body = self._ask(method, path)
        if status != 200:
            msg = f"{self.http_url}{path} answers {status}: {body.decode(errors='replace')[:200]}"
            raise ServerError(msg)
        return json.loads(body)

    def _ask(self, method: str, path: str) -> tuple[int, bytes]:
        """Send a request with http.client: no extra is needed, and no proxy is used."""
        # localhost may resolve to ::1 first, where Triton does not listen but others may.
        host = self._options.host("http").replace("localhost", LOOPBACK).strip("[]")
        headers = {ADMINISTRATION_HEADER: self._secret, **self._options.http_headers}
        connection = http.client.HTTPConnection(host, self._ports["http"], timeout=10)
        try:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            msg = f"{self.http_url} does not answer: {error}"
            raise ServerError(msg) from None
        finally:
            connection.close()

    def _memory(self) -> list[Path]:
        """Return the shared-memory regions of the Python backend."""
        return list(_SHARED_MEMORY.glob(f"{self._memory_prefix}*"))

    def _has_ended(self) -> bool:
        process = self._process
        if process is None or process.returncode is not None:
            return True
        flags = os.WEXITED | os.WNOWAIT | os.WNOHANG
        try:
            return os.waitid(os.P_PID, process.pid, flags) is not None
        except ChildProcessError:
            return True

    def _ended(self) -> str:
        status = self._process.returncode if self._process else 0
        if status < 0:
            return f"was killed by {signal.Signals(-status).name}"
        return f"ended with status {status}"

    def _finish(self) -> None:
        """Kill the rest of the server and its stubs, and remove their files."""
        with self._lock:
            if self._process is not None and self._process.returncode is None:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
            if self._thread is not None:
                # The thread ends with the last writer; the limit is for one that left the group.
                self._thread.join(timeout=5)
            for region in self._memory():
                region.unlink(missing_ok=True)
            if self._work is not None:
                self._work.cleanup()

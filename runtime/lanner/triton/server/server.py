"""A real Triton server as a child of this process: started, waited for, stopped."""

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
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from lanner.errors import ServerError, UsageError
from lanner.machine import interruption
from lanner.triton.server import launch
from lanner.triton.server.installation import Installation, find_tritonserver
from lanner.triton.server.ports import DEFAULT_PORTS, choose_ports
from lanner.triton.server.served_repository import require_repository
from lanner.triton.server.server_log import ServerLog
from lanner.triton.server.server_options import ADMINISTRATION_HEADER, LOOPBACK, ServerOptions

CACHE_BYTES = 64 * 2**20
READY_TIMEOUT_S = 300.0
GRACE_S = 30

_POLL_S = 0.1
#: How long unloading the models may take after the requests in flight are done.
_UNLOAD_S = 10.0
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (where shm_open(3) puts its names on Linux)


class TritonServer:
    """A tritonserver that serves one repository; a context manager that starts and stops it.

    The process and all that it starts end with this object, and even where this process is killed.

    Args:
        repository: A Triton model repository.
        http_port: 0 takes a free one.
        grpc_port: The same.
        metrics_port: The same.
        host: The address that it listens on; other machines reach it by ``"0.0.0.0"`` alone.
        options: Options of tritonserver; they win over those that Lanner gives.
        cache_bytes: Size of the response cache, where the server has one; 0 for none.
        ready_timeout_s: How long loading may take.
        grace_s: How long requests in flight may take when it stops, unless the options say.
        tell: Gets readable lines of its log, in another thread.
        verbose: Whether it gets all lines, as the server wrote them.
        installation: Which tritonserver; the one that is found if None.

    Raises:
        RepositoryError: There is nothing to serve.
        UsageError: Two ports are the same, or options say what arguments must.
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
        # The Python backend names its regions so, and nobody else does.
        self._memory_prefix = f"lanner-{os.getpid()}-{secrets.token_hex(4)}-"
        self._is_stopping = False
        self._process: subprocess.Popen[str] | None = None
        self._spawn_error: OSError | None = None
        self._was_spawned = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # over the end of the process and of what it leaves

    @property
    def http_url(self) -> str:
        """For `lanner.connect`; the ports are known once it has started."""
        return f"http://{self._options.host('http')}:{self._ports['http']}"

    @property
    def grpc_url(self) -> str:
        """For `lanner.connect`; ``grpcs`` where the options say so."""
        scheme = "grpcs" if self._options.is_grpc_encrypted else "grpc"
        return f"{scheme}://{self._options.host('grpc')}:{self._ports['grpc']}"

    @property
    def metrics_url(self) -> str:
        """For Prometheus."""
        return f"http://{self._options.host('metrics')}:{self._ports['metrics']}/metrics"

    @property
    def pid(self) -> int:
        """Of the running tritonserver."""
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
        """Starts it and waits until it is ready; whatever comes of it, `stop` must follow.

        Raises:
            ServerError: There is no tritonserver, a port is taken, or it did not become ready.
            InputError: A certificate that the options name cannot be used.
            RepositoryError: It could not load a model.
            UsageError: It does not know one of the options.
        """
        if self._thread is not None:
            msg = "a TritonServer starts once: make another"
            raise UsageError(msg)
        self._options.require_certificates()
        installation = self._installation or find_tritonserver(self.repository)
        addresses = {name: self._options.address(name) for name in self._ports}
        self._ports = choose_ports(self._ports, addresses)
        self._work = tempfile.TemporaryDirectory(prefix="lanner-serve-")
        layout, environment = installation.lay_out(Path(self._work.name))
        Path(self._work.name, "run").mkdir()
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
        """Name, version, state and reason of every model, as the repository index has them.

        Raises:
            ServerError: It does not answer.
        """
        found: list[dict[str, str]] = self._json("POST", "/v2/repository/index")
        return found

    def configuration(self, model: str) -> dict[str, Any]:
        """The configuration of a model that is ready, as Triton completed it.

        Raises:
            ServerError: It does not answer, or has no such model.
        """
        found: dict[str, Any] = self._json("GET", f"/v2/models/{quote(model, safe='')}/config")
        return found

    @property
    def is_public(self) -> bool:
        """Whether other machines may reach it."""
        return self._options.is_public

    def version(self) -> str:
        """What the server calls its version.

        Raises:
            ServerError: It does not answer.
        """
        return str(self._json("GET", "/v2").get("version", ""))

    def wait(self) -> None:
        """Waits until it is stopped.

        Raises:
            ServerError: It ended by itself.
        """
        process = self._process
        if process is None:
            return
        with suppress(ChildProcessError):  # stopped by another thread, which was faster
            # Left for `_finish` to reap, so that its process group stays its own until then.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        if self._is_stopping:
            return
        self._finish()
        msg = f"tritonserver {self._ended()} while it served; its last words: {self.log.last()}"
        raise ServerError(msg)

    def stop(self) -> None:
        """Stops it: what is in flight may end, and what does not within its time is killed."""
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

    def _run(self, command: list[str], environment: dict[str, str]) -> None:
        """Starts the process and reads what it writes, to the end.

        It is this thread, not the process, whose end the kernel tells the server of (prctl(2),
        PR_SET_PDEATHSIG), so the one that starts it must be there as long as it is.
        """
        launcher = [sys.executable, "-I", "-S", str(Path(launch.__file__)), str(os.getpid())]
        # Not where the command was given: Python imports from the working directory.
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
                start_new_session=True,  # Ctrl-C is for us alone
            )
        except OSError as error:
            self._spawn_error = error
            return
        else:
            self._process = process
        finally:
            self._was_spawned.set()
        if process.stdout is not None:  # it is a pipe, as asked
            with process.stdout as lines:
                for line in lines:
                    self.log.add(line.rstrip("\n"))

    def _defaults(self, installation: Installation, layout: list[str]) -> list[str]:
        """The options that Lanner gives, but for those that were given."""
        defaults = [
            f"--model-repository={self.repository}",
            *(f"--{name}-port={port}" for name, port in self._ports.items()),
            *(f"--{name}-address={self._options.address(name)}" for name in self._ports),
            *layout,
            f"--exit-timeout-secs={self._grace_s}",
        ]
        if self._cache_bytes and installation.has_cache:
            defaults.append(f"--cache-config=local,size={self._cache_bytes}")
        # A model repository adds up, and so do settings of backends.
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
                # Triton makes them readable for everybody, whatever the mask is.
                for region in self._memory():
                    region.chmod(0o600)
                return
            if stuck := self.log.stuck(self.repository):
                raise stuck
            if time.monotonic() > end:
                msg = (
                    f"tritonserver was not ready after {self._ready_timeout_s:g} s: its log says "
                    "what it waits for, and --ready-timeout (ready_timeout_s) gives it more"
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
        """Over HTTP by hand: Lanner serves without the extra of its client, and by no proxy."""
        # localhost may mean ::1 first, where Triton is not, and somebody else may be.
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
        """The regions of shared memory that its Python backend has made."""
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
        """Ends what is left of the server and its stubs, and clears away what they made."""
        with self._lock:
            if self._process is not None and self._process.returncode is None:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
            if self._thread is not None:
                # It ends with the last of those that can write; the limit is for one that left.
                self._thread.join(timeout=5)
            for region in self._memory():
                region.unlink(missing_ok=True)
            if self._work is not None:
                self._work.cleanup()

"""The parent of the workers: replaces workers that end or hang, and all of them at SIGHUP."""

import time
from collections.abc import Callable
from multiprocessing.connection import wait
from socket import socket

from lanner.errors import MissingExtraError, ServerError

try:
    from uvicorn import Config
    from uvicorn.supervisors import Multiprocess
    from uvicorn.supervisors.multiprocess import Process
except ImportError as error:
    what = "the service"
    raise MissingExtraError(what, "service", "uvicorn") from error

#: Seconds between two looks at signals and hung workers; the end of a worker is noticed at once.
_LOOK_S = 0.2
#: Seconds between two questions to a worker.
_ASK_EVERY_S = 1.0


class Worker(Process):
    """A serving process and its state.

    Args:
        config: The configuration of its server.
        sockets: The sockets that it listens on.
    """

    def __init__(self, config: Config, sockets: list[socket]) -> None:
        super().__init__(config, sockets)
        #: True once the worker has said that it serves.
        self.has_begun = False
        self._asked_s: float | None = None
        self._answered_s = time.monotonic()

    def start(self) -> None:
        """Start the process."""
        super().start()
        # With the parent's copy open, the reader of the pipe would still wait after the worker
        # ends.
        self.child_conn.close()

    @property
    def has_ended(self) -> bool:
        """True if the process has ended."""
        return self.process.exitcode is not None

    @property
    def has_failed_to_start(self) -> bool:
        """True if the process ended by itself before it served; a new one would end alike."""
        code = self.process.exitcode
        return not self.has_begun and code is not None and code > 0

    def hangs(self, timeout_s: float) -> bool:
        """Return True if the worker has not answered for too long. The call never waits."""
        now_s = time.monotonic()
        try:
            while self.parent_conn.poll():
                self.has_begun = bool(self.parent_conn.recv())
                self._asked_s, self._answered_s = None, now_s
            if self._asked_s is None and now_s - self._answered_s >= self._pause_s:
                self.parent_conn.send(b"ping")
                self._asked_s = now_s
        except (OSError, EOFError):
            return False  # it has ended, or is about to
        return self._asked_s is not None and now_s - self._asked_s > timeout_s

    @property
    def _pause_s(self) -> float:
        return _ASK_EVERY_S if self.has_begun else _LOOK_S


class Supervisor(Multiprocess):
    """Runs the workers of a service until it is told to stop.

    uvicorn's own supervisor asks one worker after another and waits for each answer. A worker that
    had just started, or that died during the question, could delay it for up to a minute, and
    meanwhile it did not see that another worker had died.

    Args:
        config: The configuration of the workers' servers.
        sockets: The sockets that they listen on.
        tell: Takes a message when a worker is replaced.
    """

    processes: list[Worker]  # type: ignore[assignment]  # Worker is a Process

    def __init__(
        self, config: Config, sockets: list[socket], tell: Callable[[str], object]
    ) -> None:
        super().__init__(config, sockets)
        self._tell = tell
        #: Workers that SIGHUP has still to replace, the new worker for the first of them, and the
        #: workers that finish their last requests.
        self._to_renew: list[Worker] = []
        self._successor: Worker | None = None
        self._retired: list[Worker] = []
        self._timeout_s: float = config.timeout_worker_healthcheck
        self._has_failed = False

    def run(self) -> None:
        """Run workers until `should_exit` is set, or one cannot start.

        Raises:
            ServerError: A worker cannot start.
        """
        self.init_processes()
        while not self.should_exit.is_set():
            wait([one.process.sentinel for one in self._all()], _LOOK_S)
            self.handle_signals()
            self.keep_subprocess_alive()
            self._renew()
        for worker in self._all():
            if not worker.has_ended:
                worker.terminate()
        for worker in self._all():
            worker.join()
        if self._has_failed:
            msg = "a worker of the service could not start, and another would end the same way"
            raise ServerError(msg)

    def init_processes(self) -> None:
        """Start the workers."""
        self.processes += [self._started() for _ in range(self.processes_num)]

    def keep_subprocess_alive(self) -> None:
        """Replace workers that have ended, and those that hang."""
        self._retired = [one for one in self._retired if not one.has_ended]
        for index, worker in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            if not worker.has_ended and not worker.hangs(self._timeout_s):
                continue
            worker.kill()
            worker.join()
            if worker.has_failed_to_start:
                self._has_failed = True
                self.should_exit.set()
                return
            # If a signal ended the worker, its code is the negative number of the signal.
            self._tell(f"a worker ended with exit code {worker.exitcode}, and is replaced")
            self.processes[index] = self._started()

    def restart_all(self) -> None:
        """Begin to replace all workers; each new one serves before its old one stops."""
        self._to_renew = list(self.processes)

    def handle_ttin(self) -> None:
        """Add a worker."""
        self.processes_num += 1
        self.processes.append(self._started())

    def handle_ttou(self) -> None:
        """Let a worker finish its requests and end, unless it is the only one."""
        if self.processes_num > 1:
            self.processes_num -= 1
            self._retire(self.processes.pop())

    def _renew(self) -> None:
        """Continue the replacement of all workers."""
        self._to_renew = [one for one in self._to_renew if one in self.processes]
        if not self._to_renew:
            if self._successor is not None:  # the worker that it should replace has ended meanwhile
                self._retire(self._successor)
                self._successor = None
            return
        successor = self._successor
        if successor is None:
            self._successor = self._started()
        elif successor.has_ended or successor.hangs(self._timeout_s):
            successor.kill()
            successor.join()
            self._successor, self._to_renew = None, []
            self._tell("a new worker could not start: the others go on as they are")
        elif successor.has_begun:
            old = self._to_renew.pop(0)
            self.processes[self.processes.index(old)] = successor
            self._successor = None
            self._retire(old)

    def _retire(self, worker: Worker) -> None:
        worker.terminate()
        self._retired.append(worker)

    def _started(self) -> Worker:
        worker = Worker(self.config, self.sockets)
        worker.start()
        return worker

    def _all(self) -> list[Worker]:
        successor = [] if self._successor is None else [self._successor]
        return [*self.processes, *successor, *self._retired]

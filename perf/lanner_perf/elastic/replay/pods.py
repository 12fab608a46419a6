"""Real service processes as pods: started, made ready, drained and ended as Kubernetes does."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lanner.errors import BenchmarkError
from lanner_perf.elastic.replay.programs import answers, free_port
from lanner_perf.elastic.replay.proxy import Proxy

#: Seconds between two readiness probes.
_PROBE_S = 0.1
_START_S = 60.0


@dataclass(frozen=True)
class Pace:
    """The pace of a pod's engine, and its queue.

    Attributes:
        run_ms: Milliseconds of a batch.
        token_ms: Milliseconds more for each token.
        most_tokens: The most tokens that wait.
    """

    run_ms: float
    token_ms: float
    most_tokens: int = 200_000


@dataclass(eq=False)
class Pod:
    """A process.

    Attributes:
        name: Its name.
        port: Its port.
        process: The process.
        started_s: The time of its start, by `time.monotonic`.
        place: Its place at the proxy, once it is ready.
        ready_s: The time at which it was ready.
        is_ending: True once it was asked to end.
    """

    name: str
    port: int
    process: "subprocess.Popen[bytes]"
    started_s: float
    place: str | None = None
    ready_s: float | None = None
    is_ending: bool = False


class Pods:
    """The pods of a replay. Threads of its own wait for their starts and ends.

    Args:
        artifact: The artifact that they serve.
        pace: Their pace.
        proxy: The proxy before them.
        directory: The directory of their logs.
        unready_s: Seconds between the end of new requests and the signal to end, as a preStop hook
            waits.
        changed: Called when a pod was started, is ready or has left.
    """

    def __init__(
        self,
        artifact: Path,
        pace: Pace,
        proxy: Proxy,
        directory: Path,
        *,
        unready_s: float = 0.5,
        changed: Callable[[], object] = lambda: None,
    ) -> None:
        self._artifact, self._pace, self._proxy = artifact, pace, proxy
        self._directory, self._unready_s, self._changed = directory, unready_s, changed
        self._lock = threading.RLock()
        self._threads: list[threading.Thread] = []
        self._count = 0
        self.pods: list[Pod] = []
        #: Seconds from start to readiness of each pod that became ready.
        self.starts_s: list[float] = []
        #: What went wrong, for the report.
        self.faults: list[str] = []

    def alive(self) -> list[Pod]:
        """Return the pods that are not ending."""
        with self._lock:
            return [one for one in self.pods if not one.is_ending]

    def ready(self) -> list[Pod]:
        """Return the pods that get new requests."""
        return [one for one in self.alive() if one.ready_s is not None]

    def scale(self, number: int) -> None:
        """Start or end pods until there are as many; first those that are not ready end."""
        alive = self.alive()
        for _ in range(number - len(alive)):
            self._start()
        youngest = sorted(alive, key=lambda one: (one.ready_s is not None, -one.started_s))
        for pod in youngest[: max(0, len(alive) - number)]:
            self._end(pod)

    def close(self) -> None:
        """End all pods."""
        self.scale(0)
        for thread in self._threads:
            thread.join()

    def _start(self) -> None:
        self._count += 1
        name, port = f"pod-{self._count}", free_port()
        command = [
            *(sys.executable, "-m", "lanner_perf.elastic.replay.pod"),
            *(f"{self._pace.run_ms}", f"{self._pace.token_ms}"),
            *("serve", f"model={self._artifact}", "--port", f"{port}", "--threads", "1"),
            *("--engine", "onnxruntime", "--no-access-log", "--idle-timeout-s", "120"),
            *("--max-queue-tokens", f"{self._pace.most_tokens}"),
        ]
        with (self._directory / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        pod = Pod(name, port, process, time.monotonic())
        with self._lock:
            self.pods.append(pod)
        self._thread(self._await, pod)

    def _thread(self, run: Callable[[Pod], None], pod: Pod) -> None:
        thread = threading.Thread(target=run, args=(pod,))
        self._threads.append(thread)
        thread.start()

    def _await(self, pod: Pod) -> None:
        while not answers(f"http://127.0.0.1:{pod.port}/ready"):
            late = time.monotonic() - pod.started_s > _START_S
            if pod.is_ending or late or pod.process.poll() is not None:
                if not pod.is_ending:
                    self.faults.append(self._why(pod))
                return
            time.sleep(_PROBE_S)
        with self._lock:
            if pod.is_ending:
                return
            pod.ready_s = time.monotonic()
            self.starts_s.append(pod.ready_s - pod.started_s)
            pod.place = self._proxy.add(pod.port)
        self._changed()

    def _why(self, pod: Pod) -> str:
        """Return why a pod did not start."""
        if pod.process.returncode is None:
            return f"{pod.name} was not ready after {_START_S:g} s: is the machine busy?"
        log = (self._directory / f"{pod.name}.log").read_text("utf-8", "replace")
        *_, last = ("it wrote nothing", *log.splitlines())
        return f"{pod.name} ended with {pod.process.returncode} before it was ready: {last}"

    def _end(self, pod: Pod) -> None:
        with self._lock:
            pod.is_ending = True
            if pod.place is not None:
                self._proxy.drain(pod.place)
        self._changed()
        self._thread(self._finish, pod)

    def _finish(self, pod: Pod) -> None:
        if pod.place is not None:
            time.sleep(self._unready_s)
        pod.process.terminate()
        if pod.process.wait() not in (0, -15) and pod.ready_s is not None:
            self.faults.append(f"{pod.name} ended with {pod.process.returncode}")
        with self._lock:
            if pod.place is not None:
                self._proxy.remove(pod.place)
            self.pods.remove(pod)


def require_faultless(pods: Pods) -> None:
    """Check that no pod failed.

    Raises:
        BenchmarkError: One did.
    """
    if pods.faults:
        msg = f"a pod of the replay failed: {pods.faults[0]}"
        raise BenchmarkError(msg)
